"""Generated images against mixtures: which scores find ambiguous images of either origin, all else being equal?

    python experiments/ambiguous/compare.py --pairs 5v3 7v1

Needs the files of MNIST (AMBIGUITY_NB_DATA names their folder). For each pair of classes the 70,000 images are dealt to
parts that share none: five data sets of 4,000 to train LeNet on, and images of the two classes for a GAN (step 1 of
GASTeN, 1,200 updates or so), for the referee (a support vector machine on pixels) and for a second referee (a random
forest). In each data set the same 100 images of the two classes are replaced, labels kept, by

- generated: images of the GAN to which the referee gives a probability within .1 of one half
- mixtures: of the image and one of the other class, by bisection, with the *same* referee's probabilities
- mixtures, full contrast: the same, stretched to the norm of the images they are made of

and, as controls for what is not ambiguity,

- generated, sure: images of the GAN that the referee is sure of, with the label that it gives
- mixtures of one class: half and half of two images of the label's class

Writes beside this file: results.parquet, a row per (pair, origin, data_seed, score, by) with the AUROC among the images
of the two classes and 100 bootstrap draws of it, the same resamples for all scores of one data set; referees.parquet,
what both referees say of the images; images.npz, some of them. The GAN is kept in --folder and found again there.
About ten minutes a pair on one core.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from ambiguity_nb.data import Samples
from ambiguity_nb.gasten import Gan, train_gan
from ambiguity_nb.generator_measures import draw_noise, generate
from ambiguity_nb.scores import characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training

HERE = Path(__file__).parent
N_SEEDS, N_IMAGES, N_FLAGS, N_DRAWS = 5, 4000, 100, 100
ORIGINS = ("generated", "mixtures", "mixtures, full contrast", "generated, sure", "mixtures of one class")


def pixels(x: np.ndarray) -> np.ndarray:
    "Rows of numbers in [0, 1]."
    return x.reshape(len(x), -1).astype(np.float32) / 255


class Referee:
    "A support vector machine on pixels; its margin becomes a probability by a logistic curve on images held out."

    def __init__(self, samples: Samples, seed: int = 0):
        held, rest = samples.split((.25, .75), seed=seed)
        self.machine = SVC(C=10).fit(pixels(rest.x), rest.y)
        self.curve = LogisticRegression(C=1e6).fit(self.machine.decision_function(pixels(held.x))[:, None], held.y)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        "Probability of the positive class [N] of raw images [N, 1, H, W]."
        return self.curve.predict_proba(self.machine.decision_function(pixels(x))[:, None])[:, 1]


class Forest:
    "A random forest on pixels, of another family and from other images again."

    def __init__(self, samples: Samples):
        self.forest = RandomForestClassifier(500, min_samples_leaf=2, random_state=0).fit(pixels(samples.x), samples.y)

    def __call__(self, x: np.ndarray) -> np.ndarray: return self.forest.predict_proba(pixels(x))[:, 1]


def mixed(a: np.ndarray, b: np.ndarray, t: np.ndarray, full: bool) -> np.ndarray:
    "Images between a and b [N, 1, H, W], t [N] of b; with `full`, stretched to a norm between theirs."
    t, a, b = t.reshape(-1, 1, 1, 1), a.astype(np.float64), b.astype(np.float64)
    x = (1 - t) * a + t * b
    if full:
        norms = [np.sqrt((image**2).sum((1, 2, 3), keepdims=True)) for image in (a, b, x)]
        x *= ((1 - t) * norms[0] + t * norms[1]) / norms[2]
    return np.rint(x.clip(0, 255)).astype(np.uint8)


def bisected(referee: Referee, a: np.ndarray, b: np.ndarray, level: np.ndarray, full: bool) -> np.ndarray:
    "Mixtures of a (positive) and b (negative) to which the referee gives the probabilities `level` [N]."
    low, high = np.zeros(len(a)), np.ones(len(a))
    for _ in range(10):
        middle = (low + high) / 2
        above = referee(mixed(a, b, middle, full)) > level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return mixed(a, b, (low + high) / 2, full)


def nearest(x: np.ndarray, pool: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    "For each image the nearest of 16 random ones of a pool, itself left out."
    chosen = rng.integers(len(pool), size=(len(x), 16))
    far = np.stack([((pixels(pool[i]) - pixels(x))**2).sum(1) for i in chosen.T], 1)
    return pool[chosen[np.arange(len(x)), np.where(far > 0, far, np.inf).argmin(1)]]


def replacements(origin: str, samples: Samples, rows: np.ndarray, generated: dict, referee: Referee, seed: int):
    "What becomes of the images at `rows`, whose first half has the positive label (1)."
    label, part = samples.y[rows], slice(seed * N_FLAGS, (seed + 1) * N_FLAGS)
    if origin == "generated": return generated["ambiguous"][part]
    if origin == "generated, sure":
        half = slice(seed * N_FLAGS // 2, (seed + 1) * N_FLAGS // 2)
        return np.concatenate([generated["sure 1"][half], generated["sure 0"][half]])
    rng, own, level = np.random.default_rng([seed, 5]), samples.x[rows], generated["p"][part]
    pools = [samples.x[samples.y == k] for k in (0, 1)]
    if origin == "mixtures of one class":
        partners = np.concatenate([nearest(own[label == k], pools[k], rng) for k in (1, 0)])
        return mixed(own, partners, np.full(len(rows), .5), False)
    partners = np.concatenate([nearest(own[label == k], pools[1 - k], rng) for k in (1, 0)])
    swapped = (label == 0).reshape(-1, 1, 1, 1)
    a, b = np.where(swapped, partners, own), np.where(swapped, own, partners)
    return bisected(referee, a, b, level, origin.endswith("full contrast"))


def from_generator(generator, referee: Referee, samples: Samples) -> dict:
    "Distinct images for all data seeds: ambiguous ones with their probabilities, and sure ones of both classes."
    kept = {"ambiguous": [], "p": [], "sure 1": [], "sure 0": []}
    for seed in range(40):
        x = samples.denormalize(generate(generator, z=draw_noise(2000, generator.z_dim, seed)))
        p = referee(x)
        near = np.abs(p - .5) <= .1
        for name, chosen in (("ambiguous", near), ("sure 1", p > .99), ("sure 0", p < .01)):
            kept[name].append(x[chosen])
        kept["p"].append(p[near])
        if sum(map(len, kept["p"])) >= N_SEEDS * N_FLAGS: break
    print(f"{sum(map(len, kept['p']))} ambiguous images among {2000 * (seed + 1)} generated", flush=True)
    return {name: np.concatenate(values)[:N_SEEDS * N_FLAGS] for name, values in kept.items()}


def draws_of(hardness: np.ndarray, flags: np.ndarray, seed: int) -> tuple[float, list]:
    "AUROC, and that of stratified bootstrap resamples, the same for all scores of a seed."
    high, low = hardness[flags][:, None], hardness[~flags]
    wins = (high > low) + .5 * (high == low)                                                   # [positives, negatives]
    rng = np.random.default_rng([seed, 7])
    up, down = (rng.multinomial(n, np.full(n, 1 / n), N_DRAWS) / n for n in wins.shape)
    return float(wins.mean()), np.einsum("dp,pn,dn->d", up, wins, down, optimize=True).astype(np.float32).tolist()


def judge(found, keep: np.ndarray, flags: np.ndarray, seed: int) -> list[dict]:
    "A row per score and question."
    rows = []
    for name in found.names:
        said = {"hardness": found.hardness(name)}
        if found[name].ambiguity is not None: said["ambiguity"] = found.ambiguity(name)
        for by, values in said.items():
            auroc, draws = draws_of(values[keep], flags[keep], seed)
            rows.append({"score": name, "by": by, "baseline": found[name].baseline, "auroc": auroc,
                         "auroc_draws": draws, "n": int(keep.sum()), "n_flagged": int(flags[keep].sum())})
    return rows


def compare(pair: str, folder: Path, n_seeds: int) -> tuple[list, list, dict]:
    "All trainings of a pair of classes."
    everything, (pos, neg) = load_samples("mnist", "all"), pair.split("v")
    order = np.random.default_rng(21).permutation(len(everything))
    parts = [everything.subset(part) for part in np.split(order, [20_000, 40_000, 60_000])]
    for_gan, for_referee, for_forest = (part.binary(pos, neg) for part in parts[1:])
    referee, forest = Referee(for_referee), Forest(for_forest)
    for name, judge_of in (("referee", referee), ("forest", forest)):
        right = ((judge_of(for_gan.x) > .5) == for_gan.y).mean()
        print(f"{pair}: the {name} is right about {right:.4f} of {len(for_gan)} other images", flush=True)
    run = train_gan(for_gan, Gan(n_epochs=20, filters=32, ema=.99, save_every=20), folder=folder / f"{pair}-gan")
    generated, rows, said, shown = from_generator(run.generator, referee, for_gan), [], [], {}
    for seed in range(n_seeds):
        samples = parts[0].subset(slice(seed * N_IMAGES, (seed + 1) * N_IMAGES))
        ours = [samples.classes.index(c) for c in (neg, pos)]
        two, positions = samples.binary(pos, neg), np.flatnonzero(np.isin(samples.y, ours))
        sure = (referee(two.x) > .5) == two.y
        rng = np.random.default_rng([seed, 3])
        chosen = np.concatenate([rng.permutation(np.flatnonzero(sure & (two.y == k)))[:N_FLAGS // 2] for k in (1, 0)])
        for origin in ORIGINS:
            x, flags = samples.x.copy(), np.zeros(len(samples), bool)
            new = x[positions[chosen]] = replacements(origin, two, chosen, generated, referee, seed)
            flags[positions[chosen]] = True
            cell = {"pair": pair, "origin": origin, "data_seed": seed}
            p, other, norm = referee(new), forest(new), np.linalg.norm(pixels(new), axis=1)
            said.append(cell | {"referee": np.abs(p - .5).mean(), "forest": np.abs(other - .5).mean(),
                                "forest_unsure": (np.abs(other - .5) < .25).mean(), "norm": norm.mean(),
                                "norm_before": np.linalg.norm(pixels(samples.x[positions[chosen]]), axis=1).mean()})
            if seed == 0: shown[f"{pair}|{origin}"] = new[np.linspace(0, N_FLAGS - 1, 12).astype(int)]
            found = characterize("lenet", samples.replace(x=x), "all", Training(n_epochs=10), seed=seed)
            rows += [cell | row for row in judge(found, np.isin(samples.y, ours), flags, seed)]
            print(pair, origin, seed, flush=True)
    return rows, said, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=["5v3", "7v1"])
    parser.add_argument("--folder", type=Path, default=Path("runs/ambiguous"), help="where the GANs are kept")
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="data sets of each pair, at most 5")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, said, shown = [], [], {}
    for pair in options.pairs:
        for all_of, new in zip((rows, said), (made := compare(pair, options.folder, options.seeds))[:2], strict=True):
            all_of += new
        shown |= made[2]
        pd.DataFrame(rows).round({"auroc": 5}).to_parquet(HERE / "results.parquet", index=False)
        pd.DataFrame(said).round(5).to_parquet(HERE / "referees.parquet", index=False)
        np.savez_compressed(HERE / "images.npz", **shown)


if __name__ == "__main__":
    main()
