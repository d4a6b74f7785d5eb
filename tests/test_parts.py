"""Islands, counterfactuals, parts and the edit gate: known answers, replays, and controls that must not pass."""
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ambiguity_nb.data import from_arrays
from ambiguity_nb.islands import _dip, _dip_p_value, find_islands
from ambiguity_nb.models import lenet, predict_embeddings, predict_logits
from ambiguity_nb.parts import (_agreement, _copula, _evidence, _factorize, _Gate, _gate_table, _halves, _match,
                                _mix_of, _passes, _style, _upright, _warp, _who_is_unsure, counterfactuals, find_parts)
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, fit


# --- islands


def dip_by_definition(x: np.ndarray) -> float:
    "Half the width of the smallest band around the steps in which a curve with one peak fits."
    x, n, best = np.sort(x), len(x), np.inf
    low, high = np.arange(n) / n, np.arange(1, n + 1) / n

    def convex_gap(xs, lo, hi):
        "The least d so that a convex curve lies between hi - d and lo + d: half of what hi exceeds lo's hull."
        if len(xs) < 2: return 0.
        hull = np.array([min(lo[a] + (lo[b] - lo[a]) * (xs[i] - xs[a]) / (xs[b] - xs[a]) if b > a else lo[i]
                             for a in range(i + 1) for b in range(i, len(xs))) for i in range(len(xs))])
        return max(0., (hi - hull).max() / 2)

    for peak in range(n):  # convex up to the peak, concave after it
        left = convex_gap(x[:peak + 1], low[:peak + 1], np.append(high[:peak], low[peak]))
        right = convex_gap(-x[peak:][::-1], 1 - high[peak:][::-1], np.append(1 - low[peak + 1:][::-1], 1 - high[peak]))
        best = min(best, max(left, right))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_dip_against_its_definition(seed):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(-2, 1, 12), rng.normal(2, 1, 12)]) if seed % 2 else rng.normal(size=20)
    exact = dip_by_definition(x)
    assert exact - 1e-9 <= _dip(x) <= exact + 1 / len(x)  # the peak may also lie between two values


