"""The fifteen rows of "Finding Patterns in Ambiguity" (https://arxiv.org/abs/2408.06302), on full MNIST and Fashion-MNIST.

    AMBIGUITY_NB_DATA=FOLDER python experiments/reproduction/paper.py --seeds 0 1 2
    AMBIGUITY_NB_DATA=FOLDER python experiments/reproduction/paper.py --seeds 0 --step2_epochs 4
    AMBIGUITY_NB_DATA=FOLDER python experiments/reproduction/paper.py --seeds 0 1 2 --lr 0.0005

AMBIGUITY_NB_DATA names the folder of MNIST and FashionMNIST (torchvision's layout). For each row of paper.csv (pair, filters)
and each seed:

- the classifier is the paper's: `cnn` with `nf` filters and no activations, one epoch, Adam 1e-3, batches of 64, all training
  images of the two classes; tested on all their test images
- step 1 is one GAN a pair, shared by its rows and seeds, and smaller than the paper's: 32 filters in place of 64, six epochs
- 15,000 images of step 1, of which the ambiguous ones (|p - .5| <= .1) are counted
- bisection between latents of step 1 (`search_boundary`) for 1,000 ambiguous images
- with --step2_epochs: that many epochs of step 2 from there (`abs` with weight 25; the paper: up to 40), 15,000 images of the
  last one, and of the first

Of each set of ambiguous images: the Fréchet distance to as many of the real images that the classifier is least sure of (at
most 300; features of a LeNet of all classes), what that LeNet says of them, and patterns: `search_patterns` in the features
of the classifier, of at most 600 images and with three settings of UMAP (the setting taken, and the best of UMAP and a
mixture, which is what the paper searched).

With --lr the classifiers alone are trained, with that learning rate, and their accuracy goes into results/rates.csv.

Writes results/classifiers.csv and results/images.csv, a row as soon as it is there; rows that are there are not made again.
What is trained once, step 1 and the LeNet, is kept in --folder.
"""
import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from ambiguity_nb.choosing_epochs import second_opinion
from ambiguity_nb.core import atomic_path
from ambiguity_nb.gasten import Confusion, Gan, generate_ambiguous, load_epoch, saved_epochs, train_gan, train_gasten
from ambiguity_nb.generator_measures import frechet_ambiguous, is_ambiguous, predict_probs
from ambiguity_nb.latent_search import search_boundary
from ambiguity_nb.models import build_model, cnn, load_weights, predict_embeddings, save_model
from ambiguity_nb.pattern_search import search_patterns
from ambiguity_nb.patterns import Clustering, find_patterns
from ambiguity_nb.sources import load_samples
from ambiguity_nb.study import generated_samples
from ambiguity_nb.training import Training, evaluate, fit

HERE = Path(__file__).parent
STEP1 = Gan(n_epochs=6, filters=32, ema=.99, save_every=2, measure_every=100)
N_CLUSTERED, N_TRIALS = 600, 3
KEYS = ["data", "pair", "nf", "seed"]
clock = time.process_time


def known(path: Path, keys: dict) -> bool:
    "Whether a table has a row with these keys."
    if not path.exists(): return False
    table = pd.read_csv(path)
    return bool((table[list(keys)].astype(str) == list(map(str, keys.values()))).all(axis=1).any())


