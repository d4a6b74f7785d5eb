"""Planted wrong labels: what the audit's list finds, beside cleanlab's Datalab with the same network.

    python experiments/audit/measure.py [--data FOLDER] [--cases NAME ...] [--seeds 0 1 2]

Each case plants wrong labels in a data set and asks both. The audit trains two networks for `epochs` epochs. Datalab
gets out-of-sample probabilities of five folds of the same network: after as many epochs as cost no more training than
the audit ("equal"), and after all of them ("full"). A row per case, seed and method is added to results/measure.csv.
FOLDER holds cifar10/train-12k.npz with arrays x, y and classes; cases of it are left out without. Needs the package
`datasets` beside cleanlab.
"""
import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cleanlab import Datalab
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score, roc_auc_score

from ambiguity_nb.data import from_arrays
from ambiguity_nb.hardness_types import inject
from ambiguity_nb.jobs.audit import AuditOptions, audit
from ambiguity_nb.models import build_model
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Hook, Training, fit

HERE = Path(__file__).parent
CASES = {  # data, network, epochs, kind of error, share
    "cifar-20": ("cifar", "resnet_small", 15, "instance", .2),
    "cifar-5": ("cifar", "resnet_small", 15, "instance", .05),
    "mnist-5k-20": ("mnist-5k", "lenet", 10, "instance", .2),
    "mnist-5k-5": ("mnist-5k", "lenet", 10, "instance", .05),
    "table-20": ("table", "tabular_mlp", 20, "uniform", .2),
    "table-5": ("table", "tabular_mlp", 20, "uniform", .05),
    "cifar-12k-20": ("cifar-12k", "resnet_small", 15, "instance", .2),
}
COLUMNS = ["case", "seed", "n", "planted", "method", "training_epochs", "seconds", "average_precision", "auroc", "listed",
           "precision", "recall", "suggested_right", "suggested_right_all", "rare_listed", "wrong_estimate", "wrong_low",
           "wrong_high"]


def load(name, folder):
    if name == "mnist-5k": return load_samples("mnist-5k", "all")
    if name == "table":  # five classes, 55 % to 3 % of the rows
        x, y = make_classification(5000, 20, n_informative=10, n_classes=5, n_clusters_per_class=2, class_sep=2.,
                                   weights=[.55, .25, .12, .05], flip_y=0, random_state=0)
        return from_arrays(x.astype(np.float32), y, name="unbalanced table")
    with np.load(folder / "cifar10" / "train-12k.npz") as arrays:
        n = 12000 if name == "cifar-12k" else 5000
        return from_arrays(arrays["x"][:n], arrays["y"][:n], arrays["classes"].tolist(), name)


class Outside(Hook):
    "Probabilities for a fold after some epochs."

    def __init__(self, out, epochs): self.out, self.epochs, self.probs = out, epochs, {}

    def after_epoch(self, epoch, model, samples, metrics):
        from ambiguity_nb.models import predict_logits

        if epoch in self.epochs: self.probs[epoch] = torch.from_numpy(predict_logits(model, self.out)).softmax(1).numpy()


def out_of_sample(network, samples, training, epochs, seed, folds=5):
    "Probabilities [N, K] by five folds, after each of some numbers of epochs, and CPU seconds for all epochs."
    fold, rng = np.empty(len(samples), int), np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(samples.y == k)) for k in range(samples.n_classes)])
    fold[order] = np.arange(len(samples)) % folds
    probs = {e: np.empty((len(samples), samples.n_classes)) for e in epochs}
    start = time.process_time()
    for k in range(folds):
        part, watch = samples.subset(fold != k), Outside(samples.subset(fold == k), epochs)
        fit(build_model(network, part, seed=seed + k), part, training, seed=seed + k, hooks=[watch])
        for e in epochs: probs[e][fold == k] = watch.probs[e]
    return probs, time.process_time() - start


def measured(flags, true, suspicion, listed, suggested, samples):
    "Numbers of a ranking, a list and its suggestions."
    hits, rare = listed & flags, true == np.bincount(true).argmin()
    return {"average_precision": average_precision_score(flags, suspicion), "auroc": roc_auc_score(flags, suspicion),
            "listed": int(listed.sum()), "precision": hits.sum() / max(listed.sum(), 1),
            "recall": hits.sum() / flags.sum(), "suggested_right": (suggested == true)[hits].mean() if hits.any() else np.nan,
            "suggested_right_all": (suggested == true)[flags].mean(),
            "rare_listed": (listed & rare & ~flags).sum() / max((rare & ~flags).sum(), 1)}


def run(case, seed, folder):
    name, network, n_epochs, kind, share = CASES[case]
    clean = load(name, folder)
    made = inject(clean, kind, share, seed=100 + seed)
    samples, flags, training = made.samples, made.flags, Training(n_epochs=n_epochs)
    about = {"case": case, "seed": seed, "n": len(samples), "planted": int(flags.sum())}
    start = time.process_time()
    found = audit(samples, network, AuditOptions(duplicates=False, boundary=False), training, seed=seed)
    seconds, frame, total = time.process_time() - start, found.judged.frame, found.judged.total
    suggested = frame["suggested"].map({c: k for k, c in enumerate(samples.classes)}).to_numpy()
    rows = [about | {"method": "audit", "training_epochs": 2 * n_epochs, "seconds": seconds}
            | measured(flags, clean.y, found.judged.suspicion, found.judged.doubted, suggested, samples)
            | ({} if total is None else {f"wrong_{key}": value for key, value in total.items()})]
    equal = max(1, int(2 * n_epochs / 4))                              # five folds of four fifths: four epochs an epoch
    probs, seconds = out_of_sample(network, samples, training, (equal, n_epochs), seed)
    for epochs, what in ((equal, "equal"), (n_epochs, "full")):
        lab = Datalab({"label": samples.y}, label_name="label", verbosity=0)
        lab.find_issues(pred_probs=probs[epochs], issue_types={"label": {}})
        issues = lab.get_issues("label")
        rows.append(about | {"method": f"datalab, {what}", "training_epochs": 4 * epochs,
                             "seconds": seconds * epochs / n_epochs}
                    | measured(flags, clean.y, -issues["label_score"].to_numpy(), issues["is_label_issue"].to_numpy(),
                               issues["predicted_label"].to_numpy(), samples))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    words = parser.parse_args()
    path = HERE / "results" / "measure.csv"
    for seed in words.seeds:
        for case in words.cases:
            done = pd.read_csv(path) if path.exists() else pd.DataFrame({"case": [], "seed": []})
            if ((done["case"] == case) & (done["seed"] == seed)).any(): continue
            if CASES[case][0].startswith("cifar") and not (words.data / "cifar10").is_dir(): continue
            table = pd.DataFrame(run(case, seed, words.data)).reindex(columns=COLUMNS).round(4)
            print(table.to_string(), flush=True)
            table.to_csv(path, mode="a", index=False, header=not path.exists())


if __name__ == "__main__":
    main()
