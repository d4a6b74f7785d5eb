"""Planted wrong labels: what the audit's list finds, beside cleanlab's Datalab with the same network.

    python experiments/audit/measure.py [--data FOLDER] [--trainings FOLDER] [--cases NAME ...] [--seeds 0 1 2]

Each case plants wrong labels in a data set and asks both. The audit trains two networks for `epochs` epochs. Datalab
gets out-of-sample probabilities of five folds of the same network, after as many epochs as cost no more training than
the audit ("equal"); with `--full`, also after all of them ("full"). Trainings are saved (logits of every epoch, the
last embeddings, Datalab's probabilities) and replayed from there, so that another rule costs no training. A row per
case, seed and method is written to results/measure.csv. Cases whose name begins with "choose" were used to choose the
audit's ranking and are no evidence for it. FOLDER of the data holds cifar10/train-12k.npz with arrays x, y and
classes; cases of it are left out without. Needs the package `datasets` beside cleanlab.
"""
import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cleanlab import Datalab
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score, roc_auc_score

from ambiguity_nb.core import atomic_path
from ambiguity_nb.data import from_arrays
from ambiguity_nb.hardness_types import inject
from ambiguity_nb.models import build_model
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Hook, Training, fit
from ambiguity_nb.verdicts import Probes, VerdictOptions

HERE = Path(__file__).parent
PAIRS = {"airplane": "bird", "automobile": "truck", "bird": "airplane", "cat": "dog", "deer": "horse", "dog": "cat",
         "frog": "bird", "horse": "deer", "ship": "airplane", "truck": "automobile"}  # most like each class
CASES = {  # data, network, epochs, kind of error, share
    "cifar-20": ("cifar", "resnet_small", 15, "instance", .2),
    "cifar-5": ("cifar", "resnet_small", 15, "instance", .05),
    "cifar-pairs-20": ("cifar", "resnet_small", 15, "pairs", .2),
    "cifar-pairs-5": ("cifar", "resnet_small", 15, "pairs", .05),
    "mnist-5k-20": ("mnist-5k", "lenet", 10, "instance", .2),
    "mnist-5k-5": ("mnist-5k", "lenet", 10, "instance", .05),
    "table-20": ("table", "tabular_mlp", 20, "uniform", .2),
    "table-5": ("table", "tabular_mlp", 20, "uniform", .05),
    "cifar-12k-20": ("cifar-12k", "resnet_small", 15, "instance", .2),
    "choose-cifar-20": ("cifar-other", "resnet_small", 15, "instance", .2),
    "choose-cifar-pairs-20": ("cifar-other", "resnet_small", 15, "pairs", .2),
    "choose-table-20": ("table-other", "tabular_mlp", 20, "uniform", .2),
    "choose-table-5": ("table-other", "tabular_mlp", 20, "uniform", .05),
    "choose-mnist-5k-20": ("mnist-5k", "lenet", 10, "adjacent", .2),
}
COLUMNS = ["case", "seed", "n", "planted", "method", "training_epochs", "seconds", "average_precision", "auroc", "listed",
           "precision", "recall", "suggested_right", "suggested_right_all", "rare_listed", "wrong_estimate", "wrong_low",
           "wrong_high"]


def load(name, folder):
    if name == "mnist-5k": return load_samples("mnist-5k", "all")
    if name.startswith("table"):  # five classes, 55 % to 3 % of the rows
        x, y = make_classification(5000, 20, n_informative=10, n_classes=5, n_clusters_per_class=2, class_sep=2.,
                                   weights=[.55, .25, .12, .05], flip_y=0, random_state=int(name == "table-other"))
        return from_arrays(x.astype(np.float32), y, name="unbalanced table")
    with np.load(folder / "cifar10" / "train-12k.npz") as arrays:
        rows = {"cifar": slice(5000), "cifar-other": slice(5000, 10000), "cifar-12k": slice(12000)}[name]
        return from_arrays(arrays["x"][rows], arrays["y"][rows], arrays["classes"].tolist(), name)


def plant(clean, kind, share, seed):
    if kind != "pairs": return inject(clean, kind, share, seed=100 + seed)
    to = np.array([clean.classes.index(PAIRS[name]) for name in clean.classes])
    return inject(clean, "instance", share, seed=100 + seed, confusion=to)


class Kept(Hook):
    "Logits of every epoch's training steps and evaluation, and the last embeddings."

    def before_fit(self, model, samples, n_epochs):
        self.steps, self.logits = (np.zeros((n_epochs, len(samples), samples.n_classes), np.float32) for _ in range(2))
        self.epoch, self.last = 0, None

    def train_batch(self, index, logits, y): self.steps[self.epoch, index] = logits.detach().numpy()

    def eval_batch(self, index, logits, y, embeddings):
        if self.last is None: self.last = np.zeros((self.steps.shape[1], embeddings.shape[1]), np.float32)
        self.logits[self.epoch, index], self.last[index] = logits.numpy(), embeddings.numpy()

    def after_epoch(self, epoch, model, samples, metrics): self.epoch += 1


