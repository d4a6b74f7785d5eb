"""Scores of MNIST's 10,000 test images, 100 of which five people each have looked at again.

    python experiments/known_hardness/mnist_test.py --seeds 5

reads MNIST from the folder that AMBIGUITY_NB_DATA names and writes mnist-test-ranks.csv: for every reviewed image,
score and seed the rank among all 10,000 (1 = hardest; ties share their mean rank).
"""
import argparse
import time
from pathlib import Path

import pandas as pd
import torch

from ambiguity_nb.scores import SCORES, characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training

folder = Path(__file__).parent


def main() -> None:
    "Train LeNet on the test images with their given labels, once per seed, and note the ranks."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="trainings")
    parser.add_argument("--n_epochs", type=int, default=10, help="of each training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    training = Training(n_epochs=options.n_epochs)
    samples, reviewed = load_samples("mnist", "test"), pd.read_csv(folder / "mnist-test.csv")["id"]
    tables = []
    for seed in range(options.seeds):
        start = time.perf_counter()
        result = characterize("lenet", samples, list(SCORES), training, seed=seed, device="cpu")
        hardness = pd.DataFrame({name: result.hardness(name) for name in SCORES})
        ranks = hardness.rank(ascending=False).loc[reviewed].rename_axis("id").reset_index()
        tables.append(ranks.melt("id", var_name="score", value_name="rank").assign(seed=seed))
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        pd.concat(tables).to_csv(folder / "mnist-test-ranks.csv", index=False)


if __name__ == "__main__": main()