def test_dip_against_the_published_program():
    import diptest

    rng = np.random.default_rng(0)
    for i in range(100):
        n = rng.integers(4, 200)
        x = np.concatenate([rng.normal(size=n // 2), rng.normal(i % 5, 1, n - n // 2)])
        assert _dip(x) == pytest.approx(diptest.dipstat(x), abs=1e-12)
        if n > 40: assert _dip_p_value(x) == pytest.approx(diptest.diptest(x)[1], abs=.06)


@pytest.fixture(scope="module")
def four():
    digits = load_samples("mnist-5k", "all")
    train, test = digits.split((.6, .4), seed=0)
    judge = lenet(seed=7)
    fit(judge, train, Training(n_epochs=6), seed=7)
    four = test.subset(np.isin(test.y, [5, 3, 7, 1]))
    return four, predict_embeddings(judge, four)


def test_real_digits_are_four_islands(four):
    samples, features = four
    found = find_islands(features)
    table = pd.crosstab(found.labels, samples.y)
    assert found.n_islands == 4 and found.p_value < .01
    assert table.max(axis=1).sum() >= .97 * len(samples)
    assert found.frame.query("not cut").p_value.min() > .0125


def test_no_island_in_gaussian_clouds(four):
    features = four[1]
    cov = np.cov(features.T)
    for seed in range(40):
        cloud = np.random.default_rng(seed).multivariate_normal(features.mean(0), cov, 600)
        assert find_islands(cloud, seed=seed).n_islands == 1, seed


def test_no_island_in_other_clouds_of_one_peak():
    rng = np.random.default_rng(0)
    for name, x in {"heavy tails": rng.standard_t(3, (600, 30)), "skewed": rng.exponential(size=(600, 30)),
                    "uniform": rng.random((600, 30)), "a bar": rng.normal(size=(600, 30)) * [9] + 0,
                    "long": rng.normal(size=(600, 30)) * np.r_[10, np.ones(29)]}.items():
        assert find_islands(x).words == "one continuum", name


# --- counterfactuals


class Plane(nn.Module):
    "Logits that depend on one direction."

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(w, dtype=torch.float32))

    def forward(self, x): return torch.stack([x.flatten(1) @ self.w, torch.zeros(len(x))], 1)

    def embed(self, x): return x.flatten(1)


class Same(nn.Module):
    "A generator whose images are its latents."
    z_dim = 36

    def forward(self, z): return z.reshape(-1, 1, 6, 6)


def images(x, classes=("A", "B"), y=None):
    "Samples of float images that a model sees as `x` in [-1, 1]."
    x = np.asarray(x, np.float32)
    return from_arrays((x.clip(-1, 1) + 1) / 2, np.zeros(len(x), np.int64) if y is None else y, classes)


def test_counterfactuals_of_a_plane():
    rng = np.random.default_rng(0)
    w, z = rng.normal(size=36), torch.from_numpy(rng.normal(size=(50, 36)) * .1).float()
    model = Plane(w)
    before = model.w.detach().clone()
    ends = counterfactuals(model, images(z.reshape(-1, 1, 6, 6)), generator=Same(), z=z)
    odds = np.stack([ends[:, k].reshape(50, -1) @ model.w.detach().numpy() for k in (0, 1)])
    assert (odds[0] >= 2.2).all() and (odds[1] <= -2.2).all()
    assert odds[0].max() < 2.2 + .02 * np.abs(w).sum() + .01  # stopped on arrival: within one step
    maps = (ends[:, 0] - ends[:, 1]).reshape(50, -1)
    assert (np.sign(maps.mean(0)) == np.sign(w)).mean() > .95
    assert torch.equal(model.w, before) and model.w.grad is None and model.training


def test_counterfactuals_from_real_samples_replayed():
    rng = np.random.default_rng(1)
    real = images(rng.uniform(-1, 1, (40, 1, 6, 6)), y=np.arange(40) % 2)
    inputs = images(rng.uniform(-1, 1, (7, 1, 6, 6)))
    ends = counterfactuals(Plane(rng.normal(size=36)), inputs, real=real)
    there, here = ((s.x.reshape(len(s), -1) * 2 - 1).astype(np.float64) for s in (real, inputs))
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)
    for k in (0, 1):
        rows = np.flatnonzero(real.y == k)
        near = rows[np.linalg.norm(unit(here)[:, None] - unit(there[rows])[None], axis=2).argsort(1)[:, :5]]
        np.testing.assert_allclose(ends[:, k].reshape(7, -1), there[near].mean(1), atol=1e-5)


def test_counterfactuals_say_what_is_missing():
    inputs, model = images(np.zeros((3, 1, 6, 6))), Plane(np.ones(36))
    with pytest.raises(ValueError, match="no generator and no `real`"): counterfactuals(model, inputs)
    with pytest.raises(ValueError, match="2 rows for 3 inputs"):
        counterfactuals(model, inputs, generator=Same(), z=torch.zeros(2, 36))
    with pytest.raises(ValueError, match="unknown class"): counterfactuals(model, inputs, ("A", "C"), real=inputs)


# --- the frame


def test_slant_of_a_sheared_bar_is_undone():
    image = torch.full((3, 1, 41, 41), -1.)
    for k, slant in enumerate((-.4, 0., .5)):
        for v in range(8, 33): image[k, 0, v, round(20 + 3 + slant * (v - 20))] = 1
    frame = _upright((image.mean(1) + 1) / 2)
    np.testing.assert_allclose(frame[:, 0], [-.4, 0, .5], atol=.03)
    np.testing.assert_allclose(frame[:, 1] * 20, 3, atol=.05)
    upright = _warp(image + 1, frame)
    assert _upright(upright.mean(1)).abs().max() < .03
    np.testing.assert_allclose(_style(image).slant, [-.4, 0, .5], atol=.03)


def test_warp_and_back():
    v, u = torch.meshgrid(torch.linspace(-1, 1, 33), torch.linspace(-1, 1, 33), indexing="ij")
    smooth = torch.exp(-(u ** 2 + v ** 2) * 6)[None, None].repeat(3, 1, 1, 1)
    frame = torch.tensor([[.3, .1, -.2], [-.4, 0, .1], [0, 0, 0]])
    again = _warp(_warp(smooth, frame), frame, back=True)
    np.testing.assert_allclose(again, smooth, atol=.03)
    assert torch.equal(_warp(smooth, None), smooth)


# --- parts


def planted(n, seed, spread=.15):
    "Signed maps [n, 196] of three strokes, one of them dominant in each row, and which."
    rng = np.random.default_rng(seed)
    strokes = np.zeros((3, 14, 14))
    strokes[0, 2:4, 2:9], strokes[1, 6:12, 9:11], strokes[2, 10:13, 2:7] = 1, 1, -1
    which = rng.integers(0, 3, n)
    weight = rng.gamma(1., spread, (n, 3))
    weight[np.arange(n), which] += 1
    maps = np.einsum("nk,kij->nij", weight, strokes) + rng.normal(0, .01, (n, 14, 14))
    return maps.reshape(n, -1) / np.abs(maps).sum((1, 2), keepdims=True)[:, 0], which


def test_planted_parts_are_found_with_evidence():
    signed, which = planted(300, 0)
    shares, parts = _factorize(_halves(signed), 3)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(parts.sum(1), 1, atol=1e-9)
    assert (pd.crosstab(shares.argmax(1), which).max(axis=1).sum()) >= 295
    cosines = _match(parts, _factorize(_halves(planted(300, 1)[0]), 3)[1])[0]
    assert cosines.min() > .98
    agreement = _agreement(_halves(signed), 4, 3, 0)
    assert agreement[3] >= .9
    evidence = _evidence(signed, 3, 19, 0)
    assert evidence["p_value"] == .05 and evidence["entropy"] < evidence["null entropy"]


def test_no_evidence_in_maps_without_parts():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(4):
        basis = np.random.default_rng(seed).normal(size=(12, 196))
        found.append(_evidence(rng.normal(size=(200, 12)) @ basis, 3, 19, seed)["p_value"])
    assert min(found) > .05


def test_copula_keeps_marginals_and_rank_covariance():
    from scipy.stats import spearmanr

    signed = planted(1500, 3)[0][:, [34, 40, 100, 150]]
    drawn = _copula(signed, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(drawn, 0), np.sort(signed, 0))
    np.testing.assert_allclose(spearmanr(drawn).statistic, spearmanr(signed).statistic, atol=.12)


def test_mixing_of_given_parts():
    rng = np.random.default_rng(0)
    parts = rng.random((3, 30)) ** 4
    parts /= parts.sum(1, keepdims=True)
    weights = rng.dirichlet([.5] * 3, 40)
    np.testing.assert_allclose(_mix_of(weights @ parts, parts, 3000), weights, atol=.02)


# --- the gate


class Corners(nn.Module):
    "Each of three corners, where it is lit, makes another stroke matter: one reason for each group of images."
    strokes = torch.zeros(3, 14, 14)
    strokes[0, 2:4, 2:9], strokes[1, 6:12, 9:11], strokes[2, 10:13, 2:7] = 1, 1, -1

    def forward(self, x):
        lit = torch.stack([x[:, 0, 0, 0], x[:, 0, 0, -1], x[:, 0, -1, -1]], 1).clamp(0, 1)
        each = torch.einsum("nij,kij->nk", x[:, 0], self.strokes) / 8
        return torch.stack([(lit * each).sum(1), torch.zeros(len(x))], 1)


def gate_of(judge, n=300, n_nulls=19):
    "The gate's table for planted maps, where corner k is lit in images whose map is stroke k."
    signed, which = planted(n, 5)
    x = torch.full((n, 1, 14, 14), -1.)
    for k, (i, j) in enumerate(((0, 0), (0, -1), (-1, -1))): x[which == k, 0, i, j] = 1
    maps = torch.from_numpy(signed).float().reshape(n, 1, 14, 14)
    rows = np.arange(n // 2, n)
    gate = _Gate(judge, x, maps, None, (0, 1), 1.5, rows, 2, 0)
    return _gate_table(gate, {"part": which, "style": np.arange(n) % 3}, rows, n_nulls, 0), which


def test_gate_passes_separate_reasons_and_numbers_are_replayed():
    table, which = gate_of(Corners())
    moved = table["log-odds moved"]
    assert _passes(moved, table.p_value.min())
    assert table.p_value["an edit for each part"] == .05
    assert moved["an edit for each part"] > 1.2 * moved["one edit for all"]
    assert moved["shuffled parts, best"] < moved["an edit for each part"]


def test_gate_refuses_one_reason():
    "A judge with one direction and groups by lot: no grouping moves it further than one edit."
    class Linear(nn.Module):
        def forward(self, x): return torch.stack([x.flatten(1).sum(1) * .1, torch.zeros(len(x))], 1)

    rng = np.random.default_rng(0)
    x, maps = torch.zeros(200, 1, 14, 14), torch.from_numpy(1 + .5 * rng.normal(size=(200, 1, 14, 14))).float()
    gate = _Gate(Linear(), x, maps, None, (0, 1), 1.5, np.arange(200), 2, 0)
    table = _gate_table(gate, {"part": rng.integers(0, 3, 200)}, np.arange(200), 39, 0)
    assert not _passes(table["log-odds moved"], table.p_value.min())


def test_gate_of_one_edit_by_hand():
    judge, n = Plane(np.arange(36.) / 10), 40
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.normal(size=(n, 1, 6, 6)) + 1).float()
    gate = _Gate(judge, torch.zeros(n, 1, 6, 6), maps, None, (0, 1), 2., np.arange(n), 1, 0)
    expected = []
    for learn, _ in gate.splits:
        unit = maps[learn].reshape(len(learn), -1)
        mean = (unit / unit.norm(dim=1, keepdim=True)).mean(0)
        expected.append(float(2 * mean / mean.norm() @ judge.w.detach()))
    assert gate.of_groups(np.zeros(n, np.int64)) == pytest.approx(np.mean(expected), rel=1e-4)


# --- all of it


@pytest.fixture(scope="module")
def study():
    "Bisected mixtures of 7 and 1 with two small judges of ten classes."
    from ambiguity_nb.models import cnn
    from ambiguity_nb.parts import _train_judges
    from ambiguity_nb.patterns import mix_at_half

    everything = load_samples("mnist-5k", "all")
    train = everything.binary(7, 1)
    model = cnn(nf=2, seed=0)
    fit(model, train, Training(2), seed=0)
    judges = _train_judges(everything.split((.3, .7), seed=0)[0], 2, 0, n_epochs=5)
    return judges, mix_at_half(model, train, 200, jitter=.02), train


def test_find_parts_is_whole_and_reproducible(study, tmp_path):
    judges, inputs, train = study
    found = find_parts(judges, inputs, real=train, n_nulls=9, features=predict_embeddings(judges[0], inputs))
    assert found.pair == ("1", "7") and found.ends.shape == (200, 2, 1, 28, 28)
    np.testing.assert_allclose(found.shares.sum(1), 1)
    assert len(found.words) == 1 + found.n_parts == len(found.edits) and len(found.chosen_on) == 120
    assert np.isin(train.classes, found.pair).all()
    if not found.separate: assert "one shared reason" in repr(found)
    again = find_parts(judges, inputs, real=train, n_nulls=9, features=predict_embeddings(judges[0], inputs))
    pd.testing.assert_frame_equal(found.gate, again.gate)
    found.to_parquet(tmp_path / "parts.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "parts.parquet"), found.frame)
    assert found.plot(train, all_parts=True).axes and "log-odds moved" in found._repr_html_()
    moved = found.gate["log-odds moved"]
    assert moved["one edit for all"] > .5 and found.gate.p_value.min() >= .1


def test_judges_table_counts_every_input(study):
    judges, inputs, _ = study
    table = _who_is_unsure(judges[0], inputs, ("1", "7"))
    assert table.inputs["all"] == len(inputs) == table.drop(index="all").inputs.sum()
    names = np.array(judges[0].classes)[predict_logits(judges[0], inputs).argmax(1)]
    assert table.inputs["1"] == (names == "1").sum()


def test_parts_of_a_table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)).astype(np.float32)
    samples = from_arrays(x, (x[:, 0] > 0).astype(int), ("no", "yes"), features=list("abcdefgh"))
    from ambiguity_nb.models import build_model

    judge = build_model("tabular_mlp", samples, 0)
    fit(judge, samples, Training(10), seed=0)
    unsure = samples.subset(np.abs(predict_logits(judge, samples) @ [1, -1]).argsort()[:120])
    found = find_parts(judge, unsure, real=samples, n_nulls=9)
    assert found.words[0].startswith("for no: less a")
    with pytest.raises(ValueError, match="table"): found.plot()