def watch_again(planted, steps, logits, embeddings):
    "Feed a run what its training gave."
    scores, y, rows = planted.scores, torch.from_numpy(planted.samples.y), torch.arange(len(planted.samples))
    scores.start(len(rows), planted.samples.n_classes, len(logits), planted.samples.ids)
    for step, stage in zip(steps, logits, strict=True):
        scores.train_batch(rows, torch.from_numpy(step), y)
        scores.eval_batch(rows, torch.from_numpy(stage), y, torch.from_numpy(embeddings))


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


def train(case, seed, folder, full):
    "What both need: two trainings of the audit, and probabilities for Datalab."
    name, network, n_epochs, kind, share = CASES[case]
    clean, training = load(name, folder), Training(n_epochs=n_epochs)
    made = plant(clean, kind, share, seed)
    probes, saved = Probes(made.samples, seed=seed), {"true": clean.y, "flags": made.flags}
    for i, planted in enumerate(probes.runs):
        start, kept = time.process_time(), Kept()
        fit(build_model(network, planted.samples, seed=seed + i), planted.samples, training, seed=seed + i, hooks=[kept])
        saved |= {f"steps_{i}": kept.steps, f"logits_{i}": kept.logits, f"embeddings_{i}": kept.last,
                  f"seconds_{i}": time.process_time() - start}
    equal = max(1, int(2 * n_epochs / 4))                              # five folds of four fifths: four epochs an epoch
    epochs = (equal, n_epochs) if full else (equal,)
    probs, seconds = out_of_sample(network, made.samples, replace(training, n_epochs=epochs[-1]), epochs, seed)
    for e in epochs: saved |= {f"probs_{e}": probs[e], f"seconds_probs_{e}": seconds * e / epochs[-1]}
    return made.samples, saved


def trained(case, seed, words):
    "The samples and what was saved of them, trained now if need be."
    path = words.trainings / f"{case}-{seed}.npz"
    if not path.exists():
        samples, saved = train(case, seed, words.data, words.full)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part, open(part, "wb") as file: np.savez(file, y=samples.y, **saved)
    with np.load(path) as saved: saved = dict(saved)
    return load(CASES[case][0], words.data).replace(y=saved["y"]), saved


def run(case, seed, words):
    from ambiguity_nb.jobs.audit import _from_verdicts

    n_epochs = CASES[case][2]
    samples, saved = trained(case, seed, words)
    flags, true = saved["flags"], saved["true"]
    about = {"case": case, "seed": seed, "n": len(samples), "planted": int(flags.sum())}
    start, probes = time.process_time(), Probes(samples, VerdictOptions(training=Training(n_epochs=n_epochs)), seed=seed)
    for i, planted in enumerate(probes.runs):
        watch_again(planted, *(saved[f"{part}_{i}"] for part in ("steps", "logits", "embeddings")))
    probs = np.mean([torch.from_numpy(saved[f"logits_{i}"]).softmax(2).numpy().mean(0) for i in range(2)], 0)
    found = _from_verdicts(probes.judge(), probs)
    seconds = time.process_time() - start + float(saved["seconds_0"] + saved["seconds_1"])
    suggested = found.frame["suggested"].map({c: k for k, c in enumerate(samples.classes)}).to_numpy()
    rows = [about | {"method": "audit", "training_epochs": 2 * n_epochs, "seconds": seconds}
            | measured(flags, true, found.suspicion, found.doubted, suggested, samples)
            | ({} if found.total is None else {f"wrong_{key}": value for key, value in found.total.items()})]
    for epochs in sorted(int(key.split("_")[1]) for key in saved if key.startswith("probs_")):
        lab = Datalab({"label": samples.y}, label_name="label", verbosity=0)
        lab.find_issues(pred_probs=saved[f"probs_{epochs}"], issue_types={"label": {}})
        issues, what = lab.get_issues("label"), "full" if epochs == n_epochs else "equal"
        rows.append(about | {"method": f"datalab, {what}", "training_epochs": 4 * epochs,
                             "seconds": float(saved[f"seconds_probs_{epochs}"])}
                    | measured(flags, true, -issues["label_score"].to_numpy(), issues["is_label_issue"].to_numpy(),
                               issues["predicted_label"].to_numpy(), samples))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--trainings", type=Path, default=HERE / "data")
    parser.add_argument("--cases", nargs="*", default=[name for name in CASES if not name.startswith("choose")])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--full", action="store_true", help="also let Datalab train for all epochs")
    parser.add_argument("--only-train", action="store_true", help="save trainings, and ask nobody yet")
    words = parser.parse_args()
    path = HERE / "results" / "measure.csv"
    for seed in words.seeds:
        for case in words.cases:
            if CASES[case][0].startswith("cifar") and not (words.data / "cifar10").is_dir(): continue
            if words.only_train:
                trained(case, seed, words)
                print(case, seed, flush=True)
                continue
            table = pd.DataFrame(run(case, seed, words)).reindex(columns=COLUMNS).round(4)
            print(table.to_string(), flush=True)
            done = pd.read_csv(path) if path.exists() else table.iloc[:0]
            done = done[(done["case"] != case) | (done["seed"] != seed)]
            pd.concat([done, table], ignore_index=True).to_csv(path, index=False)


if __name__ == "__main__":
    main()