def store(path: Path, row: dict) -> None:
    "Add a row to a table."
    table = pd.concat([pd.read_csv(path), pd.DataFrame([row])]) if path.exists() else pd.DataFrame([row])
    with atomic_path(path) as temporary: table.to_csv(temporary, index=False, float_format="%.5g")
    print(" ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)


class Pair:
    "All that the rows of one pair have in common."

    def __init__(self, data: str, pair: str, folder: Path):
        numbers = list(map(int, pair.split("v")))                            # (positive, negative)
        everything = load_samples(data, "train")
        self.classes = numbers[::-1]                                         # positions of negative, positive
        self.train, self.test = everything.binary(*numbers), load_samples(data, "test").binary(*numbers)
        self.space = build_model("lenet", everything, seed=100)
        path = folder / f"{data}-lenet.safetensors"
        if path.exists(): load_weights(path, self.space)
        else:
            fit(self.space, everything, Training(n_epochs=2), seed=100)
            save_model(path, self.space)
        self.space.eval()
        self.space.classes = everything.classes
        gan = folder / f"gan-{data}-{pair}"
        if not saved_epochs(gan): train_gan(self.train, STEP1, seed=0, folder=gan)
        self.start = load_epoch(gan, device="cpu")
        self.real = predict_embeddings(self.space, self.train)

    def classifier(self, nf: int, seed: int) -> tuple[nn.Module, dict]:
        "The paper's classifier, and a row on it."
        model, started = cnn(nf, 2, 1, (28, 28), seed=seed), clock()
        fit(model, self.train, Training(n_epochs=1, lr=1e-3, batch_size=64), seed=seed)
        seconds = clock() - started
        probs = predict_probs(model, self.test.normalize(self.test.x))
        unsure = int(is_ambiguous(probs, .1).sum())
        return model.eval(), {"accuracy": evaluate(model, self.test)["accuracy"], "ambiguous_test": unsure,
                              "seconds": seconds}

    def images(self, model, images, seed: int) -> dict:
        "Measures of ambiguous images."
        if len(images) < 60: return {}
        inputs = generated_samples(images, self.train)
        probs = predict_probs(model, self.train.normalize(self.train.x))
        distance = frechet_ambiguous(predict_embeddings(self.space, inputs), self.real, probs, seed=seed)[0]
        opinion = second_opinion(self.space, images, self.classes)
        some = np.sort(np.random.default_rng(seed).permutation(len(inputs))[:N_CLUSTERED])
        return {"frechet": distance, **{f"judge_{k}": v for k, v in opinion.items()},
                **patterns(predict_embeddings(model, inputs.subset(some)), seed)}


def patterns(features: np.ndarray, seed: int) -> dict:
    "Figures of two clusterings of one search: the setting taken, and the best of UMAP and a mixture."
    started = clock()
    found = search_patterns(features, n_trials=N_TRIALS, seed=seed)
    best = found.frame[(found.frame["reducer"] == "umap") & (found.frame["clusterer"] == "gmm")].iloc[0]
    settings = ("n_neighbors", "min_dist", "n_components", "n_clusters")
    whole = {k: float(best[k]) if k == "min_dist" else int(best[k]) for k in settings}
    again = find_patterns(features, Clustering("umap", "gmm", **whole), seed=seed)
    row = {"taken_reducer": found.frame.iloc[0]["reducer"], "taken_stability": found.stability}
    for name, clusters in {"taken": found.best, "umap": again}.items():
        row[f"{name}_patterns"] = clusters.n_clusters
        for space in ("embedding", "reduced"):
            for measure in ("silhouette", "davies_bouldin"):
                row[f"{name}_{measure}_{space}"] = float(clusters.quality.loc[space, measure])
    return row | {"clustering_seconds": clock() - started}


def of_row(pair: Pair, row: pd.Series, seed: int, step2_epochs: int, results: Path) -> None:
    "One row of the paper with one seed."
    keys = {"data": row["data"], "pair": row["pair"], "nf": int(row["nf"]), "seed": seed}
    ways = ["step 1, sampled", "step 1, bisected"] + [f"step 2, {e} epochs" for e in [step2_epochs] if e]
    missing = [way for way in ways if not known(results / "images.csv", keys | {"way": way})]
    if not missing: return
    model, facts = pair.classifier(int(row["nf"]), seed)
    if not known(results / "classifiers.csv", keys): store(results / "classifiers.csv", keys | facts)
    for way in missing:
        started, first = clock(), np.nan
        if way == "step 1, bisected":
            found = search_boundary(model, pair.start.generator, (0, 1), 1000, samples=pair.train, seed=seed)
            images, n, count = found.images[found.undecided(.1)], len(found), int(found.undecided(.1).sum())
        else:
            run = pair.start
            if way != "step 1, sampled":
                run, first = step2(pair, model, step2_epochs, seed)
            images, n = generate_ambiguous(run.generator, model, 15_000, seed=seed).images, 15_000
            count = len(images)
        made = {"n": n, "ambiguous": count, "first_epoch": first, "seconds": clock() - started}
        measures = {} if way == "step 1, sampled" else pair.images(model, images, seed)
        store(results / "images.csv", keys | {"way": way} | made | measures)


def step2(pair: Pair, model, n_epochs: int, seed: int):
    "GASTeN's second step, and how many of 15,000 images were ambiguous after its first epoch."
    counts = []

    def count(generator): return counts.append(len(generate_ambiguous(generator, model, 3000, seed=seed))) or {}

    run = train_gasten(model, pair.train, pair.start, Confusion(n_epochs), Gan(filters=32, ema=.99), seed=seed,
                       measures=count)
    return run, 5 * counts[0]


def rates(data: str, name: str, widths, options) -> None:
    "The classifiers of a pair with another learning rate."
    numbers = list(map(int, name.split("v")))
    train, test = (load_samples(data, part).binary(*numbers) for part in ("train", "test"))
    for nf in map(int, widths):
        for seed in options.seeds:
            model = cnn(nf, 2, 1, (28, 28), seed=seed)
            fit(model, train, Training(n_epochs=1, lr=options.lr, batch_size=64), seed=seed)
            store(options.results / "rates.csv", {"data": data, "pair": name, "nf": nf, "seed": seed, "lr": options.lr,
                                                  "accuracy": evaluate(model, test)["accuracy"]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--step2_epochs", type=int, default=0, help="0 leaves step 2 out")
    parser.add_argument("--lr", type=float, help="train classifiers only, with this learning rate")
    parser.add_argument("--pairs", nargs="*", help="such as 5v3; all when left out")
    parser.add_argument("--folder", type=Path, default=Path("runs/reproduction"), help="networks that are trained once")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    options.folder.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(HERE / "paper.csv")
    for (data, name), part in rows.groupby(["data", "pair"], sort=False):
        if options.pairs and name not in options.pairs: continue
        if options.lr:
            rates(data, name, part["nf"], options)
            continue
        pair = Pair(data, name, options.folder)
        for seed in options.seeds:
            for _, row in part.iterrows(): of_row(pair, row, seed, options.step2_epochs, options.results)


if __name__ == "__main__": main()
