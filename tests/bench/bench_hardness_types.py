"""Injection into many images at once, against the plain way: one image at a time through torchvision or NumPy.

60,000 images (the 5,000 bundled digits, twelve times over), a tenth of them made hard. The plain way is timed on fewer
images and scaled.
"""
import argparse
import statistics
import time

import numpy as np
import pandas as pd
import torch
from torchvision.transforms.v2 import functional as tv

from ambiguity_nb.benchmark import detection_quality
from ambiguity_nb.hardness_types import HARDNESS_TYPES, inject
from ambiguity_nb.sources import load_samples


def plain_uniform(samples, rows, rng):
    "A new label per sample, drawn until it is another."
    y = samples.y.copy()
    for i in rows:
        while y[i] == samples.y[i]: y[i] = rng.integers(samples.n_classes)


def plain_noise(samples, rows, rng):
    "Noise image by image."
    for i in rows: np.clip(samples.x[i] / 255 + .5 * rng.standard_normal(samples.shape), 0, 1)


def plain_zoom(samples, rows, rng):
    "Crop and resize image by image, as torchvision does it."
    side = int(samples.shape[1] / 1.75)
    for i in rows:
        middle = tv.center_crop(torch.from_numpy(samples.x[i]), [side, side])
        tv.resize(middle, list(samples.shape[1:]), antialias=False)


def plain_shift(samples, rows, rng):
    "Pad and crop image by image."
    height, width = samples.shape[1:]
    for i in rows: tv.crop(tv.pad(torch.from_numpy(samples.x[i]), [10, 0, 0, 0]), 0, 0, height, width)


PLAIN = {"uniform": plain_uniform, "ood_covariate": plain_noise, "zoom_shift": plain_zoom, "crop_shift": plain_shift}


def seconds(call) -> float:
    "Wall time of one call."
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def plain_bootstrap(score, flags, n) -> None:
    "AUROC of n resamples, one after the other, by scikit-learn."
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    for _ in range(n):
        rows = rng.integers(len(flags), size=len(flags))
        roc_auc_score(flags[rows], score[rows])


def main() -> None:
    "Print both tables."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more repetitions")
    repeat = 5 if parser.parse_args().full else 3
    digits = load_samples("mnist-5k", "all")
    many = digits.replace(x=np.tile(digits.x, (12, 1, 1, 1)), y=np.tile(digits.y, 12), ids=np.arange(60_000))
    few = np.random.default_rng(0).permutation(60_000)[:600]
    rows = []
    for kind in HARDNESS_TYPES.frame(many).index:
        ours, plain = [], []
        for _ in range(repeat):
            ours.append(seconds(lambda kind=kind: inject(many, kind, .1)))
            if kind not in PLAIN: continue
            plain.append(10 * seconds(lambda kind=kind: PLAIN[kind](many, few, np.random.default_rng(0))))
        median, other = statistics.median(ours), statistics.median(plain) if plain else np.nan
        rows.append({"type": kind, "ours, s": median, "plain, s": other, "ratio": other / median})
    print(f"60,000 images of 28 by 28, 6,000 made hard, {torch.get_num_threads()} threads, median of {repeat}")
    print(pd.DataFrame(rows).set_index("type").round(3).to_string(na_rep=""))

    flags = inject(digits, "uniform", .1).flags
    score = np.random.default_rng(0).random(5000) + flags
    ours, plain = [], []
    for _ in range(repeat):
        ours.append(seconds(lambda: detection_quality(score, flags, 200)))
        plain.append(seconds(lambda: plain_bootstrap(score, flags, 200)))
    ours, plain = statistics.median(ours), statistics.median(plain)
    print(f"\nAUROC and AUPRC of 5,000 samples with 200 resamples: {ours:.2f} s; "
          f"AUROC alone by scikit-learn, one by one: {plain:.2f} s ({plain / ours:.1f} times)")


if __name__ == "__main__":
    main()
