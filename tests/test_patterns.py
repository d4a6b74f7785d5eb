"""Patterns beyond the notebook: random data, agreement with scikit-learn and umap, small n, no traces, many rows."""
# ruff: noqa: NPY002
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import umap  # noqa: F401 - its import warns that TensorFlow is missing; not to be taken for a warning of ours
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.datasets import load_digits, make_blobs

from ambiguity_nb.generator_measures import is_ambiguous
from ambiguity_nb.pattern_search import search_patterns
from ambiguity_nb.patterns import (CLUSTERERS, REDUCERS, Clustering, Patterns, _silhouettes, _cluster_quality,
                                   find_patterns, label_agreement, unit_rows)


@given(st.lists(st.floats(0, 1), max_size=50), st.floats(.01, .5))
def test_ambiguous_of_one_and_two_columns_agree(p, tau):
    p = np.array(p)
    rows = np.flatnonzero(is_ambiguous(p, tau))
    assert (np.abs(p[rows] - .5) <= tau + 2e-9).all() and (np.abs(np.delete(p, rows) - .5) > tau).all()
    if len(p):
        of_two = np.flatnonzero(is_ambiguous(np.stack([1 - p, p], 1), tau))
        assert set(of_two) ^ set(rows) <= set(np.flatnonzero(np.abs(np.abs(p - .5) - tau) < 1e-8))


@given(st.integers(4, 60), st.integers(1, 5), st.integers(2, 5), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_silhouettes_equal_scikit_learn(n, d, k, seed):
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(n, d)), rng.integers(0, k, n)
    if not 2 <= len(np.unique(labels)) < n: return
    np.testing.assert_allclose(_silhouettes(x, labels, block=7), metrics.silhouette_samples(x, labels), atol=2e-3)
    got = _cluster_quality(x.astype(np.float32), labels)
    np.testing.assert_allclose(got["davies_bouldin"], metrics.davies_bouldin_score(x.astype(np.float32), labels),
                               rtol=1e-4)


def test_gap_in_labels_and_noise():
    x, y = make_blobs(90, centers=3, random_state=0)
    relabelled = np.array([7, 0, 3])[y]
    np.testing.assert_allclose(_silhouettes(x, relabelled), _silhouettes(x, y), atol=1e-6)
    assert _silhouettes(x, np.where(y == 2, -1, y))[y == 2].tolist() == [0] * (y == 2).sum()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("clusterer", ["gmm", "kmeans", "hdbscan"])
def test_planted_clusters_are_found(metric, clusterer):
    rng = np.random.default_rng(0)
    centers = 6 * np.linalg.qr(rng.normal(size=(40, 5)))[0].T
    x, y = make_blobs(500, centers=centers, cluster_std=.6, random_state=1)
    how = Clustering(clusterer=clusterer, metric=metric, n_clusters=5, n_components=4, min_cluster_size=25)
    found = find_patterns(x, how)
    assert metrics.adjusted_rand_score(y, found.labels) > (.9 if clusterer == "hdbscan" else .99)
    assert found.n_clusters == 5 and found.quality.silhouette["reduced"] > found.quality.silhouette["embedding"] > .2


def test_as_true_to_the_data_as_umaps_own_neighbours():
    "Exact neighbours handed in lose nothing against umap-learn's own."
    from sklearn.manifold import trustworthiness
    from umap import UMAP

    x = load_digits().data[:400].astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = UMAP(n_neighbors=15, n_components=3, min_dist=.01, n_epochs=200, random_state=5, metric="cosine")
        own = model.fit_transform(x)
    ours, _ = Clustering(n_components=3).reduce(x, seed=5)
    assert trustworthiness(x, ours, metric="cosine") > trustworthiness(x, own, metric="cosine") - .01


def test_new_points_fall_near_where_umap_would_put_them():
    x, y = make_blobs(400, n_features=10, centers=4, random_state=2)
    found = find_patterns(x[:300], Clustering(n_clusters=4, n_components=2, metric="euclidean"))
    assert metrics.adjusted_rand_score(y[300:], found.predict(x[300:])) == 1
    assert found.transform(x[:1]).shape == (1, 2) and found.predict(x[:1]).shape == (1,)


def test_duplicates_and_constant_rows():
    x = np.repeat(make_blobs(20, n_features=4, random_state=0)[0], 5, 0)
    found = find_patterns(x, Clustering(n_clusters=3, n_components=2))
    assert (found.labels.reshape(20, 5) == found.labels[::5, None]).mean() > .9
    flat = Clustering(clusterer="gmm", n_clusters=1).cluster(np.ones((10, 2)))[0]
    assert flat.tolist() == [0] * 10
    assert np.isfinite(unit_rows(np.zeros((3, 4)))).all()


