"""Does the learned detector of wrong labels beat the mean of the same curves, on data that it did not learn from?

    git show 2ad02f8:ambiguity_nb/assets/detector.safetensors > old.safetensors
    python experiments/detector/compare.py --first old.safetensors --cifar10 CIFAR10.npz

writes comparison.parquet beside this file: one AUROC per training (data, kind, prop, data_seed), number of epochs that
were read, and score. `first` are the weights of the first release, which learned from the digits of mnist-5k. Needs
the files of MNIST (AMBIGUITY_NB_DATA names their folder) and 15,000 images of CIFAR-10 (arrays x [N, 3, 32, 32] uint8
and y [N], from one or more .npz files). Each data seed has images of its own for MNIST and CIFAR-10, 2,000 and 3,000
that no two draws share; the table and mnist-5k (2,000 of the images that `first` learned from) have the same rows each
time, and other wrong labels and weights.
75 trainings, about six minutes on one core; what the table holds already is not done again.
"""
import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from ambiguity_nb.data import Samples, from_arrays
from ambiguity_nb.hardness_types import inject
from ambiguity_nb.score_gallery import load_detector
from ambiguity_nb.scores import SCORES, characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training

N_SEEDS = 5
NOISE = [(kind, prop) for kind in ("uniform", "adjacent", "instance") for prop in (.1, .4)]


def cifar10(paths: list[str]) -> Samples:
    "The images of one or more files."
    loaded = [np.load(path) for path in paths]
    x, y = (np.concatenate([arrays[key] for arrays in loaded]) for key in ("x", "y"))
    return from_arrays(x, y.astype(np.int64), name="cifar10")


def draws(samples: Samples, n: int) -> list[Samples]:
    "As many parts as there are data seeds; no two share an image."
    order = np.random.default_rng(11).permutation(len(samples))
    return [samples.subset(np.sort(order[seed * n:][:n])) for seed in range(N_SEEDS)]


def read(path: str | None, curves: np.ndarray) -> np.ndarray:
    "What a detector says of curves [T, N]."
    network, _ = load_detector(path)
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(np.ascontiguousarray(curves.T))).softmax(1)[:, 1].numpy()


def compare(samples: Samples, model: str, kind: str, prop: float, n_epochs: int, lr: float, seed: int, first: str):
    "Rows (epochs read, score, AUROC) of one training."
    noisy = inject(samples, kind, prop, seed=seed)
    scores = [*map(SCORES.resolve, ("detector", "loss", "data_maps", "aum")), SCORES["random"](seed=seed)]
    found = characterize(model, noisy.samples, scores, Training(n_epochs=n_epochs, lr=lr), keep=["curves"], seed=seed)
    hardness = {(n_epochs, name): found.hardness(name) for name in found.names}
    hardness[n_epochs, "first"] = read(first, found.curves)
    for t in (3, 5):
        hardness |= {(t, "detector"): read(None, found.curves[:t]), (t, "data_maps"): -found.curves[:t].mean(0),
                     (t, "first"): read(first, found.curves[:t])}
    return [{"epochs": t, "score": score, "auroc": roc_auc_score(noisy.flags, values)}
            for (t, score), values in hardness.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", required=True, help="weights of the first release")
    parser.add_argument("--cifar10", required=True, nargs="+", help=".npz files with CIFAR-10 images")
    options = parser.parse_args()
    digits, table = load_samples("mnist-5k").subset(slice(0, 4000, 2)), load_samples("breast-cancer", "all")
    pick = {"breast-cancer": [n for n in NOISE if n[0] != "adjacent"],  # of two classes: that is uniform
            "mnist": NOISE, "cifar10": [("uniform", .1), ("uniform", .4), ("instance", .1)],
            "mnist-5k": [("uniform", .1), ("adjacent", .4)]}
    plan = {"breast-cancer": ([table] * N_SEEDS, "tabular_mlp", 10, 3e-3),
            "mnist": (draws(load_samples("mnist"), 2000), "lenet", 10, 1e-3),
            "cifar10": (draws(cifar10(options.cifar10), 3000), "lenet", 15, 1e-3),
            "mnist-5k": ([digits] * N_SEEDS, "lenet", 10, 1e-3)}
    path = Path(__file__).with_name("comparison.parquet")
    rows = pd.read_parquet(path).to_dict("records") if path.exists() else []
    done = {(row["data"], row["data_seed"]) for row in rows}
    for seed, (data, (parts, model, n_epochs, lr)) in itertools.product(range(N_SEEDS), plan.items()):
        if (data, seed) in done: continue
        for kind, prop in pick[data]:
            cell = {"data": data, "model": model, "kind": kind, "prop": prop, "data_seed": seed}
            # other seeds than those of the curves that either detector learned from
            found = compare(parts[seed], model, kind, prop, n_epochs, lr, 100 + seed, options.first)
            rows += [cell | row for row in found]
        print(data, seed, flush=True)
        pd.DataFrame(rows).round(5).to_parquet(path, index=False)


if __name__ == "__main__":
    main()