def test_too_few_inputs_are_refused(study):
    judges, inputs, train = study
    with pytest.raises(ValueError, match="50 inputs are too few"):
        find_parts(judges, inputs.subset(slice(0, 50)), real=train)


# --- in a study


def test_errors_given_confidence():
    """Errors that follow from confidence alone are no finding, however many a region holds; planted ones are."""
    from ambiguity_nb.study import _given_confidence, _holm

    rng, found = np.random.default_rng(0), []
    confidence = rng.uniform(.5, 1, 1000)
    inside = np.stack([confidence < .65, (confidence > .55) & (confidence < .8)])
    for seed in range(40):
        errors = rng.random(1000) > confidence
        table, differ = _given_confidence(inside, errors, confidence, n_draws=99, seed=seed)
        found.append([*table["p given confidence"], differ])
    assert ((np.array(found) <= .05).mean(0) <= .15).all()
    region = rng.random(1000) < .2
    planted = (rng.random(1000) > confidence) | (region & (rng.random(1000) < .4))
    table, differ = _given_confidence(np.stack([region, ~region]), planted, confidence, n_draws=199)
    assert table["holm"][0] <= .01 and differ <= .01 and planted[region].sum() > 1.2 * table.expected[0]
    np.testing.assert_allclose(_holm(np.array([.01, .04, .03])), [.03, .06, .06])


