"""Our search for settings against the paper's, on the same embeddings; and 15,000 images from pixels to prototypes.

The paper's way is scikit-optimize's BayesSearchCV over a pipeline UMAP + Gaussian mixture: 20 iterations, 5 folds,
silhouette in the reduced space of the held-out fold, refitted on all rows. It is needed for this benchmark only:
`pip install scikit-optimize`. Without `--full` both searches are shortened alike (a quarter of the iterations) and use
fewer rows. Both results are then judged alike: silhouette in the original embedding, and stability (mean agreement with
three fits from scratch on other four fifths of the rows, other seeds).
"""
import argparse
import time
import warnings

import numpy as np
import torch

from ambiguity_nb.generator_measures import is_ambiguous
from ambiguity_nb.models import cnn, predict_embeddings, predict_logits
from ambiguity_nb.pattern_search import search_patterns
from ambiguity_nb.patterns import Clustering, _cluster_quality, find_patterns, label_agreement, mix_at_half, unit_rows
from ambiguity_nb.prototypes import choose_prototypes
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, fit


def plain_search(x: np.ndarray, n_iter: int, folds: int = 5):
    "The paper's search: the refitted pipeline."
    from sklearn.metrics import silhouette_score
    from sklearn.mixture import GaussianMixture
    from sklearn.pipeline import Pipeline
    from skopt import BayesSearchCV
    from skopt.space import Integer, Real
    from umap import UMAP

    def score(pipeline, rows, _=None):
        reduced = pipeline[:-1].transform(rows)
        labels = pipeline[-1].predict(reduced)
        return silhouette_score(reduced, labels) if len(np.unique(labels)) > 1 else -1.

    pipeline = Pipeline([("umap", UMAP(metric="cosine", random_state=0)),
                         ("gmm", GaussianMixture(init_params="k-means++", random_state=0, reg_covar=1e-4))])
    space = {"umap__n_neighbors": Integer(5, 25), "umap__min_dist": Real(.01, .25),
             "umap__n_components": Integer(5, 60), "gmm__n_components": Integer(3, 15)}
    return BayesSearchCV(pipeline, space, n_iter=n_iter, cv=folds, scoring=score, random_state=0).fit(x)


def plain_stability(x: np.ndarray, labels: np.ndarray, pipeline, n_repeats: int = 3) -> float:
    "The same measure as `Patterns.stability`, for a scikit-learn pipeline."
    from sklearn.base import clone

    scores = []
    for r in range(1, n_repeats + 1):
        rows = np.sort(np.random.default_rng(r).choice(len(x), round(.8 * len(x)), replace=False))
        other = clone(pipeline).set_params(umap__random_state=r, gmm__random_state=r)
        scores.append(label_agreement(labels[rows], other.fit_predict(x[rows])))
    return float(np.mean(scores))


def judged(found) -> tuple:
    "Silhouette in the embedding and stability of patterns, how they were reduced, and their number."
    silhouette = _cluster_quality(found.space, found.labels)["silhouette"]
    return silhouette, found.stability(3).mean(), found.clustering.reducer, found.n_clusters


def main(full: bool = False, rows: int | None = None) -> None:
    warnings.simplefilter("ignore")
    n_rows, n_iter, n_trials = (rows or 1500, 20, 12) if full else (rows or 800, 5, 4)
    train = load_samples("mnist-5k", "all").binary(5, 3)
    model = cnn(nf=4, seed=0)
    fit(model, train, Training(n_epochs=5))

    images = mix_at_half(model, train, 15_000)
    start = time.perf_counter()
    p = torch.softmax(torch.from_numpy(predict_logits(model, images)), 1)[:, 1].numpy()
    kept = images.subset(np.flatnonzero(is_ambiguous(p)))
    embeddings = predict_embeddings(model, kept)
    patterns = find_patterns(embeddings, Clustering(n_clusters=8))
    choose_prototypes(patterns.reduced, patterns.labels)
    print(f"{len(images)} images, {len(kept)} of them ambiguous: filter, embed, UMAP, mixture of 8, quality, "
          f"prototypes in {time.perf_counter() - start:.1f} s", flush=True)

    x = embeddings[np.random.default_rng(0).choice(len(embeddings), n_rows, replace=False)]
    space = unit_rows(x)
    find_patterns(x[:200])  # compile UMAP before any clock runs
    results = []
    start, cpu = time.perf_counter(), time.process_time()
    ours = search_patterns(x, n_trials=n_trials)
    results.append(("ours", time.perf_counter() - start, time.process_time() - cpu, *judged(ours.best)))
    only = search_patterns(x, n_trials=n_trials, reducers=("umap",))
    results.append(("ours, UMAP only", np.nan, np.nan, *judged(only.best)))
    try:
        import skopt  # noqa: F401
    except ImportError:
        print("scikit-optimize is not installed, so only ours is shown: pip install scikit-optimize")
    else:
        start, cpu = time.perf_counter(), time.process_time()
        plain = plain_search(x, n_iter)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        best = plain.best_estimator_
        labels = best.predict(x) if not hasattr(best[-1], "labels_") else best[-1].labels_
        results.append(("BayesSearchCV", seconds, cpu, _cluster_quality(space, labels)["silhouette"],
                        plain_stability(x, labels, best), "umap", len(np.unique(labels))))
    print(f"\n{n_rows} embeddings of {x.shape[1]} columns; {n_trials} trials against {n_iter} iterations of 5 folds")
    print(f"{'':18}{'seconds':>9}{'CPU s':>8}{'silhouette':>12}{'stability':>11}  {'reducer':8}{'patterns':>9}")
    for name, seconds, cpu, silhouette, stable, reducer, k in results:
        print(f"{name:18}{seconds:9.1f}{cpu:8.1f}{silhouette:12.3f}{stable:11.2f}  {reducer:8}{k:9d}")
    if len(results) == 3:
        less, less_cpu = (results[2][i] / results[0][i] for i in (1, 2))
        print(f"ours takes 1/{less:.1f} of the time, 1/{less_cpu:.1f} of the processor time")
        print(f"= BayesSearchCV over our pattern search, CPU time | {less_cpu:.1f} | >= 12")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="embeddings searched")
    parser.add_argument("--full", action="store_true", help="1,500 rows, 20 iterations against 12 trials")
    main(**vars(parser.parse_args()))
