"""What verdicts find among wrong labels, rare classes and alterations that were put into a data set.

    AMBIGUITY_NB_DATA=... python experiments/verdicts/measure.py --seeds 3

writes results/runs.parquet, a row per data set, condition and seed; results/self_tests.parquet, a row per kind of
each; and results/reliability.parquet. What is there already is not computed again. MNIST and Fashion-MNIST: 6,000
rows, LeNet, 5 epochs. CIFAR-10: 6,000 rows, a small residual network, 5 epochs; one seed.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score

from ambiguity_nb.data import Samples
from ambiguity_nb.hardness_types import inject, inject_mixture
from ambiguity_nb.sources import _folder, load_samples
from ambiguity_nb.training import Training
from ambiguity_nb.verdicts import VerdictOptions, judge_samples

results = Path(__file__).parent / "results"
EPOCHS, ROWS = 5, 6_000
NOISE = [("clean", None, 0.), ("uniform", "uniform", .2), ("instance", "instance", .2), ("uniform", "uniform", .05),
         ("imbalance", "uniform", .05), ("held-out", None, 0.), ("uniform", "uniform", .4),
         ("instance", "instance", .05), ("instance", "instance", .4)]


def data(name: str, seed: int) -> Samples:
    "So many rows of a data set, drawn by the seed."
    if name == "cifar10":
        with np.load(_folder(None) / "cifar10" / "train-12k.npz") as file:
            samples = Samples(file["x"], file["y"].astype(np.int64), tuple(map(str, file["classes"])), name)
    else: samples = load_samples(name)
    return samples.subset(np.sort(np.random.default_rng(seed).permutation(len(samples))[:ROWS]))


def imbalanced(samples: Samples, seed: int) -> Samples:
    "A twentieth of the last class."
    rare = np.random.default_rng(seed).permutation(np.flatnonzero(samples.y == samples.n_classes - 1))
    out = rare[len(rare) // 20:]
    return samples.subset(np.setdiff1d(np.arange(len(samples)), out))


def condition(samples: Samples, name: str, kind: str | None, share: float, seed: int):
    "Samples with something wrong in them, what was done to each row (\"\" for nothing), and the true labels."
    if name == "imbalance": samples = imbalanced(samples, seed)
    if name == "held-out":
        foreign = load_samples("fashion-mnist" if samples.name == "mnist" else "mnist", "test").x
        made = inject_mixture(samples, {"domain_shift": .02, "far_ood": .02, "adjacent": .02},
                              given={"far_ood": {"source": foreign}}, seed=100 + seed)
    elif kind: made = inject(samples, kind, share, seed=100 + seed)
    else: return samples, np.full(len(samples), ""), samples.y
    return made.samples, made.kinds.astype(str), made.true_y


def found(verdicts, done, true_y) -> dict:
    "What a run found, beside what was done."
    kinds, clean, wrong = verdicts.frame["kind"].to_numpy(), done == "", verdicts.samples.y != true_y
    row = {f"false {kind}": (kinds[clean] == kind).mean()
           for kind in ("mislabeled", "unusual input", "ambiguous", "unsure")}
    row["false alarms"] = sum(row[f"false {kind}"] for kind in ("mislabeled", "unusual input", "ambiguous"))
    for what in np.unique(done[~clean]):
        for kind in ("mislabeled", "unusual input", "ambiguous", "unsure"):
            row[f"{what}: {kind}"] = (kinds[done == what] == kind).mean()
    if wrong.any(): row |= of_labels(verdicts, wrong, true_y)
    row["wrong"] = wrong.sum()
    if verdicts.wrong_labels is not None: row |= {f"wrong, {k}": v for k, v in verdicts.wrong_labels.items()}
    last = verdicts.samples.y == verdicts.samples.n_classes - 1
    row |= {"rows": len(wrong), "last class, right": (last & ~wrong).sum(),
            "last class, right, called mislabeled": (kinds[last & ~wrong] == "mislabeled").mean()}
    return row


def of_labels(verdicts, wrong, true_y) -> dict:
    "How wrong labels are ranked, chosen and mended."
    truth = pd.Series(wrong, verdicts.frame.index)
    learned = verdicts.probabilities[:, 1]
    row = {"AP, AUM": average_precision_score(wrong, verdicts.ranks["AUM"]),
           "AP, learned": average_precision_score(wrong, learned)}
    bins = (learned * 10).astype(int).clip(0, 9)
    table = pd.DataFrame({"said": learned, "found": wrong}).groupby(bins).agg(["mean", "size"])
    gap = abs(table["said", "mean"] - table["found", "mean"]) * table["said", "size"]
    row["calibration error, wrong labels"] = gap.sum() / len(wrong)
    for rate in (.05, .1, .2):
        chosen = truth[verdicts.suspects(rate).index]
        row |= {f"suspects at {rate}": len(chosen), f"right among suspects at {rate}": 1 - chosen.mean(),
                f"found at {rate}": chosen.sum() / wrong.sum()}
    suggested = verdicts.frame["suggested"].to_numpy() == np.array(verdicts.samples.classes)[true_y]
    return row | {"suggestion right": suggested[wrong].mean()}


def run(name: str, what: str, kind: str | None, share: float, seed: int) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    "One row, its self-test and its reliability."
    samples, done, true_y = condition(data(name, seed), what, kind, share, seed)
    options = VerdictOptions(Training(n_epochs=EPOCHS))
    model = "resnet_small" if name == "cifar10" else "lenet"
    verdicts = judge_samples(model, samples, options, seed=seed, device="cpu")
    keys = {"data": name, "condition": what, "share": share, "seed": seed}
    training = (verdicts.cost["training 1"] + verdicts.cost["training 2"]) / 2
    cost = {f"cost, {k}": v for k, v in verdicts.cost.items()} | {"trainings in all": verdicts.cost.sum() / training}
    row = keys | found(verdicts, done, true_y) | cost | {"calibration error": verdicts.calibration_error}
    test = verdicts.self_test.reset_index().assign(**keys)
    return row, test, verdicts.reliability.reset_index().assign(**keys)


def settings(seeds: int):
    "What to run, the most telling first."
    order = [("mnist", 0), ("fashion-mnist", 0), ("mnist", 1), ("fashion-mnist", 1), ("mnist", 5), ("mnist", 4),
             ("mnist", 2), ("cifar10", 1), ("fashion-mnist", 2), ("fashion-mnist", 5), ("mnist", 6), ("mnist", 3)]
    for name, i in order: yield (name, *NOISE[i], 0)
    for seed in range(seeds):
        for what in NOISE:
            for name in ("mnist", "fashion-mnist"): yield (name, *what, seed)


def main() -> None:
    "Run what is not there; the tables are written anew after each."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of rows, alterations and training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = [results / f"{name}.parquet" for name in ("runs", "self_tests", "reliability")]
    tables = [pd.read_parquet(path) if path.exists() else pd.DataFrame() for path in paths]
    done = set() if tables[0].empty else set(map(tuple, tables[0][["data", "condition", "share", "seed"]].to_numpy()))
    for name, what, kind, share, seed in settings(options.seeds):
        if (name, what, share, seed) in done: continue
        done.add((name, what, share, seed))
        row, test, reliability = run(name, what, kind, share, seed)
        new = pd.DataFrame([row]), test, reliability
        tables = [pd.concat(pair) for pair in zip(tables, new, strict=True)]
        for table, path in zip(tables, paths, strict=True): table.to_parquet(path, index=False)
        print(name, what, share, seed, f"false alarms {row['false alarms']:.4f}", flush=True)


if __name__ == "__main__": main()
