"""The training loop on `Samples` against the same training with a `DataLoader` over torchvision's MNIST.

Same LeNet, same Adam, same batch size, the two interleaved in one process. Needs full MNIST (AMBIGUITY_NB_DATA);
without it the bundled 5,000 images are written in torchvision's layout first, so that both sides read the same files.
"""
import argparse
import os
import statistics
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from ambiguity_nb.models import lenet
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, fit


def mnist_root(folder: str) -> str:
    "A folder with MNIST in torchvision's layout: the user's, or one written from the bundled images."
    if (root := os.environ.get("AMBIGUITY_NB_DATA")) and (Path(root) / "MNIST" / "raw").exists(): return root
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    samples = load_samples("mnist-5k", "all")
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", samples.x[:, 0]), ("labels-idx1", samples.y)):
            header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    return folder


def plain_epochs(root: str, n: int, n_epochs: int) -> float:
    "Seconds of the usual loop: PIL image, ToTensor, Normalize, DataLoader, item by item."
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(.5, .5)])
    loader = DataLoader(Subset(datasets.MNIST(root, transform=transform), range(n)), batch_size=64, shuffle=True)
    model = lenet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = time.perf_counter()
    for _ in range(n_epochs):
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return time.perf_counter() - start


def our_epochs(root: str, n: int, n_epochs: int, autocast: bool = False) -> float:
    "Seconds of `fit`."
    samples = load_samples("mnist", data_folder=root).subset(slice(0, n))
    model = lenet()
    start = time.perf_counter()
    fit(model, samples, Training(n_epochs=n_epochs, autocast=autocast), device="cpu")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=5000, help="training images")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = mnist_root(folder)
        ways = {"DataLoader over torchvision": plain_epochs, "fit on Samples": our_epochs,
                "fit, bfloat16 autocast": lambda *a: our_epochs(*a, autocast=True)}
        seconds = {name: [] for name in ways}
        for _ in range(args.rounds + 1):
            for name, way in ways.items(): seconds[name].append(way(root, args.n, args.epochs))
    print(f"LeNet, {args.n} images, batch 64, {args.epochs} epochs, {torch.get_num_threads()} threads; "
          f"median of {args.rounds} interleaved rounds after one warm-up")
    base = statistics.median(seconds["DataLoader over torchvision"][1:])
    for name, values in seconds.items():
        median = statistics.median(values[1:])
        spread = f"({min(values[1:]):.2f}-{max(values[1:]):.2f})"
        print(f"  {name:30s} {median:7.2f} s  {spread}  {base / median:5.2f} times as fast")


if __name__ == "__main__":
    main()
