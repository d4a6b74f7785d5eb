"""What does not fit a glance: a million rows of a table, and images larger than memory.

Each case is a process of its own. Memory is what the process holds itself (RssAnon of Linux, looked at ten times a
second): pages of a mapped file that the system keeps as long as it has room do not count. Seconds are those of the
processor, so that a machine with other work gives the same.

    python tests/bench/bench_large.py [--case rows|images|verdicts] [--n 1000000] [--gigabytes 20]
"""
import argparse
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ambiguity_nb.data import Samples
from ambiguity_nb.scores import characterize
from ambiguity_nb.training import Training


def held() -> float:
    "Gigabytes that this process holds itself."
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 2**20


class Peak(threading.Thread):
    "The most that was held since the start."
    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0.
        self.start()

    def run(self):
        while True:
            self.most = max(self.most, held())
            time.sleep(.1)


def table(n: int, n_features: int = 20, n_classes: int = 3) -> Samples:
    "Rows of overlapping classes."
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, n)
    x = rng.standard_normal((n, n_features), np.float32)
    x[:, :n_classes] += 1.5 * np.eye(n_classes, dtype=np.float32)[y]
    return Samples(x, y, tuple("abc"[:n_classes]), f"{n} rows")


def timed(what: str, call):
    "A call's result; prints its seconds of processor."
    start = time.process_time()
    result = call()
    print(f"  {what:42s} {time.process_time() - start:7.1f} s", flush=True)
    return result


def rows(n: int, folder: str) -> None:
    "All scores that apply of a table, two epochs, its frame, its file and its figures."
    from ambiguity_nb.score_plots import plot_data_map

    samples, peak, start = table(n), Peak(), time.process_time()
    found = timed("all scores, two epochs", lambda: characterize("tabular_mlp", samples, "all", Training(n_epochs=2),
                                                                 device="cpu"))
    timed("frame", lambda: found.frame)
    path = timed("frame and Parquet", lambda: found.to_parquet(Path(folder) / "scores.parquet"))
    timed("summary, hardest rows and a data map", lambda: (found.summary(), found.top("aum"), plot_data_map(found)))
    print(f"  left out: {sorted(found.left_out)}; file of {path.stat().st_size / 1e6:.0f} MB")
    print(f"= {n} rows, {len(found.names)} scores with frame and file: seconds of CPU | "
          f"{time.process_time() - start:.0f} |\n= {n} rows: gigabytes held | {peak.most:.2f} | 4 at 1,000,000")


def images(gigabytes: float, folder: str) -> None:
    "Images in a sparse file, which takes no room on the disk: read, trained on for an epoch and looked at."
    side, size = 576, gigabytes * 1e9
    n = int(size / (3 * side * side))
    x = np.memmap(Path(folder) / "x", np.uint8, "w+", shape=(n, 3, side, side))
    x[:100] = np.random.default_rng(0).integers(0, 256, (100, 1, side, 1), np.uint8)
    samples, peak, start = Samples(x, np.arange(n) % 2, ("a", "b")), Peak(), time.process_time()
    small = lambda: nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(972, 16), nn.ReLU(), nn.Linear(16, 2))
    found = characterize(small, samples, ["aum", "forgetting", "data_maps", "loss", "el2n", "cleanlab",
                                          "prototypicality", "last_loss", "entropy", "random"],
                         Training(n_epochs=1, batch_size=32), device="cpu")
    print(f"= {x.nbytes / 1e9:.1f} GB of images ({n} of {side} x {side}), {len(found.names)} scores, one epoch: "
          f"gigabytes held | {peak.most:.2f} | 2\n= the same: seconds of CPU | {time.process_time() - start:.0f} |")


def verdicts(n: int, folder: str) -> None:
    "The verdicts of a table."
    from ambiguity_nb.verdicts import VerdictOptions, judge_samples

    samples, peak, start = table(n), Peak(), time.process_time()
    found = judge_samples("tabular_mlp", samples, VerdictOptions(training=Training(n_epochs=2)), device="cpu")
    trained = time.process_time() - start
    timed("frame", lambda: found.frame)
    print(f"= {n} rows, verdicts after two epochs: seconds of CPU | {trained:.0f} |\n"
          f"= {n} rows, verdicts: gigabytes held | {peak.most:.2f} | 4 at 1,000,000")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=["rows", "images", "verdicts"])
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=20)
    args = parser.parse_args()
    if not args.case:
        for more in (["rows", "--n", str(args.n // 4)], ["rows"], ["images"], ["verdicts"]):
            subprocess.run([sys.executable, __file__, "--n", str(args.n), "--gigabytes", str(args.gigabytes), "--case",
                            *more], check=True)
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        if args.case == "images": images(args.gigabytes, folder)
        else: {"rows": rows, "verdicts": verdicts}[args.case](args.n, folder)


if __name__ == "__main__": main()
