"""What each kind of pass costs, as a multiple of one epoch of bare training.

    python experiments/costs/parts.py

LeNet on 2,004 bundled digits, batch 64, one thread, seconds of processor, the least of four runs each, interleaved in one
process. Writes results/parts.csv.
"""
import time
import warnings
from pathlib import Path

import pandas as pd
import torch

from ambiguity_nb.gradients import gradient_batches
from ambiguity_nb.models import lenet
from ambiguity_nb.scores import ScoreSet
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, fit

# a pass, and how often it comes in ten epochs of all scores
TIMES = {"evaluation, no gradients": 5, "evaluation with gradients by the input (VoG)": 5,
         "gradients by the weights (GraNd)": 2, "augmented copies (ALLSH)": 1, "dropout masks (conf_agree)": 1}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    samples, model = load_samples("mnist-5k").subset(slice(0, 2004)), lenet()
    looking = ScoreSet(["loss"]).start(len(samples), 10, 1000)

    def after_training(name):
        scores = ScoreSet([name])
        scores.before_fit(model, samples, 10)
        scores.after_fit(model, samples)

    calls = [lambda: looking.evaluate(model, samples), lambda: list(gradient_batches(model, samples, "input")),
             lambda: list(gradient_batches(model, samples, "weights", None, "ghost")),
             lambda: after_training("allsh"), lambda: after_training("conf_agree")]
    passes = {"training epoch": lambda: fit(model, samples, Training(n_epochs=1), device="cpu"),
              **dict(zip(TIMES, calls, strict=True))}
    least = {}
    for _ in range(5):
        for name, run in passes.items():
            start = time.process_time()
            run()
            least[name] = min(least.get(name, torch.inf), time.process_time() - start)
    epoch = least.pop("training epoch")
    table = pd.DataFrame({"epochs of training": {k: v / epoch for k, v in least.items()}, "times in ten epochs": TIMES})
    table["share of the training"] = table.prod(axis=1) / 10
    table.round(3).to_csv(Path(__file__).parent / "results" / "parts.csv", index_label="pass")
    print(table.round(3).to_string())


if __name__ == "__main__": main()