def test_facility_location_explains_held_out_variance():
    from ambiguity_nb.prototypes import _cover, _variance_explained, choose_prototypes

    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(12, 20))[rng.integers(0, 12, 600)] + .1 * rng.normal(size=(600, 20))).astype(np.float32)
    chosen, table = _cover(rows)
    assert table["variance explained"].iloc[0] > .95 > table["variance explained"].iloc[1]
    squared = ((rows[:, None] - rows[chosen][None]) ** 2).sum(2).min(1).sum()
    total = ((rows - rows.mean(0)) ** 2).sum()
    assert _variance_explained(rows, rows[chosen]) == pytest.approx(1 - squared / total, abs=1e-4)
    first = choose_prototypes(rows, np.zeros(600, int), "facility")[0, 0]
    assert first == ((rows[:, None].astype(np.float64) - rows[None]) ** 2).sum(2).sum(1).argmin()


@pytest.mark.slow
def test_study_of_found_images_says_who_and_why(study):
    from ambiguity_nb.latent_search import _fit_autoencoder, search_boundary
    from ambiguity_nb.models import cnn
    from ambiguity_nb.patterns import Clustering
    from ambiguity_nb.study import StudyOptions, study_patterns

    judges, _, train = study
    model = cnn(nf=2, seed=0)
    fit(model, train, Training(2), seed=0)
    found = search_boundary(model, _fit_autoencoder(train, 150), (0, 1), n=120, samples=train)
    options = StudyOptions(n_nulls=9, explainer=None, n_cover=5)
    made = study_patterns(model, found, train, train, Clustering("pca", "kmeans", n_clusters=2), options, judges=judges)
    assert len(made.inputs) > 80 and made.parts.ends.shape[0] == len(made.inputs) and len(made.cover) == 5
    assert set(made.islands) == {"model", "judge"} and made.judged.loc["judge 0"].inputs["all"] == len(made.inputs)
    tables = made.tables()
    assert {"judged", "islands", "gate", "parts", "parts_regions", "cover"} <= set(tables)
    assert {"expected", "p given confidence", "holm", "regions alike"} <= set(tables["regions"])
    assert "reason" in repr(made)
    null = made.against_null(2)
    assert list(null.index) == ["these inputs", "Gaussian cloud"]
    bare = study_patterns(model, found, train, train, Clustering("pca", "kmeans", n_clusters=2), options, judges=())
    assert bare.parts is None and bare.judged is None and set(bare.islands) == {"model"}
    pd.testing.assert_frame_equal(bare.frame, made.frame)                            # the pipeline itself is the same
    cards_show_parts_only_where_the_gate_passes(made, bare)
    assert_jobs_keep_latents(model, found.generator, train)


