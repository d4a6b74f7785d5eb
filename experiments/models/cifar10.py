"""Designs of a small residual network beside LeNet: test accuracy after every epoch on images of CIFAR-10, LeNet and
`resnet_small` with two seeds.

python experiments/models/cifar10.py FOLDER

FOLDER holds train-12k.npz and test-3k.npz (x uint8 [N, 3, 32, 32], y, classes). Of the first, the first 4,000 are
trained on: Adam at 1e-3, batches of 64, one thread. It writes experiments/models/results/cifar10.parquet.
"""
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from ambiguity_nb.core import seeded
from ambiguity_nb.data import from_arrays
from ambiguity_nb.models import _conv, build_model
from ambiguity_nb.training import Hook, Training, evaluate, fit


class Tested(Hook):
    "Test accuracy after every epoch."

    def __init__(self, test): self.test, self.accuracy = test, []

    def after_epoch(self, epoch, model, samples, metrics): self.accuracy.append(evaluate(model, self.test)["accuracy"])


class Block(nn.Module):
    "Two convolutions added to the input, as it is where that is of the same size."

    def __init__(self, before, width, stride):
        super().__init__()
        self.body = nn.Sequential(*_conv(before, width, 3, stride), nn.ReLU(), *_conv(width, width, 3))
        same = before == width and stride == 1
        self.skip = nn.Identity() if same else nn.Sequential(*_conv(before, width, 1, stride))

    def forward(self, x): return torch.relu(self.body(x) + self.skip(x))


def residual(stem, widths, strides, seed):
    "A residual network: `pool` is a convolution and max pooling, `stride` a convolution of stride 2."
    with seeded(seed):
        layers = [*_conv(3, widths[0], 3, 1 + (stem == "stride")), nn.ReLU()]
        if stem == "pool": layers.append(nn.MaxPool2d(2))
        layers += [Block(*one) for one in zip((widths[0], *widths[:-1]), widths, strides, strict=True)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


designs = {  # stem, widths of the blocks, strides of the blocks
    "pool 16-32-64, strides 1-2-2": ("pool", (16, 32, 64), (1, 2, 2)),
    "stride 32-64, strides 1-2": ("stride", (32, 64), (1, 2)), "pool 24-64, strides 1-2": ("pool", (24, 64), (1, 2)),
    "pool 16-32-64, strides 2-1-1": ("pool", (16, 32, 64), (2, 1, 1)),
    "pool 32-64, strides 2-2": ("pool", (32, 64), (2, 2)),            # `resnet_small` with other initial weights
    "pool 16-64, strides 1-2": ("pool", (16, 64), (1, 2))}


def read(path, n=None):
    "Some of the images."
    with np.load(path) as file:
        return from_arrays(file["x"][:n], file["y"][:n].astype(int), list(file["classes"]), "cifar10")


def main(folder):
    "Train all and write the table."
    torch.set_num_threads(1)
    train, test = read(folder / "train-12k.npz", 4000), read(folder / "test-3k.npz")
    rows = []
    seeds = [("lenet", 0), ("resnet_small", 0), ("lenet", 1), ("resnet_small", 1), *((name, 0) for name in designs)]
    for name, seed in seeds:
        model = residual(*designs[name], seed) if name in designs else build_model(name, train, seed=seed)
        tested, start = Tested(test), time.process_time()
        fit(model, train, Training(n_epochs=10), seed=seed, hooks=[tested])
        facts = {"design": name, "seed": seed, "parameters": sum(p.numel() for p in model.parameters()),
                 "seconds": round(time.process_time() - start, 1)}
        rows += [facts | {"epoch": i, "test accuracy": round(a, 3)} for i, a in enumerate(tested.accuracy, 1)]
        print(facts, f"{tested.accuracy[-1]:.3f}", flush=True)
        pd.DataFrame(rows).to_parquet(Path(__file__).parent / "results" / "cifar10.parquet", index=False)


if __name__ == "__main__": main(Path(sys.argv[1]))
