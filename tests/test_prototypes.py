"""Prototypes, explanations and studies beyond their notebooks: brute force, invariances, edges, no traces on models."""
# ruff: noqa: NPY002
import copy
import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ambiguity_nb.data import from_arrays
from ambiguity_nb.explanations import EXPLAINERS, class_baselines, explain
from ambiguity_nb.explorer import PatternExplorer, _strip_png, explore
from ambiguity_nb.models import cnn, lenet
from ambiguity_nb.patterns import Clustering
from ambiguity_nb.prototypes import (PROTOTYPES, _compactness, _coverage, _default_radius, _diversity,
                                     choose_prototypes, compare_prototypes, describe_prototypes, plot_map,
                                     plot_prototypes, _prototype_stability)
from ambiguity_nb.sources import load_samples
from ambiguity_nb.study import RealSamples, StudyOptions, gather_inputs, _pattern_regions, study_patterns
from ambiguity_nb.training import Training, fit


@given(st.integers(1, 25), st.integers(1, 4), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_medoid_and_mmd_are_the_best_single_rows(n, d, seed):
    x = np.random.default_rng(seed).normal(size=(n, d))
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    medoid = choose_prototypes(x, np.zeros(n, int))[0, 0]
    assert distance.sum(1)[medoid] <= distance.sum(1).min() + 1e-4
    for kind in PROTOTYPES:
        rows = choose_prototypes(x, np.zeros(n, int), kind, per_cluster=min(n, 3))[0]
        assert len(set(rows)) == min(n, 3) and 0 <= rows.min() <= rows.max() < n


def test_greedy_medoids_are_near_the_best_pair():
    x = np.random.default_rng(3).normal(size=(14, 2))
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    cost = lambda rows: distance[list(rows)].min(0).sum()
    best = min(cost(pair) for pair in itertools.combinations(range(14), 2))
    assert cost(choose_prototypes(x, np.zeros(14, int), per_cluster=2)[0]) <= 1.15 * best


def test_labels_may_have_gaps_and_noise():
    x = np.random.default_rng(0).normal(size=(40, 3))
    labels = np.array([4, 9, -1, 4] * 10)
    rows = choose_prototypes(x, labels)
    assert labels[rows[:, 0]].tolist() == [4, 9]
    with pytest.raises(ValueError, match="all labels are -1"): choose_prototypes(x, np.full(40, -1))


@given(st.integers(2, 8), st.integers(2, 6), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_measures_stay_in_range_and_ignore_order(k, d, seed):
    rng = np.random.default_rng(seed)
    a, b, rows = rng.normal(size=(k, d)), rng.normal(size=(k, d)), rng.normal(size=(30, d))
    assert 0 <= _diversity(a) <= 2 and 0 <= _coverage(rows, a, _default_radius(rows)) <= 1
    assert _compactness(rows, a) <= 1 and -1 <= _prototype_stability(a, b) <= 1 + 1e-9
    shuffled = a[rng.permutation(k)]
    assert _prototype_stability(a, shuffled) == pytest.approx(1, abs=1e-5)
    assert _prototype_stability(a, b) == pytest.approx(_prototype_stability(b, shuffled), abs=1e-6)
    assert _diversity(shuffled) == pytest.approx(_diversity(a), abs=1e-6)
    in_order = [a[i] @ b[i] / np.linalg.norm(a[i]) / np.linalg.norm(b[i]) for i in range(k)]
    assert _prototype_stability(a, b) >= np.mean(in_order) - 1e-6
    assert _coverage(rows, rows, _default_radius(rows)) == 1 and _compactness(rows, rows) == pytest.approx(1, abs=1e-3)


def test_radius_takes_in_the_stated_share_of_pairs():
    rows = np.random.default_rng(0).normal(size=(300, 4))
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)[np.triu_indices(300, 1)]
    assert (distance <= _default_radius(rows, .3)).mean() == pytest.approx(.3, abs=.01)


def test_compare_says_when_the_baseline_is_too_small():
    x = np.random.default_rng(0).normal(size=(30, 4))
    with pytest.raises(ValueError, match="give at least as many"):
        compare_prototypes(x, np.arange(30) % 3, baseline=x[:2])


def test_figures_leave_other_axes_alone():
    import matplotlib.pyplot as plt

    images, labels = np.random.default_rng(0).integers(0, 255, (12, 3, 8, 8)).astype(np.uint8), np.arange(12) % 2
    fig, (left, right) = plt.subplots(1, 2)
    rows = choose_prototypes(images.reshape(12, -1), labels)
    plot_prototypes(images, labels, rows, n_members=2, ax=left)
    assert not right.images and len(left.images) == 1
    plot_map(np.random.default_rng(0).normal(size=(12, 2)), labels, rows, images, ax=right)
    as_before = np.random.default_rng(0).integers(0, 255, (12, 3, 8, 8)).astype(np.uint8)
    assert len(right.artists) == 2 and np.array_equal(images, as_before)
    plt.close(fig)


@pytest.fixture(scope="module")
def digits():
    return load_samples("digits", "all").binary(3, 8).split((.7, .3), seed=0)


@pytest.fixture(scope="module")
def model(digits):
    model = cnn(nf=4, image_size=8, seed=0)
    fit(model, digits[0], Training(n_epochs=15))
    return model


def test_explaining_leaves_no_trace(digits):
    model = lenet(2, image_size=28)
    model.train()
    x = torch.rand(2, 1, 28, 28) * 2 - 1
    before, random, legacy = copy.deepcopy(model.state_dict()), torch.get_rng_state(), np.random.get_state()[1].copy()
    for explainer in EXPLAINERS:
        first, second = (explain(model, x, torch.zeros(3, 1, 28, 28), explainer, n_samples=8) for _ in range(2))
        assert np.array_equal(first.maps, second.maps)
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters()) and not x.requires_grad
    assert torch.equal(torch.get_rng_state(), random) and np.array_equal(np.random.get_state()[1], legacy)


