"""Ambiguous images by step 1 alone, by latent search and by GASTeN's step 2, on the same classifier and the same data.

    python experiments/boundary/compare.py --cases mnist_7v1 mnist_5v3 fashion_5v7 cifar_catvdog cifar_carvtruck --seeds 0 1 2
    python experiments/boundary/compare.py --cases mnist_358
    python experiments/boundary/compare.py --cases mnist_5v3 --full-size

AMBIGUITY_NB_DATA names the folder of MNIST and FashionMNIST (torchvision's layout) and of cifar10/train-12k.npz and
test-3k.npz (`x` uint8 [N, 3, 32, 32], `y`, `classes`). For each pair of classes and each seed:

- the classifier under test is the paper's: `cnn` with two filters and no activations, one epoch, Adam 1e-3, batches of 64
  (on color photographs it stays at chance, so there it is a `resnet_small` of the pair, ten epochs)
- step 1: a DCGAN on up to 4,000 images of the two classes, 800 updates (small, so that a case takes two minutes of a core)
- step 2: from there, two epochs (124 updates) each with alpha 0 (a control: step 1 for as long), abs 25 and gaussian 1;
  the generator of each last epoch is also bisected
- an autoencoder on the same images, 800 updates
- searches are those of `search_boundary` (the descent with the discriminator's realism), and bisection between pairs of ends
  that `search_boundary` would not choose: near ones on the great circles of a GAN, random ones on an autoencoder's lines
- the judge is another network (`resnet_small`, all classes, own seed), and so are the features (a LeNet on gray images, a
  `resnet_small` on color): neither has a part in any search

A row per way: `yield` (share with |p - .5| <= .1 of all made), and of the first 300 ambiguous images: `frechet`, the Fréchet
distance to the 300 real images (training and test) that the classifier is least sure of, with a 95 % bootstrap interval
(`low`, `high`); `coverage` of these real images (k = 5); `diversity`, the mean distance between two images in the features over
that of the real ones; the judge's opinion; `seconds`, CPU seconds of one process for 1,000 ambiguous images, and `training`,
those of the training that came before and is not step 1's. Controls: the next 300 real images in the order of doubt, and 300 real
images of the two classes at random.

mnist_358 is a set of three classes: the classifier is a `cnn` of four filters for all ten digits, undecided means every
probability within .1 of a third, searches descend, and step 2 has the loss kldb.

--full-size is one comparison of seconds at the paper's size: all images of the two classes, a DCGAN of 64 filters, five epochs of
step 1 and ten of step 2 (abs 25), batches of 64. After every epoch of step 2 a bisection for 1,000 images runs in the same
process, always in the generator of step 1's end. A row per epoch, in results/full_size.parquet: `training`, CPU seconds of step 2
until then; `sampling`, those for 1,000 ambiguous images of that epoch's generator; `bisection`, those of the bisection; and
the measures of both ways, of the bisection with `bisected_` before the name.

Writes results/compare.parquet (rows are added or replaced by case, seed and way) and results/images.npz (seed 0: 10 images of
each way). What is trained once for all seeds, judge and features, is kept in --folder.
"""
import argparse
import copy
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ambiguity_nb.choosing_epochs import second_opinion
from ambiguity_nb.core import atomic_path, load_state, save_state
from ambiguity_nb.data import Samples
from ambiguity_nb.fid import Features, Statistics, frechet_distance
from ambiguity_nb.gasten import Confusion, Gan, train_gan, train_gasten
from ambiguity_nb.generator_measures import (balance_and_mass, density_coverage, draw_noise, generate, is_ambiguous,
                                             predict_probs)
from ambiguity_nb.latent_search import SEARCHES, _fit_autoencoder, search_boundary
from ambiguity_nb.models import build_model, cnn, embed
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Hook, Training, evaluate, fit

HERE = Path(__file__).parent
CASES = {"mnist_7v1": ("mnist", "7", "1"), "mnist_5v3": ("mnist", "5", "3"), "fashion_5v7": ("fashion-mnist", 5, 7),
         "cifar_catvdog": ("cifar10", 3, 5), "cifar_carvtruck": ("cifar10", 1, 9), "mnist_358": ("mnist", "3", "5", "8")}
N_IMAGES, N_UPDATES, N_STEP2, M, TAU = 4000, 800, 2, 300, .1
GAN = {"n_blocks": 2, "filters": 16, "ema": .99, "lr": 5e-4}
clock = time.process_time


