"""Copies planted in photographs, and how many of them `find_duplicates` finds.

    python experiments/audit/duplicates.py FOLDER [--n 3000]

FOLDER holds cifar10/train-12k.npz with arrays x, y and classes. 60 copies each with noise (deviation 8 of 255),
recompressed (JPEG, quality 50) and cropped (nine tenths of the sides, resized). Pairs that were not planted are counted,
and shown in results/duplicates.png: in these data they are real copies. Writes results/duplicates.csv.
"""
import argparse
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ambiguity_nb.data import from_arrays, plot_images
from ambiguity_nb.duplicates import find_duplicates

HERE = Path(__file__).parent


def noise(x, rng): return np.clip(x + rng.normal(0, 8, x.shape), 0, 255).round().astype(np.uint8)


def recompress(x, rng):
    buffer = io.BytesIO()
    Image.fromarray(x.transpose(1, 2, 0)).save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer)).transpose(2, 0, 1)


def crop(x, rng):
    side = round(.9 * x.shape[1])
    top, left = rng.integers(0, x.shape[1] - side + 1, 2)
    part = Image.fromarray(x[:, top:top + side, left:left + side].transpose(1, 2, 0))
    return np.asarray(part.resize(x.shape[1:], Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=3000)
    words = parser.parse_args()
    with np.load(words.folder / "cifar10" / "train-12k.npz") as arrays: x, y = arrays["x"][:words.n], arrays["y"][:words.n]
    rng, makers = np.random.default_rng(0), [m for m in (noise, recompress, crop) for _ in range(60)]
    hosts = rng.choice(words.n, len(makers), replace=False)
    copies = np.stack([make(x[i], rng) for make, i in zip(makers, hosts, strict=True)])
    pairs = find_duplicates(from_arrays(np.concatenate([x, copies]), np.concatenate([y, y[hosts]])))
    planted = np.array([b >= words.n and hosts[b - words.n] == a for a, b in zip(pairs["a"], pairs["b"], strict=True)])
    names = pd.Series([makers[b - words.n].__name__ for b in pairs.loc[planted, "b"]]).value_counts()
    others = pairs[~planted & (pairs["b"] < words.n)]
    table = pd.DataFrame({"planted": 60, "found": names.reindex(["noise", "recompress", "crop"], fill_value=0)})
    table.loc["not planted"] = [0, len(others)]
    table.rename_axis("copy").to_csv(HERE / "results" / "duplicates.csv")
    print(table)
    ids = others[["a", "b"]].to_numpy().astype(int).ravel()
    if len(ids): plot_images(x[ids], n_cols=8).figure.savefig(HERE / "results" / "duplicates.png", dpi=100)


if __name__ == "__main__":
    main()
