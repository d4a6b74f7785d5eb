"""What a benchmark may conclude: blocks and not trainings, paired, with baselines, pixels and blind scores in place."""
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import wilcoxon

from ambiguity_nb.benchmark_figures import (
    Conclusions, Ranks, _balanced, _compare, _holm, _merge_equal, _Units, _with_values_of, plot_curves, plot_heatmap,
    summarize,
)

RESULTS = Path(__file__).parents[1] / "experiments" / "benchmark" / "results"
SETTINGS = {"model": "net", "severity": None, "by": "hardness", "baseline": False, "sees_labels": True, "n_epochs": 7}


def row(score, auroc, *, rng=None, se=.01, kind="uniform", group="mislabeled", dataset="set 0", data_seed=0, prop=.1,
        model_seed=0, **more):
    "A row of a table of results; with `rng` it has resamples."
    draws = {} if rng is None else {"auroc_draws": auroc + se * rng.standard_normal(60).astype(np.float32)}
    where = {"dataset": dataset, "kind": kind, "group": group, "data_seed": data_seed, "prop": prop, "share": prop}
    found = {"score": score, "auroc": auroc, "auprc": auroc / 2}
    return SETTINGS | where | {"model_seed": model_seed, **found, **draws, **more}


def simulated(n_sets, n_seeds, rng, truth, between_sets=.03, between_seeds=.01, within=.01):
    "Two types at three nested shares with three model seeds: what a grid of so many data sets and seeds gives."
    rows = []
    for s in range(n_sets):
        of_set = rng.normal(0, between_sets) if n_sets > 1 else 0
        for d, kind in itertools.product(range(n_seeds), ("uniform", "adjacent")):
            drawn = truth + of_set + (rng.normal(0, between_seeds) if n_seeds > 1 else 0) + rng.normal(0, within)
            noise = rng.normal(0, within, (3, 100))  # model seeds share the samples, and so the resamples
            rows += [row("made up", found := drawn + rng.normal(0, .002), auroc_draws=found + noise[i], kind=kind,
                         dataset=f"set {s}", data_seed=d, prop=.1 + .1 * i, model_seed=m)
                     for i in range(3) for m in range(3)]
    return pd.DataFrame(rows)


def over_cells(cells):
    "The interval that counts every training as independent."
    mean, error = cells["auroc"].mean(), 1.96 * cells["auroc"].std() / len(cells)**.5
    return mean - error, mean + error


def slow(*values): return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(("n_sets", "n_seeds", "over"), [
    (1, 1, "samples"), (1, 5, "data seeds"), (4, 5, "data sets"), slow(1, 3, "data seeds"), slow(3, 5, "data sets"),
    slow(6, 5, "data sets"), slow(5, 1, "data sets")])
def test_intervals_hold_the_truth(n_sets, n_seeds, over):
    rng, held, before = np.random.default_rng(1), [], []
    for _ in range(100):
        cells = simulated(n_sets, n_seeds, rng, truth=.8)
        found = summarize(cells, ["group"]).iloc[0]
        assert (found["over"], found["n"], found["cells"]) == (over, n_sets * n_seeds, len(cells))
        for hold, (low, high) in ((held, (found["low"], found["high"])), (before, over_cells(cells))):
            hold.append(low <= .8 <= high)
    assert np.mean(held) >= .92
    assert np.mean(before) < .75, "an interval over cells would have done"


