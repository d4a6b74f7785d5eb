"""Verdicts: probes, the judge and its self-test, wrong labels, and what a user gets."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control
from sklearn.neighbors import NearestNeighbors
from torch import nn

from ambiguity_nb.data import Samples, from_arrays
from ambiguity_nb.hardness_types import inject
from ambiguity_nb.models import build_model, logits_and_embeddings
from ambiguity_nb.sources import from_dataframe, load_samples
from ambiguity_nb.training import Hook, HookError, Training
from ambiguity_nb.verdicts import (
    Probes, VerdictOptions, _by_row, _column_groups, _count_wrong, _cuts, _decide, _folded, _generators, _kinds,
    _learn, _nearest, _notes, _p_values, _Records, _rejected, _reliability, _self_test, _share_wrong, _shares, _Sorter,
    _unlike, _whole, judge_samples)

few = ("uniform", "adjacent", "ood_covariate", "far_ood", "half of each", "side by side")
quick = VerdictOptions(Training(n_epochs=4, lr=3e-3), probes=80, generators=few)
columns = ["given", "kind", "probability", "second_kind", "suggested", "suggested_probability", "p_value", "class_a",
           "class_b", "reason"]


def table(n=4200, seed=0, n_classes=4, distance=4., shares=None) -> Samples:
    "Gaussian classes in eight columns, and a category that goes with the class in half of the rows."
    rng = np.random.default_rng(seed)
    y = rng.choice(n_classes, n, p=shares)
    means = np.random.default_rng(1).standard_normal((n_classes, 8)) * distance / 2
    frame = pd.DataFrame(rng.standard_normal((n, 8)) + means[y], columns=[f"x{i}" for i in range(8)])
    frame["color"] = np.where(rng.random(n) < .5, y, rng.integers(n_classes, size=n)).astype(str)
    frame["switch"] = rng.integers(2, size=n)
    frame["label"] = [f"class {k}" for k in y]
    return from_dataframe(frame, "label", name="gaussians")


@pytest.fixture(scope="module")
def noisy():
    "A table with 8 % wrong labels, and the truth about it."
    return inject(table(), "uniform", .08, seed=3)


@pytest.fixture(scope="module")
def verdicts(noisy):
    return judge_samples("tabular_mlp", noisy.samples, quick, device="cpu")


# ------------------------------------------------------------------------------------------------- probes
@pytest.mark.parametrize("samples", [table(4000), load_samples("mnist-5k", "all").subset(np.arange(5000) % 5 > 0)],
                         ids=["table", "images"])
def test_probes_lie_in_disjoint_hosts_and_the_rest_is_as_it_was(samples):
    before = samples.x.copy(), samples.y.copy()
    probes = Probes(samples, VerdictOptions(probes=60), seed=1)
    first, second = probes.runs
    assert not (~first.own & ~second.own).any()                       # every row is judged in some run
    for run in probes.runs:
        same_x = (run.samples.x == samples.x).reshape(len(samples), -1).all(1)
        same_y = run.samples.y == samples.y
        assert same_x[run.own].all() and same_y[run.own].all()
        wrong = run.kinds == _kinds.index("mislabeled")
        assert (same_y == ~wrong).all() and (same_x[~run.own] == wrong[~run.own]).all()
        assert ((run.generators == "") == run.own).all()
        for k in (1, 2, 3): assert 50 <= (run.kinds == k).sum() <= 70
        assert (run.samples.ids == samples.ids).all()
        made = pd.Series(run.kinds[~run.own]).groupby(run.generators[~run.own]).agg(["nunique", "size"])
        assert (made["nunique"] == 1).all() and set(made.index) == set(_generators(samples, ())) - set(probes.left_out)
    assert (samples.x == before[0]).all() and (samples.y == before[1]).all()
    again = Probes(samples, VerdictOptions(probes=60), seed=1).runs[0]
    assert (again.samples.x == first.samples.x).all() and (again.kinds == first.kinds).all()
    assert (Probes(samples, VerdictOptions(probes=60), seed=2).runs[0].kinds != first.kinds).any()


@pytest.mark.parametrize("samples", [table(), load_samples("digits")], ids=["table", "images"])
def test_there_are_several_generators_for_every_kind(samples):
    kinds = pd.Series([made.group for made, _ in _generators(samples, ()).values()])
    n = {k: (kinds == k).sum() for k in ("mislabeled", "ambiguous")}
    assert min(n.values()) >= 3 and len(kinds) - sum(n.values()) >= 6


@pytest.mark.parametrize("shape", [(1, 17, 23), (3, 20, 16)])
def test_images_of_any_size_and_channels_get_probes(shape):
    rng = np.random.default_rng(0)
    y = np.arange(4000) % 3
    x = (rng.random((4000, *shape)) * 80 + 60 * y[:, None, None, None]).astype(np.uint8)
    probes = Probes(from_arrays(x, y), VerdictOptions(probes=40))
    assert not probes.left_out and all((run.kinds == 2).sum() >= 30 for run in probes.runs)


def test_categories_stay_whole():
    samples = table()
    groups = [c for c in _column_groups(samples) if len(c) > 1]
    assert [len(c) for c in groups] == [4]
    torn = samples.x.copy()
    torn[:, groups[0]] = .25
    torn[:, samples.features.index("switch")] = .7
    assert (_whole(samples, torn)[:, groups[0]].sum(1) == 1).all()
    for run in Probes(samples, quick).runs:
        values = run.samples.x[:, groups[0]]
        assert ((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all()
        assert set(np.unique(run.samples.x[:, samples.features.index("switch")])) == {0, 1}


def test_generators_can_be_chosen_and_one_that_cannot_work_is_named():
    def refuses(samples, rows, rng, severity): raise ValueError("not with me")

    samples = table()
    probes = Probes(samples, VerdictOptions(generators=("uniform", "adjacent", "ood_covariate", refuses), probes=20))
    assert set(probes.runs[0].generators) == {"", "uniform", "adjacent", "ood_covariate"}
    assert "not with me" in probes.left_out["refuses"]


# ------------------------------------------------------------------------------------------------- what a user gets
def test_wrong_labels_are_found_mended_and_explained(noisy, verdicts):
    frame, flags = verdicts.frame, noisy.flags
    true = np.array(noisy.samples.classes)[noisy.true_y]
    assert list(frame.columns) == columns and (frame.index == noisy.samples.ids).all()       # no probe is in it
    assert len(verdicts.probabilities) == len(frame)
    np.testing.assert_allclose(verdicts.probabilities.sum(1), 1)
    assert set(frame["kind"]) <= {*_kinds, "unsure"}
    called = (frame["kind"] == "mislabeled").to_numpy()
    assert called[flags].mean() > .7 and called[~flags].mean() < .015
    assert (frame["suggested"].to_numpy() == true)[flags].mean() > .9
    assert (frame["suggested"] != frame["given"]).all() and frame["suggested_probability"].between(0, 1).all()
    first = frame.index.get_indexer(verdicts.top("mislabeled", 20).index)
    assert flags[first].all()
    reason = frame["reason"].iloc[first[0]]
    assert "its label was never predicted" in reason and "neighbors are labeled" in reason
    assert "the mean prediction is" in reason
    low, high = verdicts.wrong_labels[["low", "high"]]
    assert low <= flags.sum() <= high


def test_suspects_hold_few_right_labels(noisy, verdicts):
    flags = pd.Series(noisy.flags, verdicts.frame.index)
    sizes = [len(verdicts.suspects(rate)) for rate in (.05, .1, .3)]
    assert sizes[0] <= sizes[1] <= sizes[2] and sizes[1] > 200
    assert 1 - flags[verdicts.suspects(.1).index].mean() <= .15
    assert verdicts.suspects().equals(verdicts.suspects(quick.rate))
    p = verdicts.suspects()["p_value"].to_numpy()
    assert (np.diff(p) >= 0).all() and p[0] == pytest.approx(1 / (~flags.to_numpy()).sum(), rel=.2)  # of right labels


@pytest.mark.slow
def test_without_wrong_labels_few_are_named():
    clean = judge_samples("tabular_mlp", table(distance=6.), quick, device="cpu")
    assert (clean.frame["kind"].isin(_kinds[1:])).mean() < .01
    assert clean.wrong_labels["low"] == 0 and len(clean.suspects()) < 20


@pytest.mark.slow
def test_a_rare_class_is_not_mislabeled_as_a_whole():
    samples = table(5000, shares=[.33, .33, .323, .017])
    found = judge_samples("tabular_mlp", samples, quick, device="cpu")
    classes = found.by_class()
    assert classes.loc["class 3", "samples"] < 120
    assert classes.get("mislabeled", pd.Series(0., classes.index))["class 3"] < .1
    assert classes.loc["class 3", "typical"] > .5


def test_verdicts_can_be_shown_and_written(verdicts, tmp_path):
    assert pd.read_parquet(verdicts.to_parquet(tmp_path / "verdicts.parquet")).equals(verdicts.frame)
    page = verdicts._repr_html_()
    assert "labels are wrong" in page and "recall, left out" in page
    bars = verdicts.plot_self_test().patches
    assert [b.get_height() for b in bars[:3]] == list(verdicts.self_test["recall"])
    assert len(verdicts.plot_reliability().collections[0].get_offsets()) == len(verdicts.reliability)
    assert verdicts.show("mislabeled", 5).get_yticklabels()[0].get_text().count("→") == 1
    assert verdicts.calibration_error < .05
    with pytest.raises(ValueError, match="choose from"): verdicts.top("weird")
    assert set(verdicts.cost.index) == {"training 1", "training 2", "features", "judge"}


def test_few_rows_get_a_ranking_only():
    noisy = inject(load_samples("digits-table"), "uniform", .05, seed=0)
    found = judge_samples("tabular_mlp", noisy.samples, VerdictOptions(Training(n_epochs=12, lr=3e-3)), device="cpu")
    assert set(found.frame["kind"]) == {"unsure"} and found.frame["p_value"].isna().all()
    assert found.self_test is None and found.shares is None
    assert "too few" in found.notes[0] and "too few" in found._repr_html_()
    assert noisy.flags[found.frame.index.get_indexer(found.top("mislabeled", 30).index)].mean() > .8
    assert len(found.suspects()) == 0
    with pytest.raises(ValueError, match="too few"): found.plot_self_test()
    assert all((run.samples.x == noisy.samples.x).all() for run in Probes(noisy.samples).runs)


@pytest.mark.slow
# ------------------------------------------------------------------------------------------------- ways to train
def test_an_own_loop_and_saved_logits_give_the_same(noisy, verdicts):
    probes, saved = Probes(noisy.samples, quick, seed=0), Probes(noisy.samples, quick, seed=0)
    for i, (run, later) in enumerate(zip(probes.runs, saved.runs, strict=True)):
        model, logits = build_model("tabular_mlp", run.samples, seed=i), []
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        run.scores.start(len(run.samples), run.samples.n_classes, 4, run.samples.ids)
        order = torch.Generator().manual_seed(i)
        for _ in range(4):
            model.train()
            for x, y, index in run.samples.batches(64, shuffle=True, generator=order):
                out = model(x)
                run.scores.train_batch(index, out, y)
                nn.functional.cross_entropy(out, y).backward()
                optimizer.step()
                optimizer.zero_grad()
            run.scores.evaluate(model, run.samples)
            model.eval()
            x = run.samples.normalize(run.samples.x)
            with torch.no_grad(): out, embeddings = logits_and_embeddings(model, x)
            logits.append(out.numpy())
        later.replay(np.stack(logits), embeddings.numpy())
    found, replayed = probes.judge(), saved.judge()
    same = (found.frame["kind"] == verdicts.frame["kind"]).mean()
    assert same > .97                                                  # dropout is drawn otherwise
    assert (replayed.frame["kind"] == found.frame["kind"]).mean() > .95      # its AUM is that of evaluation passes
    np.testing.assert_array_equal(replayed.frame["suggested"], found.frame["suggested"])


def test_a_run_that_was_not_trained_is_named():
    probes = Probes(table(), quick)
    with pytest.raises(ValueError, match="run 0 has rows that were never evaluated"): probes.judge()


def test_an_interrupted_run_goes_on_to_the_same_result(noisy, verdicts, tmp_path):
    class Stop(Hook):
        armed = True

        def after_epoch(self, epoch, model, samples, metrics):
            if epoch == 3 and Stop.armed: raise KeyError("stopped")

    how = {"device": "cpu", "folder": tmp_path, "hooks": [Stop()]}
    with pytest.raises(HookError, match="stopped"): judge_samples("tabular_mlp", noisy.samples, quick, **how)
    Stop.armed = False
    found = judge_samples("tabular_mlp", noisy.samples, quick, **how)
    pd.testing.assert_frame_equal(found.frame, verdicts.frame)


def test_reviewed_rows_give_shares_and_a_model_of_ones_own_is_copied(noisy):
    ids = noisy.samples.ids[~noisy.flags][:400]
    options = replace(quick, reviewed=tuple(ids))
    probes = Probes(noisy.samples, options)
    assert all(run.own[np.isin(noisy.samples.ids, ids)].all() for run in probes.runs)       # they are no hosts
    model = build_model("tabular_mlp", noisy.samples, seed=0)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()  # noqa: NPY002
    found = judge_samples(model, noisy.samples, options, device="cpu")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numbers).all()  # noqa: NPY002
    assert (found.frame["kind"] == "mislabeled")[noisy.flags].mean() > .7
    share, low, high = found.shares.loc["mislabeled"]
    assert low <= share <= high and abs(share - noisy.share) < .05
    assert low <= noisy.flags.mean() <= high and high - low < .15
    assert found.shares["share"].sum() == pytest.approx(1)
    few = Probes(noisy.samples, VerdictOptions(reviewed=tuple(ids[:50])))
    assert "fewer than 200" in _notes(few, pd.DataFrame({"shown": True, "why": ""}, _kinds[1:]))[-1]
    with pytest.raises(ValueError, match="takes ids of the samples"):
        judge_samples("tabular_mlp", noisy.samples, VerdictOptions(reviewed=(10**9,)))


@pytest.mark.parametrize(("field", "value"), [("rate", 0), ("false_alarms", .6), ("probes", 0), ("assumed", 1.)])
def test_options_that_cannot_be_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}"): VerdictOptions(**{field: value})


# ------------------------------------------------------------------------------------------------- the judge's parts
def records(separation: float, n=600, seed=0) -> _Records:
    "Rows of two runs whose first features tell the kinds apart as far as `separation`."
    rng = np.random.default_rng(seed)
    kinds = np.concatenate([np.repeat([0, 1, 2, 3], [n, 90, 120, 90]) for _ in range(2)])
    x = rng.standard_normal((len(kinds), 12))
    for k in (1, 2, 3): x[kinds == k, k:k + 3] += separation / np.sqrt(3)
    names = np.where(kinds == 0, "", [f"{k}{i}" for k, i in zip(kinds, rng.integers(3, size=len(kinds)), strict=True)])
    rows = np.tile(np.arange(len(kinds) // 2), 2)
    return _Records(x, kinds, names, rows, np.repeat([0, 1], len(kinds) // 2), rows % 5)


@pytest.mark.parametrize(("separation", "shown"), [(6., True), (0., False)])
def test_the_self_test_shows_what_can_be_told_and_withdraws_what_cannot(separation, shown):
    told = records(separation)
    probs, fitted = _learn(told, told.own, .03, 2)
    test = _self_test(told, probs, fitted, np.array([.7, .1, .1, .1]), .5)
    assert list(test.index) == list(_kinds[1:]) and (test["shown"] == shown).all()
    assert (test["why"] == "").all() == shown
    if shown: assert test["recall, left out"].min() > .9 and test["precision"].min() > .9
    else: assert test["why"].str.contains("left out").all()


def test_a_kind_that_one_score_ranks_as_well_is_withdrawn():
    told = records(0.)
    told.x[told.kinds == 1, 1] += 100                                  # perfect alone: nothing can be better
    probs, fitted = _learn(told, told.own, .03, 2)
    test = _self_test(told, probs, fitted, np.full(4, .25), .5)
    assert test.loc["mislabeled", "recall, left out"] > .9
    assert not test.loc["mislabeled", "shown"] and "does not beat" in test.loc["mislabeled", "why"]


def test_nobody_is_judged_by_what_has_seen_it():
    told = records(0.)
    told.x[len(told.x) // 2:] = told.x[:len(told.x) // 2]              # both runs alike, as a row's features nearly are
    probs, _ = _learn(told, told.own, .03, 1)
    seen = _Sorter(told.x, told.kinds).log_probs(told.x)               # the control: a judge of rows that it has seen
    right = [(p.argmax(1) == told.kinds)[~told.own].mean() for p in (probs, seen)]
    assert right[0] < .4 < .6 < right[1]


def test_probabilities_are_means_of_logs_over_runs_in_which_a_row_was_no_probe():
    told = records(1.)
    told.kinds[0] = 1                                                  # row 0 was a probe in run 0
    n, rng = len(told.kinds) // 2, np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), 2 * n)
    told.kinds[n:] = 0                                                 # in run 1 nobody was
    found = _by_row(told, probs, n)
    np.testing.assert_allclose(found[0], probs[n], rtol=1e-6)
    both = np.flatnonzero((told.kinds[:n] == 0) & (told.kinds[n:] == 0))[0]
    mean = np.sqrt(probs[both] * probs[n + both])
    np.testing.assert_allclose(found[both], mean / mean.sum(), rtol=1e-6)


def test_the_share_of_wrong_labels_is_adjusted_for_what_is_missed():
    told = records(0.)
    probs = np.tile([.9997, .0001, .0001, .0001], (len(told.kinds), 1))
    sure = np.array([.0001, .9997, .0001, .0001])
    own, planted = np.flatnonzero(told.own), np.flatnonzero(told.kinds == 1)
    probs[own[::10]] = sure                                            # a tenth of the user's rows is called wrong
    probs[planted[::2]] = sure                                         # and half of the planted ones
    assert _share_wrong(probs, told, .25, .03) == pytest.approx(.2, abs=.02)
    low, high = np.quantile(_count_wrong(probs[:, 1], told, .005, 0), [.025, .975])
    assert low < .2 < high and high - low < .2


def test_p_values_and_suspects_are_those_of_benjamini_and_hochberg():
    rng = np.random.default_rng(0)
    suspicion = rng.random(500)
    p = _p_values(suspicion, np.ones(500))
    np.testing.assert_allclose(np.sort(p), np.arange(2, 502) / 501)     # all labels right: ranks
    assert p[suspicion.argmax()] == p.min()
    assert not _rejected(p, 500, .1).any()
    p = np.concatenate([rng.random(400), rng.random(60) * 1e-3])
    np.testing.assert_array_equal(_rejected(p, len(p), .1), false_discovery_control(p) <= .1)
    wrong = np.zeros(500)
    wrong[np.argsort(-suspicion)[:50]] = 1
    chosen = _rejected(_p_values(suspicion, 1 - wrong), 450, .1)
    assert 50 <= chosen.sum() <= 56 and chosen[wrong == 1].all()


def test_false_alarms_are_bounded_by_what_is_expected():
    rng = np.random.default_rng(0)
    posterior, y = rng.dirichlet([2, 1, 1, 1], 5000), rng.integers(4, size=5000)
    for rate in (.001, .005, .02):
        cuts = _cuts(posterior, y, 4, rate)
        kinds = _decide(posterior, cuts[y])
        assert 2 * posterior[kinds > 0, 0].sum() <= rate * 5000 * 1.0001           # doubt counts twice
        assert (posterior[kinds > 0, 0] <= cuts[y][kinds > 0]).all() and cuts.max() < .5
        for k in range(4): assert 2 * posterior[(kinds > 0) & (y == k), 0].sum() <= max(2, 2 * rate * (y == k).sum())
    assert set(_decide(posterior, .5)) == {-1, 0, 1, 2, 3}
    assert (_decide(posterior, .5, [True, False, False, False]) <= 0).all()
    assert (_decide(posterior, .5)[posterior[:, 0] >= .5] == 0).all()


def test_calls_so_few_that_all_may_be_false_are_no_more_than_the_false_alarms():
    typical, sure = [.97, .01, .01, .01], [.01, .97, .01, .01]
    for n, most in ((80, 50), (400, 400)):                             # of 10,000; twice .005 are 100
        posterior, y = np.tile(typical, (10_000, 1)), np.arange(10_000) % 10
        posterior[:n] = sure
        posterior[:n, 0] -= np.linspace(0, .005, n)                    # no two alike
        called = _decide(posterior, _cuts(posterior, y, 10, .005)[y]) == 1
        assert (~called[n:]).all() and most - 10 <= called.sum() <= most


def test_a_rare_class_bears_no_more_doubt_than_two_samples():
    posterior, y = np.tile([.97, .01, .01, .01], (10_000, 1)), np.zeros(10_000, int)
    y[:50] = 1                                                         # rare; each a bit doubtful
    posterior[:50] = np.linspace([.1, .88, .01, .01], [.3, .68, .01, .01], 50)
    posterior[50:1050] = np.linspace([.001, .997, .001, .001], [.002, .996, .001, .001], 1000)
    called = _decide(posterior, _cuts(posterior, y, 2, .02)[y]) == 1
    assert called[50:1050].all() and 2 * posterior[:50][called[:50], 0].sum() <= 2 and 0 < called[:50].sum() < 10
    everywhere = np.full(2, _cuts(posterior, np.zeros(10_000, int), 1, .02)[0])     # the control: classes not looked at
    assert (_decide(posterior, everywhere[y]) == 1)[:50].sum() > 30


def test_what_looks_ambiguous_is_an_unusual_input_where_ambiguous_is_withdrawn(monkeypatch):
    told = records(6.)
    probs, fitted = _learn(told, told.own, .03, 2)
    shares, words = np.full(4, .25), "its probes are told by how the input looks"
    plain = _self_test(told, probs, fitted, shares, .5)
    monkeypatch.setattr("ambiguity_nb.verdicts._why_withdrawn", lambda kind, test: words * (kind == "ambiguous"))
    folded = _self_test(told, probs, fitted, shares, .5)
    assert list(folded["shown"]) == [True, True, False] and list(folded.index) == list(plain.index)
    pd.testing.assert_series_equal(folded.loc["ambiguous"].drop(["why", "shown"]),
                                   plain.loc["ambiguous"].drop(["why", "shown"]))
    assert folded.loc["unusual input", "recall"] >= plain.loc["unusual input", "recall"]
    assert folded.loc["unusual input", "precision"] > .9               # the blends are aside: neither found nor false
    together = _folded(probs)
    np.testing.assert_allclose(together[:, 2], probs[:, 2] + probs[:, 3])
    np.testing.assert_allclose(together.sum(1), probs.sum(1))
    assert (together[:, 3] == 0).all() and (together[:, :2] == probs[:, :2]).all()
    assert "counts as 'unusual input'" in _notes(Probes(table(), quick), folded)[0]


def test_shares_by_expectation_maximization():
    rng, true = np.random.default_rng(0), np.array([.8, .1, .07, .03])
    kinds = rng.choice(4, 4000, p=true)
    x = rng.standard_normal((4000, 4)) + 2.5 * np.eye(4)[kinds]
    likelihood = np.exp(-np.square(x[:, None] - 2.5 * np.eye(4)).sum(2) / 2)
    found = _shares(likelihood / likelihood.sum(1, keepdims=True), 0)
    assert (abs(found["share"] - true) < .02).all() and (found["low"] <= true).all() and (true <= found["high"]).all()


def test_intervals_of_shares_hold_the_draws_of_reviewed_rows_and_generators():
    rng = np.random.default_rng(0)
    probs = np.repeat([[.97, .01, .01, .01], [.01, .97, .01, .01]], [900, 100], 0)
    plain = _shares(probs, 0)
    seen = rng.dirichlet([8, 1, .5, .5], 100)
    wider = _shares(probs, 0, seen), _shares(probs, 0, unlike=[np.ones(1), np.array([.8, 1, 1.3]), *[np.ones(1)] * 2])
    for found in wider:
        assert (found["share"] == plain["share"]).all()
        assert found.loc["mislabeled", "low"] < plain.loc["mislabeled", "low"]
        assert found.loc["mislabeled", "high"] > plain.loc["mislabeled", "high"]
    assert wider[1].loc["mislabeled", "high"] == pytest.approx(1.3 * plain.loc["mislabeled", "high"], rel=.1)
    told = records(2.)
    probs = np.tile([.4, .3, .2, .1], (len(told.kinds), 1))
    probs[told.generators == "10", 1] = .6                             # found twice as well as the other two
    mean = probs[told.kinds == 1, 1].mean()
    np.testing.assert_allclose(_unlike(told, probs)[1], [mean / .6, mean / .3, mean / .3])
    np.testing.assert_allclose(_unlike(told, probs)[2], 1)


def test_neighbors_are_those_of_scikit_learn():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32))
    among = torch.arange(0, 300, 3)
    index, distance = _nearest(x, among, x[among], 4)
    away, places = NearestNeighbors(n_neighbors=5).fit(x[among].numpy()).kneighbors(x.numpy())
    for i in (1, 2, 200): np.testing.assert_array_equal(np.sort(index[i]), np.sort(among[places[i, :4]]))
    for i in (0, 3, 297): assert i not in index[i] and set(index[i].tolist()) == set(among[places[i, 1:]].tolist())
    np.testing.assert_allclose(distance[1], away[1, :4].mean(), rtol=1e-3)
    rows = torch.tensor([7, 200, 3])
    for part, whole in zip(_nearest(x, among, x[among], 4, rows), (index, distance), strict=True):
        np.testing.assert_allclose(part, whole[rows], rtol=1e-5)


def test_the_reliability_of_honest_probabilities_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), 40_000)
    kinds = np.array([rng.choice(4, p=p) for p in probs])
    honest = _reliability(probs, kinds)
    assert (honest["share"] * abs(honest["said"] - honest["found"])).sum() < .01
    folded = _reliability(_folded(probs), kinds, 2)
    assert (folded["share"] * abs(folded["said"] - folded["found"])).sum() < .01
    proud = _reliability(np.eye(4)[probs.argmax(1)] * .9 + .025, kinds)
    assert (proud["share"] * abs(proud["said"] - proud["found"])).sum() > .2
