"""The comparison with other tools: stored rows are found again, and the tools that are installed still agree."""
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ambiguity_nb.replay import replay
from ambiguity_nb.scores import SCORES

folder = Path(__file__).resolve().parents[1] / "experiments" / "comparison"
sys.path.insert(0, str(folder))
import common  # noqa: E402

tools = ["datagnosis", "hcat", "cleanlab", "aum", "dataiq"]
first = common.Case("breast-cancer", "uniform", .1, None, 0)


def stored(tool: str) -> pd.DataFrame:
    "The table of a tool."
    return pd.read_parquet(folder / "results" / f"{tool}.parquet")


def of_first(table: pd.DataFrame) -> pd.DataFrame:
    "Its rows of the first case."
    same = [(table[c] == getattr(first, c)) for c in ("data", "kind", "prop", "seed")]
    return table[np.logical_and.reduce([*same, table["dropout"].isna()])]


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    "Three epochs of logits for the samples of the first case, made up."
    return np.random.default_rng(0).normal(size=(3, len(first.samples), 2)).astype(np.float32)


@pytest.mark.parametrize("tool", tools)
def test_tables_hold_several_draws_and_their_versions(tool):
    table = stored(tool)
    draws = table.groupby(["data", "kind", "prop"])["seed"].nunique()
    assert (draws["breast-cancer"] == 5).all() and (draws >= 3).all()
    assert {"version_ambiguity_nb", "version_torch", "version_python"} <= set(table.columns)
    made = table.dropna(subset="theirs")
    assert made["theirs"].between(0, 1).all() and len(made)


def test_our_stored_numbers_are_found_again():
    rows = of_first(stored("datagnosis")).dropna(subset="ours_alone").set_index("score")
    found = common.ours_alone(first)
    ours = pd.Series({score: common.auroc(found.hardness(score), first.flags) for score in rows.index})
    np.testing.assert_allclose(ours, rows["ours_alone"], atol=2e-3)
    assert rows["n_flagged"].iloc[0] == first.flags.sum()


def test_a_record_puts_logits_and_weights_where_they_belong():
    # a loop that knows nothing of the record, and whose loader says which samples it gives
    samples = first.samples
    network = common.Dressed(first.network(), samples.is_image)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    record = common.Record(network.network, optimizer, len(samples))
    data = torch.utils.data.TensorDataset(first.inputs(), torch.from_numpy(samples.y), torch.arange(len(samples)))
    loader = torch.utils.data.DataLoader(data, common.training.batch_size,
                                         sampler=common.logged_order(data, record, network))
    seen = np.full((common.training.n_epochs, len(samples), 2), np.nan, np.float32)
    for epoch in range(common.training.n_epochs):
        network.train()
        for x, y, index in loader:
            optimizer.zero_grad()
            out = network(x)
            seen[epoch, index] = out.detach().numpy()
            torch.nn.functional.cross_entropy(out, y).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad(): passed = torch.cat([network(x) for x, _, _ in loader]).numpy()
    np.testing.assert_array_equal(record.train_logits(), seen)
    last = record.snapshots()[-1]
    np.testing.assert_allclose(last(first.inputs()).detach().numpy()[record.scoring_orders[-1]], passed, atol=1e-6)
    assert len(record.scoring_orders) == len(record.weights) == common.training.n_epochs


def test_cleanlab_agrees_exactly(logits):
    rank = pytest.importorskip("cleanlab.rank", reason="cleanlab is not installed")
    from cleanlab.filter import find_label_issues

    probs, y = torch.from_numpy(logits).double().softmax(-1).numpy(), first.samples.y
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        ours = replay(probs, first.samples, [SCORES["cleanlab"](method=method)], probs=True)
        theirs = rank.get_label_quality_scores(y, probs[-1], method=method)
        np.testing.assert_allclose(ours.values("cleanlab"), theirs, atol=1e-6)
    issues = find_label_issues(y, probs[-1], n_jobs=1)
    np.testing.assert_array_equal(ours["cleanlab"].columns["issue"], issues)


def test_aum_agrees(logits):
    aum = pytest.importorskip("aum", reason="the package aum is not installed: pip install aum")
    calculator, y = aum.AUMCalculator("."), torch.from_numpy(first.samples.y)
    for epoch in torch.from_numpy(logits): calculator.update(epoch, y, list(range(len(y))))
    theirs = [calculator.sums[i] / calculator.counts[i] for i in range(len(y))]
    np.testing.assert_allclose(replay(logits, first.samples, ["aum"]).values("aum"), theirs, atol=1e-6)


def test_data_iq_agrees(logits):
    package = pytest.importorskip("data_iq", reason="the package data-iq is not installed: pip install data-iq")
    probs = torch.from_numpy(logits).softmax(-1)
    epochs = iter(probs.numpy())
    classifier = type("Stages", (), {"predict_proba": lambda self, x, iteration_range: next(epochs)})()
    watch = package.DataIQ_SKLearn(X=first.samples.x, y=first.samples.y)
    for epoch in range(len(logits)): watch.on_epoch_end(clf=classifier, iteration=epoch + 1)
    ours = replay(logits, first.samples, ["data_iq", "data_maps"])
    np.testing.assert_allclose(ours.values("data_iq"), watch.confidence, atol=1e-6)
    np.testing.assert_allclose(ours.ambiguity("data_iq"), watch.aleatoric, atol=1e-6)
    np.testing.assert_allclose(ours.ambiguity("data_maps"), watch.variability, atol=1e-6)


def test_datagnosis_agrees_once_its_numbers_are_back_in_place():
    pytest.importorskip("datagnosis", reason="datagnosis is not installed: pip install datagnosis==0.0.3")
    import datagnosis_run

    alone = common.ours_alone(first, ["data_iq"])
    with tempfile.TemporaryDirectory() as place: row = datagnosis_run.compare("data_iq", first, alone, Path(place))
    assert row["difference"] < 1e-6 and row["repaired"] > .9 > row["theirs"]