def random_grid(rng, n=400, n_blocks=5, n_draws=100):
    "Random rankings against flags that are nested over shares, with the bootstrap of the samples."
    rows, ranking = [], [rng.random(n) for _ in range(2)]
    groups = {"uniform": "mislabeled", "adjacent": "mislabeled", "far_ood": "far OoD", "zoom_shift": "atypical"}
    for d, (kind, group) in itertools.product(range(n_blocks), groups.items()):
        order = rng.permutation(n)
        for prop, m in itertools.product((.1, .2), range(2)):
            hard, rest = ranking[m][order[:int(prop * n)]], np.sort(ranking[m][order[int(prop * n):]])
            draw = np.random.default_rng(0)
            picked = hard[draw.integers(len(hard), size=(n_draws, len(hard)))]
            others = np.sort(rest[draw.integers(len(rest), size=(n_draws, len(rest)))], 1)
            found = [np.searchsorted(o, p).mean() / len(rest) for o, p in zip(others, picked, strict=True)]
            rows.append(row("random", np.searchsorted(rest, hard).mean() / len(rest), kind=kind, group=group,
                            data_seed=d, prop=prop, model_seed=m, auroc_draws=np.float32(found), baseline=True))
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n_blocks", [1, 5])
def test_random_holds_one_half_in_every_group_of_a_simulated_grid(n_blocks):
    rng, held = np.random.default_rng(2), []
    for _ in range(25):
        found = summarize(random_grid(rng, n_blocks=n_blocks), ["group"])
        held += list((found["low"] <= .5) & (found["high"] >= .5))
    assert np.mean(held) >= .92


TABLES = [p for p in sorted(RESULTS.rglob("*.parquet")) if {"data_seed", "auroc"} <= {*pq.read_schema(p).names}]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_random_holds_one_half_in_every_group_of_the_stored_tables(path):
    cells = pd.read_parquet(path)
    cells = cells[cells["score"] == "random"]
    for parts in [cells], [part for _, part in cells.groupby("dataset")]:
        for part in parts:
            found = summarize(part, ["group"]).set_index("group")
            assert ((found["low"] <= .5) & (found["high"] >= .5)).all(), found[["mean", "low", "high"]]


def test_more_model_seeds_and_shares_are_no_more_blocks():
    rng = np.random.default_rng(3)
    cells = simulated(1, 5, rng, .8)
    few = cells[(cells["model_seed"] == 0) & (cells["prop"] == .1)]
    widths = [(table["high"] - table["low"]).iloc[0] for table in (summarize(part, ["group"]) for part in (cells, few))]
    assert widths[0] > .6 * widths[1]  # nine times as many trainings would make it a third
    assert summarize(cells, ["group"])["n"].iloc[0] == 5