def cards_show_parts_only_where_the_gate_passes(made, bare):
    "The same study, with a table of the gate that refuses and one that passes."
    from dataclasses import replace

    from ambiguity_nb.explorer import explore

    kinds = ["one edit for all", "an edit for each part", "an edit for each style", "each image's own map"]
    gate = lambda moved, p: pd.DataFrame({"log-odds moved": moved, "p_value": [np.nan, p, np.nan, np.nan]}, index=kinds)
    cut = (np.arange(len(made.parts.inputs)) % 3)[:, None] == np.arange(3)
    three = replace(made.parts, shares=cut * .8 + .2 / 3, components=np.repeat(made.parts.components[:1], 3, 0),
                    words=["all", *("more ink here for a 1",) * 3], nearest=np.zeros((3, 4), int))
    values = ([3, 2.9, 3, 4], .5), ([3, 3.4, 3, 4], .01)
    no, yes = (replace(made, parts=replace(three, gate=gate(*v))) for v in values)
    assert "one shared reason" in no.words and "3 separate reasons" in yes.words and yes.words in repr(yes)
    assert {"parts", "card_0", "card_1"} <= set(figures := no.figures()) and "part_0" not in figures
    assert set(yes.cards()) == {"part_0", "part_1", "part_2"}
    of, labels, prototypes = yes.grouping()
    assert of == "part" and prototypes.shape == (3, 1) and (labels[prototypes[:, 0]] == [0, 1, 2]).all()
    known = dict(zip(made.inputs.ids, labels, strict=True))
    assert [known[i] for i in made.parts.inputs.ids] == three.labels.tolist()
    assert yes.grouping("pattern")[1] is made.patterns.labels
    assert (explore(yes, scatter="widgets").labels == labels).all()
    title = yes.card(1)._suptitle.get_text()
    assert "more ink here for a 1" in title and "3.40" in title
    assert "Pattern 1" in yes.card(1, of="pattern")._suptitle.get_text()
    with pytest.raises(ValueError, match="unknown part"): yes.card(9)
    with pytest.raises(ValueError, match="unknown grouping"): bare.grouping("part")


