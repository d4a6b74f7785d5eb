"""What scores see of two types of hardness of notebook 01: `atypical` rows of tables and `borderline` labels.

    python experiments/known_hardness/injected.py atypical
    python experiments/known_hardness/injected.py borderline

write atypical.csv and borderline.csv: a row per data set, type, severity, columns moved, seed and score. What a file
holds already is not computed again; delete it to begin anew.
"""
import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from ambiguity_nb.data import Samples
from ambiguity_nb.hardness_types import HARDNESS_TYPES, _columns, _HardnessTypes, inject
from ambiguity_nb.scores import characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training

SCORES = ["aum", "loss", "el2n", "grand", "forgetting", "cleanlab", "prototypicality", "entropy", "input_norm",
          "random"]


def table(name) -> Samples:
    "All rows of a data set; the small digits as a table of 64 pixels."
    samples = load_samples(name, "all")
    if name != "digits": return samples
    return Samples(samples.x.reshape(len(samples), -1).astype(np.float32), samples.y, samples.classes, name)


def atypical():
    "Tables, shares of the tail, and one column, a third of them, or all; and each column moved away from its class."
    for name in ("breast-cancer", "wine", "digits"):
        samples, n_epochs = table(name), 15 if name == "digits" else 30
        counts = {"one": 1, "a third": samples.shape[0] // 3, "all": samples.shape[0]}
        kinds = [("atypical", level) for level in HARDNESS_TYPES["atypical"].severities] + [(against, .01)]
        for (kind, severity), (moved, n) in itertools.product(kinds, counts.items()):
            settings = {"dataset": name, "kind": HARDNESS_TYPES.name_of(kind), "severity": severity, "moved": moved}
            yield settings, samples, kind, {"features": n}, "tabular_mlp", n_epochs


@_HardnessTypes("example").register("against", images=False, severity=.01)
def against(samples, rows, rng, severity, features):
    "As `atypical`, but always to the tail on the other side of the mean than the row's own class."
    x, n = samples.x[rows].copy(), len(samples)
    for column in _columns(samples, features):
        values, rank = samples.x[:, column], rng.integers(max(1, round(severity * n)), size=len(rows))
        of_class = np.array([values[samples.y == k].mean() for k in range(samples.n_classes)])
        up = (of_class < values.mean())[samples.y[rows]]
        x[:, column] = np.sort(values)[np.where(up, n - 1 - rank, rank)]
    return x


def borderline():
    "Wrong labels of three kinds, on digits and on a table."
    for name, model, n_epochs in (("mnist-5k", "lenet", 10), ("breast-cancer", "tabular_mlp", 30)):
        levels = [("borderline", level) for level in HARDNESS_TYPES["borderline"].severities]
        for kind, severity in [("adjacent", None), ("instance", None), *levels]:
            yield {"dataset": name, "kind": kind, "severity": severity}, table(name), kind, {}, model, n_epochs


def main() -> None:
    "Inject, train, evaluate; the table is written anew after each setting."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["atypical", "borderline"])
    parser.add_argument("--seeds", type=int, default=5, help="of data and training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path, start = Path(__file__).parent / f"{options.study}.csv", time.perf_counter()
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    for settings, samples, kind, given, model, n_epochs in globals()[options.study]():
        known = {name: str(np.nan if value is None else value) for name, value in settings.items()}
        if any(all(str(row[name]) == value for name, value in known.items()) for row in rows): continue
        for seed in range(options.seeds):
            made = inject(samples, kind, .1, settings["severity"], seed=seed, **given)
            result = characterize(model, made.samples, SCORES, Training(n_epochs=n_epochs), seed=seed, device="cpu")
            for score in SCORES:
                hardness = result.hardness(score)
                rows.append(settings | {"seed": seed, "score": score, "auroc": roc_auc_score(made.flags, hardness),
                                        "auprc": average_precision_score(made.flags, hardness)})
        pd.DataFrame(rows).round(4).to_csv(path, index=False)
        print(settings, f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__": main()
