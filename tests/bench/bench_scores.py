"""All scores against the bare training; cost over N; gradient norms in closed form against torch.func.

LeNet, batch 64, on MNIST (AMBIGUITY_NB_DATA) or, without it, on the bundled 5,000 images repeated. The two sides are
interleaved in one process and measured in seconds of processor; memory is the peak of a process of its own for each.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from ambiguity_nb.data import Samples
from ambiguity_nb.gradients import gradient_batches
from ambiguity_nb.models import lenet, resnet18
from ambiguity_nb.scores import characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, fit


def images(n: int) -> Samples:
    "The first `n` MNIST images, or the bundled ones repeated."
    if (root := os.environ.get("AMBIGUITY_NB_DATA")) and (Path(root) / "MNIST" / "raw").exists():
        return load_samples("mnist", data_folder=root).subset(slice(0, n))
    base = load_samples("mnist-5k", "all")
    rows = np.resize(np.random.default_rng(0).permutation(len(base)), n)
    return Samples(base.x[rows], base.y[rows], base.classes, f"mnist-5k repeated to {n}")


def seconds(f) -> float:
    "Seconds of processor that a call takes."
    start = time.process_time()
    f()
    return time.process_time() - start


def against_training(n: int, n_epochs: int, rounds: int) -> None:
    "Bare training and training with all scores, interleaved; then where the difference went."
    samples, times, found = images(n), {"bare": [], "all": []}, None
    training = Training(n_epochs=n_epochs)
    characterize("lenet", images(500), "all", Training(n_epochs=2), device="cpu")  # imports and first calls
    for _ in range(rounds):
        times["bare"].append(seconds(lambda: fit(lenet(), samples, training, device="cpu")))
        start = time.process_time()
        found = characterize("lenet", samples, "all", training, device="cpu")
        times["all"].append(time.process_time() - start)
    bare, everything = (statistics.median(times[k]) for k in times)
    extra = [a / b - 1 for a, b in zip(times["all"], times["bare"], strict=True)]
    print(f"\nLeNet, {n} images ({samples.name}), {n_epochs} epochs, {rounds} rounds (medians)")
    print(f"  bare training            {bare:7.2f} s\n  with {len(found.names)} scores           {everything:7.2f} s   "
          f"extra {statistics.median(extra):.2f} x bare (bar: .5), rounds {min(extra):.2f}..{max(extra):.2f}")
    cost = found.cost.assign(share=lambda c: c.seconds / bare).sort_values("seconds", ascending=False)
    print(cost[cost.seconds > .01 * bare].rename(columns={"share": "x bare"}).round(3).to_string())
    print(f"  accumulators of all scores: {cost.MB.sum():.0f} MB")
    print(f"= all scores of {n} images, {n_epochs} epochs, over the bare training: extra | "
          f"{statistics.median(extra):.2f} | .5")


def of_verdicts(n: int, n_epochs: int, rounds: int) -> None:
    "The verdicts of samples, probes and both trainings included, against all their scores."
    from ambiguity_nb.verdicts import VerdictOptions, judge_samples

    samples, training, ratios = images(n), Training(n_epochs=n_epochs), []
    for _ in range(rounds):
        scored = seconds(lambda: characterize("lenet", samples, "all", training, device="cpu"))
        judged = seconds(lambda: judge_samples("lenet", samples, VerdictOptions(training=training), device="cpu"))
        ratios.append(judged / scored)
    print(f"= verdicts of {n} images over all their scores, {n_epochs} epochs | {statistics.median(ratios):.2f} | 1.15")


def memory(n: int, n_epochs: int) -> None:
    "Peak memory of a process that trains, and of one that also scores."
    peaks = {}
    for kind in ("bare", "all"):
        command = [sys.executable, __file__, "--peak", kind, "--n", str(n), "--epochs", str(n_epochs)]
        peaks[kind] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f"\nPeak memory, {n} images: bare {peaks['bare']:.0f} MB, all scores {peaks['all']:.0f} MB, extra "
          f"{peaks['all'] - peaks['bare']:.0f} MB (bars: 300 MB extra at 10,000 images, 2,048 MB in all at 60,000)")


def peak(kind: str, n: int, n_epochs: int) -> None:
    "Print this process's peak memory in MB after one side's work."
    torch.set_num_threads(2)
    if kind == "bare": fit(lenet(), images(n), Training(n_epochs=n_epochs), device="cpu")
    else: characterize("lenet", images(n), "all", Training(n_epochs=n_epochs), device="cpu")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform != "darwin" else 1024) / 1024)


def over_n(sizes: list[int]) -> None:
    "Time of three epochs with all scores for growing N: per sample it should stay the same."
    def score(n, n_epochs=3): characterize("lenet", images(n), "all", Training(n_epochs=n_epochs), device="cpu")

    score(500, 2)  # imports and first calls
    rows = {n: min(seconds(lambda n=n: score(n)) for _ in range(2)) for n in sizes}
    table = pd.DataFrame({"seconds": rows, "ms per sample": {n: 1e3 * t / n for n, t in rows.items()}})
    slope = np.polyfit(np.log(list(rows)), np.log(list(rows.values())), 1)[0]
    print(f"\nAll scores, 3 epochs, over N: time grows as N^{slope:.2f}\n{table.round(3).to_string()}")


def gradients(n_lenet: int, n_resnet: int, rounds: int) -> None:
    "One pass of gradient norms against one training epoch on the same images."
    print("\nGradient norms of all samples, as a multiple of one training epoch on them "
          "(medians; bar: 2 for the closed form)")
    for name, make, n in [("lenet", lenet, n_lenet), ("resnet18", resnet18, n_resnet)]:
        samples, model = images(n), make().eval()
        norms, ratios = {}, {"ghost": [], "func": []}
        for _ in range(rounds):
            epoch = seconds(lambda m=make, s=samples: fit(m(), s, Training(n_epochs=1), device="cpu"))
            for method, found in ratios.items():
                start = time.process_time()
                norms[method] = torch.cat([v for *_, v in gradient_batches(model, samples, "weights", 64, method)])
                found.append((time.process_time() - start) / epoch)
        difference = float((norms["ghost"] / norms["func"] - 1).abs().max())
        medians = {method: statistics.median(found) for method, found in ratios.items()}
        print(f"  {name:9s} {n:5d} images: closed form {medians['ghost']:.2f}, torch.func {medians['func']:.2f}, "
              f"largest relative difference {difference:.0e}")
    x, y = samples.normalize(samples.x[:1]), torch.from_numpy(samples.y[:1])
    one = torch.autograd.grad(F.cross_entropy(model(x[:1]), y[:1]), list(model.parameters()))
    one = sum(g.double().square().sum() for g in one).sqrt()
    print(f"  against one plain backward pass: relative difference {abs(float(norms['ghost'][0] / one) - 1):.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="five rounds, 60,000 images for memory, and N up to 40,000")
    parser.add_argument("--only", choices=["training", "verdicts", "memory", "n", "gradients"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", choices=["bare", "all"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak: return peak(args.peak, args.n, args.epochs)
    if args.only in (None, "training"): against_training(args.n, args.epochs, 5 if args.full else args.rounds)
    if args.only in (None, "verdicts"): of_verdicts(max(4000, args.n // 2), args.epochs, 1)
    if args.only in (None, "memory"): memory(60_000 if args.full else args.n, args.epochs if args.full else 2)
    if args.only in (None, "n"): over_n([5000, 10_000, 20_000, 40_000] if args.full else [1250, 2500, 5000, 10_000])
    if args.only in (None, "gradients"): gradients(4000, 256, 3)


if __name__ == "__main__": main()
