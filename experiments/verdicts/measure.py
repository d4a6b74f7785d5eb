"""What verdicts find among wrong labels, rare classes and alterations that were put into a data set.

    AMBIGUITY_NB_DATA=... python experiments/verdicts/measure.py

writes results/runs.parquet, a row per data set, condition and seed; results/self_tests.parquet, a row per kind of
each; and results/reliability.parquet. What is there already is not computed again; delete what an older rule gave.
MNIST and Fashion-MNIST: 10,000 rows, LeNet; CIFAR-10: 6,000 rows, a small residual network; diamonds (a table of
numbers and categories that comes with the package `plotnine`, which must be installed for it) and Gaussian classes
with a category: 10,000 and 6,000 rows, a small network of dense layers. Five epochs each.

`--cost` measures only what 6,000 and 20,000 rows of Fashion-MNIST and ten epochs cost: results/cost.parquet.
"""
import argparse
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score

from ambiguity_nb.data import Samples
from ambiguity_nb.hardness_types import inject, inject_mixture
from ambiguity_nb.sources import _folder, from_dataframe, load_samples
from ambiguity_nb.training import Training
from ambiguity_nb.verdicts import VerdictOptions, judge_samples

results = Path(__file__).parent / "results"
EPOCHS = 5
ROWS = {"mnist": 10_000, "fashion-mnist": 10_000, "cifar10": 6_000, "diamonds": 10_000, "gaussians": 6_000}
MODELS = {"mnist": "lenet", "fashion-mnist": "lenet", "cifar10": "resnet_small"}  # of the tables: tabular_mlp


def gaussians(n: int, seed: int) -> Samples:
    "Four classes in eight columns, and a category that goes with the class in half of the rows."
    rng = np.random.default_rng(seed)
    y, means = rng.integers(4, size=n), np.random.default_rng(1).standard_normal((4, 8)) * 2
    frame = pd.DataFrame(rng.standard_normal((n, 8)) + means[y], columns=[f"x{i}" for i in range(8)])
    frame["color"] = np.where(rng.random(n) < .5, y, rng.integers(4, size=n)).astype(str)
    return from_dataframe(frame.assign(label=[f"class {k}" for k in y]), "label", name="gaussians")


def data(name: str, seed: int) -> Samples:
    "So many rows of a data set, drawn by the seed."
    if name == "gaussians": return gaussians(ROWS[name], seed)
    if name == "diamonds":
        folder = Path(find_spec("plotnine").origin).parent / "data"
        frame = pd.read_csv(folder / "diamonds.csv").sample(ROWS[name], random_state=seed).reset_index(drop=True)
        return from_dataframe(frame.astype(dict.fromkeys(("cut", "color", "clarity"), str)), "cut", name=name)
    if name == "cifar10":
        with np.load(_folder(None) / "cifar10" / "train-12k.npz") as file:
            samples = Samples(file["x"], file["y"].astype(np.int64), tuple(map(str, file["classes"])), name)
    else: samples = load_samples(name)
    return samples.subset(np.sort(np.random.default_rng(seed).permutation(len(samples))[:ROWS[name]]))