def read(data: str, part: str) -> Samples:
    "Images of all classes."
    if data != "cifar10": return load_samples(data, part)
    file = {"train": "train-12k.npz", "test": "test-3k.npz"}[part]
    held = np.load(Path(os.environ["AMBIGUITY_NB_DATA"]) / "cifar10" / file)
    return Samples(held["x"], held["y"].astype(np.int64), tuple(map(str, held["classes"])), "cifar10")


def network(name: str, samples: Samples, n_epochs: int, folder: Path, **options) -> torch.nn.Module:
    "A network of all classes, from its file if it is there."
    model = build_model(name, samples, **options)
    path = folder / f"{samples.name}-{name}-{n_epochs}-{options['seed']}.safetensors"
    if path.exists(): model.load_state_dict(load_state(path)["model"])
    else:
        fit(model, samples, Training(n_epochs=n_epochs), seed=options["seed"])
        save_state(path, {"model": model.state_dict()})
    return model.eval()


class Keep(Hook):
    "Keeps a copy of the generator after every epoch, and the CPU seconds until then."

    def before_fit(self, nets, samples, n_epochs): self.kept, self.started = [], clock()

    def after_epoch(self, epoch, nets, samples, metrics):
        self.kept.append((copy.deepcopy(nets.sampler).eval(), clock() - self.started))


class Case:
    "All that the rows of one case and seed have in common."

    def __init__(self, name: str, seed: int, folder: Path, n_images: int = N_IMAGES):
        self.name, self.seed = name, seed
        data, *chosen = CASES[name]
        train, test = read(data, "train"), read(data, "test")
        color, numbers = train.shape[0] == 3, [k if isinstance(k, int) else train.classes.index(k) for k in chosen]
        self.space = network("resnet_small" if color else "lenet", train, 5 if color else 2, folder, seed=100)
        options = {"widths": (32, 64), "seed": 200} if color else {"widths": (16, 32), "seed": 200}
        self.judge = network("resnet_small", train, 5 if color else 2, folder, **options)
        self.judge_accuracy = evaluate(self.judge, test)["accuracy"]
        if len(chosen) == 2:                                                 # (positive, negative) become 1 and 0
            self.judge_classes, self.classes = numbers[::-1], None
            self.part, held = train.binary(*numbers), test.binary(*numbers)
            known, asked, filters = self.part, held, 2
        else:
            self.judge_classes = self.classes = numbers
            self.part, held = (s.subset(np.isin(s.y, numbers)) for s in (train, test))
            known, asked, filters = train, test, 4
        if color: self.model = build_model("resnet_small", known, seed=seed)  # two linear filters stay at chance there
        else: self.model = cnn(filters, known.n_classes, train.shape[0], tuple(train.shape[1:]), seed=seed)
        fit(self.model, known, Training(n_epochs=10 if color else 1, lr=1e-3, batch_size=64), seed=seed)
        self.accuracy = evaluate(self.model, asked)["accuracy"]
        rng = np.random.default_rng(seed)
        self.few = self.part.subset(np.sort(rng.permutation(len(self.part))[:n_images]))
        real = torch.cat([s.normalize(s.x) for s in (self.part, held)])
        order = np.argsort(self.doubt(real), kind="stable")
        self.real, self.next = real[order[:M]], real[order[M:2 * M]]
        self.any = real[rng.permutation(len(real))[:M]]
        self.features = Features("space", lambda x: embed(self.space, x), self.space)
        self.reference = self.features.of(self.real)
        self.spread = spread(self.reference)

    def doubt(self, images: torch.Tensor) -> np.ndarray:
        "How far from undecided: |p - .5|, or of a set the divergence from even."
        probs = predict_probs(self.model, images)
        return np.abs(probs[:, 1] - .5) if self.classes is None else sum(balance_and_mass(probs, self.classes))

    def undecided(self, images: torch.Tensor) -> np.ndarray:
        "Which images are ambiguous."
        probs = predict_probs(self.model, images)
        return is_ambiguous(probs[:, 1] if self.classes is None else probs, TAU, self.classes)

    def row(self, way: str, images: torch.Tensor, share: float, seconds: float, training: float = 0., epoch: int = 0) -> dict:
        "Measures of up to M ambiguous images."
        row = {"case": self.name, "seed": self.seed, "way": way, "epoch": epoch, "yield": share, "n": min(len(images), M),
               "seconds": seconds, "training": training, "accuracy": self.accuracy, "judge_accuracy": self.judge_accuracy}
        if len(images) < 30: return row
        features = self.features.of(images[:M])
        row["frechet"], row["low"], row["high"] = frechet(features, self.reference[:len(features)], self.seed)
        row["coverage"] = density_coverage(features, self.reference)[1]
        row["diversity"] = spread(features) / self.spread
        return row | second_opinion(self.judge, images[:M], self.judge_classes)