def test_faithfulness_replayed_on_a_linear_network():
    "Deletion and insertion in plain numpy; a map turned around scores the negative, and noise about nothing."
    from dataclasses import replace

    rng = np.random.default_rng(0)
    net, x, base = nn.Linear(12, 2), torch.from_numpy(rng.normal(size=(30, 12))).float(), torch.zeros(2, 12)
    found = explain(net, x, base, "integrated_gradients", n_samples=8)
    curves = found.curves(net, x, base, n_steps=4, n_random=2)
    w = (net.weight[1] - net.weight[0]).detach().numpy().astype(np.float64)
    b, values = float((net.bias[1] - net.bias[0]).detach()), x.numpy().astype(np.float64)
    order = np.argsort(-values * w, axis=1)                                   # of a linear network: what it contributes
    for step in range(5):
        out = order[:, :3 * step]
        kept, put = values.copy(), np.zeros_like(values)
        np.put_along_axis(kept, out, 0, 1)
        np.put_along_axis(put, out, np.take_along_axis(values, out, 1), 1)
        np.testing.assert_allclose(curves[0, 0, :, 1, step], kept @ w + b, atol=1e-5)
        np.testing.assert_allclose(curves[1, 0, :, 1, step], put @ w + b, atol=1e-5)
    own, turned = (e.faithfulness(net, x, base) for e in (found, replace(found, maps=-found.maps)))
    noise = replace(found, maps=rng.normal(size=found.maps.shape).astype(np.float32)).faithfulness(net, x, base)
    assert (own.low > 0).all() and (own["inputs above 0"] == 1).all() and (turned.high < 0).all()
    assert (noise.low < 0).all() and (noise.high > 0).all() and net.weight.grad is None


def test_faithful_to_a_color_network_with_relu_and_three_classes():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, .3, (300, 3, 12, 12)).astype(np.float32), np.arange(300) % 3
    for k in range(3): x[y == k, k, 4 * k:4 * k + 4, 4:8] += .6
    data = from_arrays(x, y, ("a", "b", "c"))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(150, 3))
    fit(net, data, Training(n_epochs=8), seed=0)
    some, base = data.normalize(data.x[:30]), class_baselines(data, 5)
    found = explain(net, some, base, n_samples=20)
    table = found.faithfulness(net, some, base, n_steps=10)
    assert found.maps.shape == (30, 3, 3, 12, 12) and (table.low > 0).all()
    assert found.curves(net, some, base, n_steps=10).shape == (2, 2, 30, 3, 11)
    own = found.maps[np.arange(30), y[:30]].sum(1)                                        # summed over colors
    spot = np.stack([np.abs(own[i])[4 * k:4 * k + 4, 4:8].sum() / np.abs(own[i]).sum() for i, k in enumerate(y[:30])])
    assert spot.mean() > 2 * 16 / 144


def test_prototypes_of_planted_patterns_come_back_where_any_inputs_do_not():
    from ambiguity_nb.prototypes import repeat_study

    centers = 4 * np.linalg.qr(np.random.default_rng(0).normal(size=(20, 4)))[0].T
    draw = lambda seed: (centers[np.arange(160) % 4] + .3 * np.random.default_rng(seed).normal(size=(160, 20)))
    table = repeat_study(draw, Clustering("pca", "kmeans", n_components=4, n_clusters=4), ["medoid"], n_runs=3)
    assert list(table.index) == ["medoid", "any ambiguous"]
    assert table["stability ↑"]["medoid"] > .9 > .8 > table["stability ↑"]["any ambiguous"]
    assert np.isnan(table["clusters agree ↑"]["any ambiguous"]) and table["clusters agree ↑"]["medoid"] > .99


def test_three_classes_sum_to_their_log_odds():
    samples = load_samples("wine", "all")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(13, 8), nn.Tanh(), nn.Linear(8, 3))
    found = explain(net, samples.normalize(samples.x[:4]), class_baselines(samples, 4), "integrated_gradients",
                    n_samples=60)
    np.testing.assert_allclose(found.maps.sum(2), found.total, atol=.02)