def assert_jobs_keep_latents(model, generator, train):
    "Images of a generator alone come with the latents that made them, also when searched for; others do not."
    from ambiguity_nb.jobs.patterns import _gather
    from ambiguity_nb.latent_search import BoundarySet

    made, searched = (_gather([s], model, train, train, generator, 40, 3, "cpu") for s in ("generated", "searched"))
    for found in (made, searched):
        assert isinstance(found, BoundarySet) and found.generator is generator
        with torch.no_grad(): torch.testing.assert_close(generator(found.z), found.images, atol=1e-4, rtol=0)
    assert len(made) == 40 and np.abs(searched.p - .5).max() < .001 < .1 < np.abs(made.p - .5).max()
    assert (made.class_a == 0).all() and (made.class_b == 1).all()
    assert len(_gather(["generated", "test"], model, train, train, generator, 40, 3, "cpu")) == 40 + len(train)


def test_parts_of_color_images_and_of_a_pair_among_three_classes():
    "A ReLU network of three classes on color: where a class has its patch, the map of the pair has it too."
    from ambiguity_nb.patterns import Clustering
    from ambiguity_nb.study import StudyOptions, study_patterns

    rng = np.random.default_rng(0)
    low, high, y = slice(2, 7), slice(9, 14), np.arange(600) % 3
    spots = [(0, low, low), (1, high, high), (2, low, high)]
    x = rng.uniform(0, .3, (600, 3, 16, 16)).astype(np.float32)
    for k, (channel, rows, columns) in enumerate(spots): x[y == k, channel, rows, columns] += .5
    data = from_arrays(x, y, ("red", "green", "blue"))
    build = lambda width: nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(width * 49, 3))
    torch.manual_seed(0)
    model, judges = build(4), [build(6), build(8)]
    for network in (model, *judges): fit(network, data, Training(6), seed=0)
    between = (x[y == 0][:150] + x[y == 1][:150]) / 2
    inputs = from_arrays(between, np.zeros(150, int), data.classes)
    made = study_patterns(model, inputs, data, data, Clustering("pca", "kmeans", n_clusters=2),
                          StudyOptions(tau=.499, n_nulls=9, n_cover=5), judges=judges)
    parts = made.parts
    assert parts.pair == ("red", "green") and parts.edits.shape[1:] == (3, 16, 16) and made.p.shape[1] == 3
    for k, sign in ((0, 1), (1, -1)):
        edit, (channel, rows, columns) = sign * parts.edits[0], spots[k]
        inside = edit[channel, rows, columns].mean()
        assert inside > 3 * np.abs(np.delete(edit, channel, 0)[:, rows, columns].mean()) and inside > 0
    said = {words.split()[-1]: words for words in parts.words[0].split(", ")}
    for color, place in (("red", "top left"), ("green", "bottom right")):
        assert said[color].startswith(f"more brightness {place}")
    assert made.card(0, of="part").axes and made.explanation.maps.shape[1:] == (3, 3, 16, 16)