def imbalanced(samples: Samples, seed: int) -> Samples:
    "A twentieth of the last class."
    rare = np.random.default_rng(seed).permutation(np.flatnonzero(samples.y == samples.n_classes - 1))
    out = rare[len(rare) // 20:]
    return samples.subset(np.setdiff1d(np.arange(len(samples)), out))


def held_out(samples: Samples, seed: int):
    "What no generator of the probes does, in 2 % of the rows each: images of another data set, cartoons, neighbors' labels."
    if samples.is_image:
        foreign = load_samples("mnist" if samples.name == "fashion-mnist" else "fashion-mnist", "test")
        types, given = ("domain_shift", "far_ood", "adjacent"), {"far_ood": {"source": foreign.x}}
        if samples.shape != foreign.shape: types, given = ("domain_shift", "adjacent"), {}
        made = inject_mixture(samples, dict.fromkeys(types, .02), given=given, seed=100 + seed)
        return made.samples, made.kinds.astype(str), made.true_y
    made = inject(samples, "adjacent", .02, seed=100 + seed)
    rng, done, x = np.random.default_rng(seed), made.kinds.astype(object), np.array(made.samples.x)
    rows = rng.permutation(np.flatnonzero(~made.flags))[:len(samples) // 50]
    numbers = [i for i, name in enumerate(samples.features) if "=" not in name]
    z = (x - samples.shift) / samples.scale                          # each column's values in another column
    x[np.ix_(rows, numbers)] = (np.roll(z, 1, 1) * samples.scale + samples.shift)[np.ix_(rows, numbers)]
    done[rows] = "columns exchanged"
    return made.samples.replace(x=x), done.astype(str), made.true_y


def condition(samples: Samples, name: str, kind: str | None, share: float, seed: int):
    "Samples with something wrong in them, what was done to each row (\"\" for nothing), and the true labels."
    if name == "imbalance": samples = imbalanced(samples, seed)
    if name == "held-out": return held_out(samples, seed)
    if not kind: return samples, np.full(len(samples), ""), samples.y
    made = inject(samples, kind, share, seed=100 + seed)
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


def row_of(verdicts, keys: Mapping, done, true_y) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    "One row, its self-test and its reliability."
    training = (verdicts.cost["training 1"] + verdicts.cost["training 2"]) / 2
    cost = {f"cost, {k}": v for k, v in verdicts.cost.items()} | {"trainings in all": verdicts.cost.sum() / training}
    row = {**keys} | found(verdicts, done, true_y) | cost | {"calibration error": verdicts.calibration_error}
    tables = verdicts.self_test, verdicts.reliability
    return row, *(table.reset_index().assign(**keys) for table in tables)


def run(name: str, what: str, kind: str | None, share: float, seed: int) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    "Make it, judge it, and compare."
    samples, done, true_y = condition(data(name, seed), what, kind, share, seed)
    options = VerdictOptions(Training(n_epochs=EPOCHS))
    verdicts = judge_samples(MODELS.get(name, "tabular_mlp"), samples, options, seed=seed, device="cpu")
    return row_of(verdicts, {"data": name, "condition": what, "share": share, "seed": seed}, done, true_y)


def settings():
    "What to run, the most telling first: data, condition, hardness type, share, seed."
    images, tables = ("mnist", "fashion-mnist"), ("gaussians", "diamonds")
    labels = [("uniform", .2), ("uniform", .05), ("instance", .2), ("uniform", .4), ("instance", .05), ("instance", .4)]
    others = [("clean", None, 0.), ("imbalance", "uniform", .05), ("held-out", None, 0.)]
    for seed in range(3):
        yield from ((name, *other, seed) for other, name in product(others, images))
        yield from ((name, kind, kind, share, seed) for (kind, share), name in product(labels[:2 if seed else 6], images))
        if seed: continue
        yield from ((name, *other, 0) for name, other in product(tables, (others[0], others[2])))
        yield from ((name, "uniform", "uniform", .2, 0) for name in tables)
        yield from (("cifar10", kind, kind, share, 0) for kind, share in labels)
        yield from (("cifar10", *other, 0) for other in others)


def costs() -> pd.DataFrame:
    "CPU seconds of two sizes, ten epochs."
    rows, samples = [], load_samples("fashion-mnist")
    for n in (6_000, 20_000):
        options = VerdictOptions(Training(n_epochs=10))
        cost = judge_samples("lenet", samples.subset(slice(0, n)), options, device="cpu").cost
        training = (cost["training 1"] + cost["training 2"]) / 2
        rows.append({"rows": n, **cost, "features, in trainings": cost["features"] / training,
                     "in all, in trainings": cost.sum() / training})
    return pd.DataFrame(rows)


def main() -> None:
    "Run what is not there; the tables are written anew after each."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cost", action="store_true", help="only what it costs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.cost: return costs().to_parquet(results / "cost.parquet", index=False)
    paths = [results / f"{name}.parquet" for name in ("runs", "self_tests", "reliability")]
    tables = [pd.read_parquet(path) if path.exists() else pd.DataFrame() for path in paths]
    done = set() if tables[0].empty else set(map(tuple, tables[0][["data", "condition", "share", "seed"]].to_numpy()))
    for name, what, kind, share, seed in settings():
        if (name, what, share, seed) in done: continue
        row, test, reliability = run(name, what, kind, share, seed)
        new = pd.DataFrame([row]), test, reliability
        tables = [pd.concat(pair) for pair in zip(tables, new, strict=True)]
        for table, path in zip(tables, paths, strict=True): table.to_parquet(path, index=False)
        print(name, what, share, seed, f"false alarms {row['false alarms']:.4f}", flush=True)


if __name__ == "__main__": main()