def spread(features: np.ndarray) -> float:
    "Mean distance between two rows."
    return float(torch.pdist(torch.from_numpy(features).double()).mean())


def frechet(a: np.ndarray, b: np.ndarray, seed: int, n_draws: int = 50) -> tuple[float, float, float]:
    "Fréchet distance with a basic bootstrap interval; shrunk where there are fewer than two rows per dimension."
    shrinkage = "ledoit-wolf" if min(len(a), len(b)) < 2 * a.shape[1] else None
    rng = np.random.default_rng(seed)

    def between(x, y): return frechet_distance(*(Statistics.of(v, shrinkage=shrinkage) for v in (x, y)), warn=False)
    def again(x): return x[rng.integers(0, len(x), len(x))]

    distance = between(a, b)
    low, high = np.quantile([between(again(a), again(b)) for _ in range(n_draws)], (.025, .975))
    return distance, max(2 * distance - high, 0.), 2 * distance - low


def sampled(case: Case, generator, n: int = 4000, chunk: int = 1000) -> tuple[torch.Tensor, float, float]:
    "Ambiguous images among samples, their share, and CPU seconds per 1,000 of them."
    kept, started = [], clock()
    for z in draw_noise(n, generator.z_dim, case.seed + 1).split(chunk):
        images = generate(generator, z=z)
        kept.append(images[torch.from_numpy(case.undecided(images))])
    kept, seconds = torch.cat(kept), clock() - started
    return kept, len(kept) / n, 1000 * seconds / max(len(kept), 1)


def searched(case: Case, generator, how: str, n: int = 1000, discriminator=None) -> tuple[torch.Tensor, float, float]:
    "The same by a search."
    started = clock()
    found = search_boundary(case.model, generator, case.classes, n, how, samples=case.few, discriminator=discriminator,
                            seed=case.seed)
    seconds, good = clock() - started, found.undecided(TAU)
    return found.images[torch.from_numpy(good)], float(good.mean()), 1000 * seconds / max(good.sum(), 1)


def random_pairs(scene, classes, ends):
    "Bisection between ends that have nothing to do with each other."
    return SEARCHES["bisect"](scene, classes, ends)


def near_pairs(scene, classes, ends):
    "Bisection between an end and the nearest of 64 of the other class."
    return SEARCHES["bisect"](scene, classes, ends)


random_pairs.from_ends, random_pairs.candidates = True, 1
near_pairs.from_ends, near_pairs.candidates = True, 64


def run(case: Case):
    "Rows of a case, one after another, with images."
    yield case.row("real, next least sure", case.next, np.nan, np.nan), case.next
    yield case.row("real, any", case.any, np.nan, np.nan), case.any
    per_epoch = len(case.few) // 64
    n_epochs = round(N_UPDATES / per_epoch)
    started = clock()
    start = train_gan(case.few, Gan(n_epochs=n_epochs, **GAN), seed=case.seed)
    step1 = clock() - started
    images, share, seconds = sampled(case, start.generator)
    yield case.row("step 1, sampled", images, share, seconds) | {"step1": step1}, images
    pair = [("step 1, bisected", "bisect", 1000, None), ("step 1, bisected, near pairs", near_pairs, 1000, None)]
    searches = pair if case.classes is None else []
    searches.append(("step 1, descended", "descend", 200, start.nets.discriminator))
    for way, how, n, discriminator in searches:
        images, share, seconds = searched(case, start.generator, how, n, discriminator)
        yield case.row(way, images, share, seconds), images
    started = clock()
    autoencoder = _fit_autoencoder(case.few, N_UPDATES, seed=case.seed)
    training = clock() - started
    plain = ("bisected", "bisect", 1000) if case.classes is None else ("descended", "descend", 200)
    images, share, seconds = searched(case, autoencoder, *plain[1:])
    yield case.row(f"autoencoder, {plain[0]}", images, share, seconds, training), images
    if case.classes is None:
        images, share, seconds = searched(case, autoencoder, random_pairs, 400)
        yield case.row("autoencoder, bisected, random pairs", images, share, seconds, training), images
    ways = {"abs 25": Confusion(N_STEP2), "gaussian 1": Confusion(2, "gaussian")}
    if case.classes is not None: ways = {"kldb 5": Confusion(N_STEP2, "kldb", classes=case.classes)}
    for way, confusion in {"alpha 0": replace(next(iter(ways.values())), n_epochs=2, alpha=0.), **ways}.items():
        keep = Keep()
        train_gasten(case.model, case.few, start, confusion, Gan(**GAN), seed=case.seed, hooks=[keep],
                     measures=lambda generator: {})
        for epoch, (generator, training) in enumerate(keep.kept, 1):
            images, share, seconds = sampled(case, generator)
            yield case.row(f"step 2, {way}", images, share, seconds, training, epoch), images
        images, share, seconds = searched(case, generator, *plain[1:])       # in the generator of the last epoch
        yield case.row(f"step 2, {way}, {plain[0]}", images, share, seconds, training, epoch), images


