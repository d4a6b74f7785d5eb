"""How far scores change when they are measured less often: fewer snapshots, epochs and augmented copies.

    python experiments/costs/thin.py [--n 2000]

Bundled digits with a tenth of the labels wrong, LeNet, ten epochs, three seeds. Each thinner score is compared with the
one that takes more, in the same training: rank correlation (Spearman), and the AUROC of the planted labels by both. The
control is the score that takes more, from a training with another seed: what is no closer than that is another score.
"""
import argparse
import warnings
from pathlib import Path

import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from ambiguity_nb.hardness_types import inject
from ambiguity_nb.scores import SCORES, characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training

WAYS = {"vog": ("n_snapshots", (5, 4, 3, 2)), "grand": ("epochs", ((3, 5), (4,), (5,), (3,))),
        "allsh": ("n_augmentations", (6, 4, 3, 2, 1))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    samples = load_samples("mnist-5k", "all")
    planted = inject(samples.subset(slice(0, None, len(samples) // args.n)), "uniform", .1)
    chosen = [SCORES[score](**{option: value}).named(f"{score} {value}")
              for score, (option, values) in WAYS.items() for value in values]
    rows, runs = [], []
    for seed in range(args.seeds):
        runs.append(characterize("lenet", planted.samples, chosen, Training(n_epochs=10), seed=seed, device="cpu"))
        for score, (_, values) in WAYS.items():
            most = f"{score} {values[0]}"
            for value in values:
                name = f"{score} {value}"
                both = pd.Series(runs[-1].hardness(name)), pd.Series(runs[-1].hardness(most))
                row = {"score": score, "measured": str(value), "seed": seed,
                       "spearman": both[0].corr(both[1], "spearman"), "auroc": roc_auc_score(planted.flags, both[0])}
                if seed:
                    other = pd.Series(runs[-2].hardness(most))
                    row["spearman, another training"] = both[1].corr(other, "spearman")
                rows.append(row)
        frame = pd.DataFrame(rows)
        frame.to_csv(Path(__file__).parent / "results" / "thin.csv", index=False, float_format="%.4f")
        means = frame.drop(columns="seed").groupby(["score", "measured"], sort=False).mean()
        print(means.round(3).to_string(), flush=True)


if __name__ == "__main__": main()