def paired(n_blocks, lead=.002, spread=.03, n_sets=1, **more):
    "Two scores that differ by little in every block, and blocks that differ by much."
    rng, rows = np.random.default_rng(4), []
    for s, d in itertools.product(range(n_sets), range(n_blocks // n_sets)):
        level = .9 + spread * rng.uniform(-1, 1)
        found = {"first": level + lead, "second": level + rng.normal(0, lead / 9), "third": level - .1}
        for score, auroc in found.items():
            rows.append(row(score, auroc, dataset=f"set {s}", data_seed=d, **more))
    return pd.DataFrame(rows)


def test_pairs_see_what_intervals_side_by_side_do_not():
    cells = paired(12)
    table = summarize(cells, ["group"]).set_index("score")
    assert table.loc["second", "high"] > table.loc["first", "low"], "the intervals overlap"
    found = Conclusions.of(cells).frame.iloc[0]
    assert found["best"] == "first" and found["also"] == []
    against = _compare(_Units.of(cells), 0)
    assert set(against["test"]) == {"Wilcoxon"} and (against["better"] == 12).all()
    wide = cells.pivot(index="data_seed", columns="score", values="auroc")
    by_hand = wilcoxon(wide["second"], wide["first"]).pvalue * 2
    assert against["p"].iloc[0] == pytest.approx(by_hand)


@pytest.mark.parametrize(("n_blocks", "test"), [(5, "bootstrap"), (6, "bootstrap"), (7, "Wilcoxon"), (12, "Wilcoxon")])
def test_few_blocks_are_judged_by_the_bootstrap_and_the_text_says_so(n_blocks, test):
    cells = paired(n_blocks)
    cells["baseline"] = cells["score"] == "second"
    found = Conclusions.of(cells).frame.iloc[0]
    assert found["test"] == test and found["beats"] and f"{n_blocks} blocks" in found["text"]
    assert ("too few for Wilcoxon" in found["text"]) == (test == "bootstrap")


def test_one_draw_of_the_data_says_so():
    rng = np.random.default_rng(5)
    cells = pd.DataFrame([row(score, auroc, rng=rng) for score, auroc in (("first", .9), ("second", .8))])
    found = Conclusions.of(cells).frame.iloc[0]
    assert (found["over"], found["n"]) == ("samples", 1) and "1 block" in found["text"] and found["also"] == []
    assert .85 < found["low"] < .9 < found["high"] < .95
    bare = Conclusions.of(cells.drop(columns="auroc_draws")).frame.iloc[0]
    assert bare["over"] == "nothing" and np.isnan(bare["low"]) and bare["also"] == ["second"]


def test_equal_scores_are_seldom_told_apart():
    rng, wrong = np.random.default_rng(6), []
    for _ in range(40):
        rows = []
        for d in range(5):
            level = rng.normal(.8, .03)
            rows += [row(f"score {i}", level + rng.normal(0, .01), data_seed=d, rng=rng, se=.003) for i in range(6)]
        found = Conclusions.of(pd.DataFrame(rows)).frame.iloc[0]
        wrong.append(len(found["also"]) < 5)
    assert np.mean(wrong) <= .1


def test_holm_by_hand():
    np.testing.assert_allclose(_holm(np.array([.04, .01, .03, .5])), [.09, .04, .09, .5])
    assert _holm(np.array([.9, .8])).max() == 1


def test_blind_scores_stay_out_of_the_label_noise_ranking():
    cells = pd.concat([paired(8), pd.DataFrame([row("blind", .999, data_seed=d, sees_labels=False) for d in range(8)])])
    assert Conclusions.of(cells).frame["best"].iloc[0] == "first"
    assert list(Ranks.of(cells, "mislabeled").frame.index) == ["first", "second", "third"]
    other = cells.assign(group="far OoD", kind="far_ood")
    assert Conclusions.of(other).frame["best"].iloc[0] == "blind"
    assert "blind" in Ranks.of(other, "far OoD").frame.index
    rows = [label.get_text() for label in plot_heatmap(cells).get_yticklabels()]
    assert rows == ["first", "second", "third", "blind", "random floor"]
    import matplotlib.pyplot as plt

    assert sorted(line.get_ydata()[0] for line in plt.gca().lines) == [2.5, 3.5]
    plt.close("all")


def test_rows_in_domain_are_marked_and_left_out():
    cells = pd.concat([paired(6, n_sets=2), pd.DataFrame([
        row("detector", .99 if s == 0 else .6, dataset=f"set {s}", data_seed=d, in_domain=s == 0)
        for s, d in itertools.product(range(2), range(3))])])
    cells["in_domain"] = cells["in_domain"].fillna(False).astype(bool)
    assert Conclusions.of(cells).frame["best"].iloc[0] == "first"
    table = summarize(cells, ["group"]).set_index("score")["mean"]
    assert table["detector (in domain)"] == pytest.approx(.99) and table["detector"] == pytest.approx(.6)
    assert "detector (in domain)" not in Ranks.of(cells, "mislabeled").frame.index
    labels = [label.get_text() for label in plot_heatmap(cells).get_yticklabels()]
    assert "detector (in domain)" in labels
    import matplotlib.pyplot as plt

    plt.close("all")


def test_a_baseline_may_win_and_a_tie_is_no_victory():
    cells = paired(8)
    first, second = (cells.assign(baseline=cells["score"] == name) for name in ("first", "second"))
    assert Conclusions.of(first).frame["advice"].iloc[0] == "no score beats first"
    assert Conclusions.of(second).frame["advice"].iloc[0] == "use first"
    unsure = paired(4, n_sets=1).assign(baseline=lambda c: c["score"] == "second")
    unsure.loc[(unsure["score"] == "first") & (unsure["data_seed"] == 0), "auroc"] += .004  # ahead, by unlike amounts
    found = Conclusions.of(unsure).frame.iloc[0]
    assert not found["beats"] and found["advice"] == ("no score clearly beats second" if found["lead_low"] > 0 else
                                                      "no score beats second")
    tied = second.copy()
    tied.loc[tied["score"] == "second", "auroc"] += .002
    assert Conclusions.of(tied).frame["advice"].iloc[0] == "no score beats second"
    joined = pd.concat([second, second[second["score"] == "second"].assign(score="also second", baseline=False)])
    assert _merge_equal(joined).query("score.str.contains('=')")["baseline"].all(), "a baseline under another name"


@pytest.mark.parametrize("norm", [.97, .03])
def test_what_pixels_explain_is_never_recommended(norm):
    rng = np.random.default_rng(7)
    cells = pd.concat([paired(8, kind="zoom_shift", group="atypical"), pd.DataFrame([
        row("input_norm", norm, kind="zoom_shift", group="atypical", data_seed=d, baseline=True, sees_labels=False,
            rng=rng) for d in range(8)])])
    cells = cells.drop(columns="auroc_draws")
    said = Conclusions.of(cells)
    found = said.frame.iloc[0]
    assert found["advice"] == "no score beats the norm of the input alone" and "use " not in said.sentence
    assert found["explained"] == ["zoom_shift"] and found["norm"] == pytest.approx(.97)
    chance = cells.assign(auroc=cells["auroc"].where(cells["score"] != "input_norm", .5))
    assert Conclusions.of(chance).frame["advice"].iloc[0] == "use first"


def test_one_type_of_two_that_pixels_explain_is_named():
    cells = pd.concat([paired(8, kind=kind, group="atypical") for kind in ("zoom_shift", "crop_shift")] + [
        pd.DataFrame([row("input_norm", level, kind=kind, group="atypical", data_seed=d, baseline=True)
                      for d in range(8) for kind, level in (("zoom_shift", .01), ("crop_shift", .5))])])
    advice = Conclusions.of(cells).frame["advice"].iloc[0]
    assert advice == "use first, though the norm of the input tells zoom_shift as well"
    by_kind = Conclusions.of(cells, "kind").frame["advice"]
    assert by_kind["crop_shift"] == "use first" and "no score beats the norm" in by_kind["zoom_shift"]


def test_a_sentence_names_data_network_length_and_blocks():
    said = Conclusions.of(paired(6, n_sets=2))
    for words in ("set 0 and set 1", "with net", "7 epochs", "6 blocks"):
        assert words in said.sentence and words in said.frame["text"].iloc[0]


def test_data_sets_are_drawn_where_there_are_three():
    for n_sets, over in ((1, "data seeds"), (2, "data seeds"), (3, "data sets")):
        assert set(summarize(paired(12, n_sets=n_sets))["over"]) == {over}


def test_settings_of_some_seeds_only_do_not_shift_blocks():
    cells = paired(5)
    harder = cells[cells["data_seed"] < 2].assign(prop=.4, auroc=lambda c: c["auroc"] - .3)
    both = pd.concat([cells, harder], ignore_index=True)
    assert set(_balanced(both)["prop"]) == {.1}
    pd.testing.assert_series_equal(summarize(both)["mean"], summarize(cells)["mean"])
    assert set(summarize(both, ["prop"])["prop"]) == {.1, .4}
    curve = _with_values_of("prop", both)
    assert set(curve["data_seed"]) == {0, 1}, "points of one line are of the same blocks"


def test_when_a_score_is_worth_reading():
    cells = paired(3)
    cells["by_epoch_auroc"] = [None if score == "third" else np.float32([np.nan, .5, auroc])
                               for score, auroc in zip(cells["score"], cells["auroc"], strict=True)]
    figure = plot_curves(cells, "epoch", scores=["first", "second"])
    lines = figure.axes[0].lines[:2]
    assert [list(line.get_xdata()) for line in lines] == [[2, 3], [2, 3]]
    mean = cells.loc[cells["score"] == "first", "auroc"].mean()
    np.testing.assert_allclose(lines[0].get_ydata(), [.5, mean], rtol=1e-6)
    import matplotlib.pyplot as plt

    plt.close("all")


def test_a_score_that_some_units_lack_is_compared_where_both_are():
    cells = paired(8)
    easy = cells.assign(model="easy", auroc=cells["auroc"] + .05)
    both = pd.concat([cells, easy[easy["score"] != "first"]])     # the others look better on average
    mean = summarize(both).set_index("score")["mean"]
    assert mean["second"] > mean["first"]
    assert Conclusions.of(both).frame["best"].iloc[0] == "first"
