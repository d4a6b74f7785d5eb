"""The Fréchet distance at 2,048 dims: two symmetric eigendecompositions against SciPy's square root, in one process.

The distance between the *sample* statistics of two made sets is compared between routes; the nuclear norm (an SVD of
the factors) serves as the exact value when there are fewer samples than dims.

    python tests/bench/bench_fid.py [--full]
"""
import argparse
import statistics
import time

import numpy as np
import scipy.linalg
import torch

from ambiguity_nb.fid import Statistics, frechet_distance, gaussian_frechet


def by_sqrtm(mean1, cov1, mean2, cov2):
    "The usual route, with its usual repair: an offset on the diagonal when the product is singular."
    root = scipy.linalg.sqrtm(cov1 @ cov2)
    offset = 1e-6 * np.eye(len(cov1))
    if not np.isfinite(root).all(): root = scipy.linalg.sqrtm((cov1 + offset) @ (cov2 + offset))
    return ((mean1 - mean2) ** 2).sum() + np.trace(cov1 + cov2) - 2 * np.trace(root.real)


def exact(a, b):
    "Distance of sample statistics by an SVD, without any covariance."
    factors = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    cross = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + sum((f ** 2).sum() for f in factors) - 2 * cross


def timed(function, *args):
    start = time.process_time()
    value = function(*args)
    return value, time.process_time() - start


def main():
    import warnings

    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="more repetitions, and fewer samples at 2,048 dims")
    full = parser.parse_args().full
    rng = np.random.default_rng(0)
    print(f"numpy {np.__version__}, scipy {scipy.__version__}, torch threads {torch.get_num_threads()}")
    for dims, n in ((512, 300), (2048, 5000), *([(2048, 3000), (2048, 1000)] if full else [])):
        scales = np.exp(-np.arange(dims) * 10 / dims)           # a spectrum that falls as that of a network's features
        a, b = (np.maximum(rng.standard_normal((n, dims)) * scales + shift, -.5) for shift in (0., .05))
        stats = [f for x in (a, b) for f in (x.mean(0), np.cov(x.T))]
        truth, times = exact(a, b), {"ours": [], "sqrtm": []}
        for _ in range(3 if full else 2):
            for name, route in (("ours", gaussian_frechet), ("sqrtm", by_sqrtm)):
                value, seconds = timed(route, *stats)
                times[name].append(seconds)
                if len(times[name]) > 1: continue
                print(f"{dims} dims, n {n}: {name:6s} {value:.8f}, relative error {abs(value / truth - 1):.1e}, "
                      f"first call {seconds:.1f} s")
        ours, usual = (statistics.median(seconds) for seconds in times.values())
        print(f"{dims} dims, n {n}: median CPU s ours {ours:.2f}, sqrtm {usual:.2f}, ratio {usual / ours:.1f}")
        if dims == 2048:
            print(f"= SciPy's sqrtm over our Fréchet distance, {dims} dims, n {n} | {usual / ours:.1f} | >= 9.8")
    streamed, seconds = timed(lambda: Statistics.of(a[i:i + 500] for i in range(0, len(a), 500)))
    at_once, error = timed(np.cov, a.T)[1], abs(frechet_distance(streamed, Statistics.of(b), False) / truth - 1)
    print(f"streaming {len(a)} rows into float64 statistics: {seconds:.2f} s; np.cov of all at once: {at_once:.2f} s; "
          f"same distance: {error:.1e}")


if __name__ == "__main__": main()
