"""The `aum` package's calculator beside our score, on the logits of one and the same training.

    pip install aum
    python experiments/comparison/aum_run.py
"""
import time
from importlib.metadata import version

import numpy as np
import torch
from aum import AUMCalculator

import common as c
from ambiguity_nb.scores import SCORES, ScoreSet
from ambiguity_nb.training import Hook, fit


class Calculator(Hook):
    "Feeds `AUMCalculator` what the training steps saw, and times it."

    def __init__(self): self.calculator, self.seconds = AUMCalculator(".", compressed=True), 0.

    def train_batch(self, index, logits, y):
        start = time.perf_counter()
        self.calculator.update(logits, y, index.tolist())
        self.seconds += time.perf_counter() - start

    def values(self, n: int) -> np.ndarray:
        return np.array([self.calculator.sums[i] / self.calculator.counts[i] for i in range(n)])


def takes_one_sample() -> bool:
    "Whether a batch of one sample is taken, such as the last one of 65 samples in batches of 64."
    try: AUMCalculator(".").update(torch.tensor([[1., 2., 3.]]), torch.tensor([0]), [0])
    except TypeError: return False
    return True


def compare(case: c.Case) -> dict:
    "Both on one training."
    theirs, ours = Calculator(), ScoreSet([SCORES["aum"]()])
    fit(case.network(), case.samples, c.training, seed=case.seed, hooks=[theirs, ours])
    values, mine = theirs.values(len(case.samples)), ours["aum"].values()
    return c.row(case, "aum", -values, -values, mine, -mine, -mine, values=values, their_name="AUMCalculator",
                 seconds=theirs.seconds, seconds_alone=ours.seconds["aum"], one_sample=takes_one_sample())


if __name__ == "__main__":
    args = c.arguments(__doc__)
    rows = [compare(case) for case in c.cases(args)]
    print(c.write(rows, "aum", args.out, "aum"), version("aum"))
    print(c.pd.DataFrame(rows)[["data", "kind", "seed", "theirs", "ours", "difference", "seconds", "seconds_alone"]])