def test_study_of_real_samples_is_complete_and_repeatable(digits, model):
    train, test = digits
    inputs = gather_inputs(train.replace(name="train"), test.replace(name="test"))
    how = Clustering(n_clusters=2, n_neighbors=5, n_components=2), StudyOptions(tau=.45, n_nearest=3, share=.1)
    study, again = (study_patterns(model, inputs, train, test, *how) for _ in range(2))
    assert study.frame.equals(again.frame) and study.nearest.equals(again.nearest)
    assert np.array_equal(study.explanation.maps, again.explanation.maps)
    assert study.considered == len(inputs) and study.frame.prototype.sum() == 2
    assert set(study.nearest.part) == {"train", "test"}
    assert (study.frame.p.sub(.5).abs() <= .45 + 1e-6).all()
    # an ambiguous input that is a real sample is its own nearest real sample
    real = study.nearest[study.nearest["rank"] == 1]
    assert real.groupby("pattern").distance.min().max() < 1e-3
    explorer = explore(study)
    explorer.selected = [0]
    assert set(explorer.neighbors()) == {"train", "test"}


@pytest.mark.parametrize("bad, words", [
    ({"tau": 1e-7}, "from a tie"), ({"tau": .45, "n_clusters": 900}, "lower n_clusters"),
    ({"prototype": "mean", "tau": .45, "n_neighbors": 5}, "choose from"), ({"prototypes_in": "pixels"}, "'embedding'"),
    ({"explainer": "lime"}, "'saliency'"), ({"share": 0, "tau": .45, "n_neighbors": 5}, "share is 0")])
def test_study_says_what_to_change(digits, model, bad, words):
    given = {"n_clusters": 2, "n_components": 2, "explainer": None, **bad}
    with pytest.raises(ValueError, match=words):
        how = (kind(**{k: v for k, v in given.items() if k in kind.__dataclass_fields__})
               for kind in (Clustering, StudyOptions))
        study_patterns(model, digits[1], *digits, *how)


def test_more_than_two_classes_and_a_search():
    train, test = load_samples("digits", "all").split((.6, .4), seed=0)
    model = lenet(10, image_size=(28, 28))
    small = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    fit(small, train, Training(n_epochs=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the best setting may lie on an edge
        options = StudyOptions(tau=.2, n_trials=1, explainer="saliency")
        study = study_patterns(small, train, train, test, options=options)
    assert study.p.shape[1] == 10 and study.search is not None and np.isnan(study.explanation.delta).all()
    assert "search" in study.tables() and {"search", "card_0", "explanations"} <= set(study.figures())
    with pytest.raises(ValueError, match="cannot take a batch"): study_patterns(model, train, train, test)


def test_regions_count_every_error_once():
    rng = np.random.default_rng(0)
    table, inside = _pattern_regions(rng.normal(size=(20, 3)), np.arange(20) % 4, rng.normal(size=(50, 3)),
                                    rng.random(50) < .3, rng.random(50), share=1.)
    assert inside.all() and np.allclose(table["share of errors"], 1)
    assert np.allclose(table.lift, 1) and np.allclose(table.p_value, 1)
    none, _ = _pattern_regions(rng.normal(size=(20, 3)), np.arange(20) % 4, rng.normal(size=(50, 3)),
                              np.zeros(50, bool))
    assert (none.errors == 0).all() and (none.p_value == 1).all()


def test_nearest_of_fewer_samples_than_asked():
    samples = from_arrays(np.random.default_rng(0).random((3, 4)).astype(np.float32), np.array([0, 1, 1]))
    found = RealSamples(samples, samples.x, np.full((3, 2), .5)).nearest(samples.x[:2], k=10)
    assert len(found) == 6 and found.distance.iloc[0] == pytest.approx(0, abs=1e-3)


def test_describe_names_the_feature_that_differs():
    x = np.random.default_rng(0).normal(size=(200, 5))
    labels = (np.arange(200) < 50).astype(int)
    x[labels == 1, 3] += 9
    table = describe_prototypes(x, labels, choose_prototypes(x, labels), ["a", "b", "c", "d", "e"])
    assert table["differs 1"][1].startswith("d = ")


def test_explorer_escapes_what_data_say():
    samples = load_samples("digits", "all").subset(slice(0, 4))
    samples = samples.replace(ids=np.array(["<script>", "'\"", "a", "b"]), classes=("<b>", *samples.classes[1:]))
    real = {"<i>": RealSamples(samples, samples.x.reshape(4, -1), np.eye(10)[samples.y])}
    explorer = PatternExplorer(np.eye(4)[:, :2], np.zeros(4, int), samples, samples.x.reshape(4, -1), real=real,
                               scatter="widgets")
    explorer.selected = [0]
    assert len(explorer.view.children) == 2
    page = explorer._panel.map.widget
    state = str({key: getattr(page, key) for key in page.keys})
    shown = explorer._panel.info.value + "".join(t for _, t in explorer.neighbors().values()) + state
    assert "<script>" not in shown and "<i>:" not in shown and "&lt;script&gt;" in shown
    assert len(_strip_png(samples.x)) > 100