@pytest.mark.parametrize("n", [1, 2, 5, 17, 18])
def test_small_n_says_what_to_change(n):
    x = np.random.default_rng(0).normal(size=(n, 8))
    try: found = find_patterns(x, Clustering(n_clusters=2))
    except ValueError as error:
        named = any(word in str(error) for word in ("n_clusters", "n_neighbors", "n_components"))
        assert named and "use" in str(error) or "lower" in str(error)
    else: assert len(found) == n == 18 or n == 17


def test_one_row_and_one_cluster_without_a_reduction():
    found = find_patterns(np.ones((1, 3)), Clustering("none", n_clusters=1))
    assert found.labels.tolist() == [0] and found.quality.isna().all().all() and "Patterns(1 rows" in repr(found)


@pytest.mark.slow
def test_nothing_global_changes_and_threads_do_not_matter(tmp_path):
    x, _ = make_blobs(150, n_features=6, random_state=0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_patterns(x, Clustering(n_clusters=3))
    assert (np.random.get_state()[1] == before[0]).all() and (torch.get_rng_state() == before[1]).all()
    np.save(tmp_path / "x.npy", x)
    code = ("import numpy as np; from ambiguity_nb.patterns import Clustering, find_patterns; "
            f"x = np.load({str(tmp_path / 'x.npy')!r}); "
            f"np.save({str(tmp_path / 'labels.npy')!r}, find_patterns(x, Clustering(n_clusters=3)).labels)")
    subprocess.run([sys.executable, "-c", code], check=True,
                   env={**__import__("os").environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    assert (np.load(tmp_path / "labels.npy") == found.labels).all()


def test_folder_holds_no_pickle(tmp_path):
    x, _ = make_blobs(120, n_features=6, random_state=0)
    found = find_patterns(x, Clustering("pca", "kmeans", n_components=2, n_clusters=3))
    found.save(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".npy", ".json"}
    back = Patterns.load(tmp_path)
    assert isinstance(back, Patterns) and (back.predict(x) == found.labels).all() and back.quality.equals(found.quality)


def test_search_judges_umap_pca_and_none_and_beats_a_bad_setting():
    x, y = make_blobs(250, n_features=12, centers=4, cluster_std=1.5, random_state=4)
    before = np.random.get_state()[1].copy()
    search = search_patterns(x, Clustering(metric="euclidean"), n_trials=3, clusterers=("gmm", "hdbscan"),
                             ranges={"n_components": (2, 6), "n_clusters": (3, 8)})
    assert (np.random.get_state()[1] == before).all()
    assert set(search.frame.reducer) == {"umap", "pca", "none"}
    assert set(search.frame.clusterer) == {"gmm", "kmeans", "hdbscan"}
    assert label_agreement(y, search.best.labels) > .9
    scored = search.frame.dropna(subset=["score"])
    assert search.score == scored.score.max()
    assert ((scored.silhouette + scored.stability) / 2 - scored.score).abs().max() < 1e-12
    pruned = search.frame[search.frame.score.isna()]
    assert ((pruned.silhouette + 1) / 2 <= search.score + 1e-12).all()


def test_search_stops_in_time():
    x, _ = make_blobs(200, n_features=12, centers=4, random_state=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = search_patterns(x, n_trials=500, timeout=.1, reducers=("umap",), ranges={"n_clusters": (2, 6)})
        assert search.frame.trial.nunique() < 5


@pytest.mark.slow
def test_fifteen_thousand_rows_in_little_memory():
    x, y = make_blobs(15_000, n_features=100, centers=8, random_state=0)
    found = find_patterns(x, Clustering(n_clusters=8))
    assert metrics.adjusted_rand_score(y, found.labels) > .95


@pytest.mark.slow
def test_umap_leaves_torch_threads_alone():
    code = ("import numpy as np, torch\nfrom ambiguity_nb.patterns import Clustering\n"
            "before = torch.get_num_threads()\n"
            "Clustering(n_components=2).reduce(np.random.default_rng(0).standard_normal((60, 4)))\n"
            "assert torch.get_num_threads() == before == 1")
    # numba's threads start with its first kernel, so in a process of its own
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True,
                   cwd=Path(__file__).parents[1])


OWN = """
from ambiguity_nb.patterns import CLUSTERERS, REDUCERS


@REDUCERS.register("first columns", settings=("n_components",), place=lambda fitted, rows: rows[:, :fitted["n"].item()])
def first_columns(rows, clustering, seed):
    import numpy as np
    return rows[:, :clustering.n_components], {"n": np.array(clustering.n_components)}


@CLUSTERERS.register("signs")
def signs(space, clustering, seed):
    return (space[:, 0] > 0).astype(int)
"""


def test_reducers_and_clusterers_of_ones_own(tmp_path, monkeypatch):
    "By address, by name once registered, as functions; searched, saved and read like the library's own."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_clustering.py").write_text(OWN)
    x = np.random.default_rng(0).normal(size=(60, 4)) + [1.5, 0, 0, 0] * (-1) ** np.arange(60)[:, None]
    given = Clustering("own_clustering:first_columns", "own_clustering:signs", n_components=2, metric="euclidean")
    try:
        found = find_patterns(x, given)
        named = find_patterns(x, Clustering("first columns", "signs", n_components=2, metric="euclidean"))
        assert (found.labels == named.labels).all()
        assert found.reduced.shape == (60, 2) and found.transform(x[:3]).shape == (3, 2)
        search = search_patterns(x, Clustering(metric="euclidean"), reducers=("first columns", "pca"),
                                 clusterers=("signs", "kmeans"))
        assert set(search.frame.reducer) == {"first columns", "pca"}
        assert set(search.frame.clusterer) == {"signs", "kmeans"}
        functions = REDUCERS["first columns"], CLUSTERERS["signs"]
        by_function = find_patterns(x, Clustering(*functions, n_components=2, metric="euclidean"))
        back = Patterns.load(by_function.save(tmp_path / "saved"))
        assert back.clustering.reducer == "own_clustering:first_columns" and (back.predict(x) == found.predict(x)).all()
    finally:
        for registry, name in ((REDUCERS, "first columns"), (CLUSTERERS, "signs")): registry._things.pop(name, None)


def test_one_repeated_image_has_no_patterns():
    "Without the alarm UMAP and a mixture make patterns of rounding: silhouette and stability say nothing of it."
    from ambiguity_nb.models import cnn, predict_embeddings
    from ambiguity_nb.sources import load_samples

    digits = load_samples("mnist-5k", "all").binary(5, 3)
    repeated = digits.replace(x=digits.x[np.zeros(200, int)], y=digits.y[:200], ids=np.arange(200))
    rows = predict_embeddings(cnn(2), repeated)
    for find in (find_patterns, search_patterns):
        with pytest.raises(ValueError, match="200 ambiguous inputs are one and the same"): find(rows)
        with pytest.raises(ValueError, match="one and the same"): find(rows + 1e-8 * np.random.rand(*rows.shape))
    mostly = np.concatenate([rows[:190], predict_embeddings(cnn(2), digits.subset(np.arange(10)))])
    with pytest.raises(ValueError, match="the generator has collapsed"): find_patterns(mostly)
    varied = predict_embeddings(cnn(2), digits.subset(np.arange(0, 600, 3)))
    assert len(find_patterns(varied, Clustering("pca", n_clusters=2))) == 200


def test_the_better_of_several_clusterers_is_taken():
    x = np.concatenate([np.random.default_rng(k).normal(3 * k, 1, (60, 4)) for k in range(3)])
    how = {"reducers": ("none",), "ranges": {"n_clusters": (2, 6), "min_cluster_size": (5, 60)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                                       # about the edges of the ranges
        one = [search_patterns(x, Clustering(clusterer=c, metric="euclidean"), **how).score
               for c in ("kmeans", "hdbscan")]
        both = search_patterns(x, Clustering(clusterer="kmeans,hdbscan", metric="euclidean"), **how)
    assert both.score == pytest.approx(max(one)) and set(both.frame["clusterer"]) == {"kmeans", "hdbscan"}


def test_a_study_of_a_collapsed_generator_stops_with_a_sentence():
    "One image with noise, which as rows differ, and three images over and over; varied ones pass."
    from ambiguity_nb.generator_measures import predict_probs
    from ambiguity_nb.models import cnn
    from ambiguity_nb.sources import load_samples
    from ambiguity_nb.study import StudyOptions, generated_samples, study_patterns

    digits = load_samples("mnist-5k", "all").binary(5, 3)
    train, test = digits.subset(np.arange(0, 900, 2)), digits.subset(np.arange(1, 900, 2))
    model, x = cnn(2), train.normalize(train.x)
    unsure = x[np.abs(predict_probs(model, x)[:, 1] - .5).argsort()[:40]]             # an untrained model: of all
    options = {"options": StudyOptions(tau=.5, explainer=None), "judges": ()}
    noise = torch.randn(120, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for images, said in ((unsure[:1] + .02 * noise, "one and the same"), (unsure[:3].repeat(40, 1, 1, 1), "repeated")):
        with pytest.raises(ValueError, match=said):
            study_patterns(model, generated_samples(images.clamp(-1, 1), train), train, test, **options)
    how = Clustering("pca", n_clusters=2, n_components=2)
    assert len(study_patterns(model, generated_samples(unsure, train), train, test, how, **options).inputs) == 40