class EachEpoch(Hook):
    "Calls a function with each epoch's generator and the CPU seconds of training until then, which it does not count."

    def __init__(self, call): self.call, self.seconds = call, 0.

    def before_fit(self, nets, samples, n_epochs): self.started = clock()

    def after_epoch(self, epoch, nets, samples, metrics):
        self.seconds += clock() - self.started
        self.call(epoch, nets.sampler, self.seconds)
        self.started = clock()


def full_size(case: Case, n_epochs: int = 10):
    "Step 2 of the paper's size, and after every epoch a bisection in the generator of step 1's end."
    started = clock()
    start = train_gan(case.few, Gan(n_epochs=5, ema=.99), seed=case.seed)
    step1, ways = clock() - started, {}

    def compare(epoch, generator, training):
        for way, (images, share, seconds) in {"step 2": sampled(case, generator),
                                              "bisected": searched(case, start.generator, "bisect")}.items():
            ways[way] = case.row(way, images, share, seconds)
        row = {"case": case.name, "seed": case.seed, "epoch": epoch, "updates": epoch * (len(case.few) // 64),
               "images": len(case.few), "step1": step1, "training": training, "sampling": ways["step 2"]["seconds"],
               "bisection": ways["bisected"]["seconds"]}
        for name in ("yield", "frechet", "low", "high", "coverage", "diversity"):
            row |= {name: ways["step 2"].get(name), f"bisected_{name}": ways["bisected"].get(name)}
        store([row], "full_size", ("case", "seed", "epoch"))
        print(row, flush=True)

    train_gasten(case.model, case.few, start, Confusion(n_epochs), Gan(ema=.99), seed=case.seed,
                 hooks=[EachEpoch(compare)], measures=lambda generator: {})


def store(rows: list[dict], name: str, keys: tuple[str, ...]) -> None:
    "Add rows to a table, in place of those with the same keys."
    path, new = HERE / "results" / f"{name}.parquet", pd.DataFrame(rows)
    table = pd.concat([pd.read_parquet(path), new]) if path.exists() else new
    table = table.drop_duplicates(list(keys), keep="last").reset_index(drop=True)
    with atomic_path(path) as temporary: table.to_parquet(temporary)


def store_images(case: Case, way: str, images: torch.Tensor, n: int = 10) -> None:
    "Add some images of a way to the file of images."
    if len(images) == 0: return
    path = HERE / "results" / "images.npz"
    held = dict(np.load(path)) if path.exists() else {}
    held[f"{case.name}: {way}"] = case.few.denormalize(images[:n])
    with atomic_path(path) as temporary: np.savez_compressed(temporary, **held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/boundary"), help="networks that are trained once")
    parser.add_argument("--full-size", action="store_true", help="seconds beside a step 2 of the paper's size, once")
    options = parser.parse_args()
    if options.full_size:
        for seed in options.seeds:
            for name in options.cases: full_size(Case(name, seed, options.folder, n_images=None))
        return
    for seed in options.seeds:
        for name in options.cases:
            case = Case(name, seed, options.folder)
            for row, images in run(case):
                store([row], "compare", ("case", "seed", "way", "epoch"))
                if seed == 0: store_images(case, f"{row['way']}, epoch {row['epoch']}" if row["epoch"] else row["way"], images)
                shown = " ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float) and np.isfinite(v))
                print(name, seed, row["way"], row["epoch"], shown, flush=True)


if __name__ == "__main__": main()
