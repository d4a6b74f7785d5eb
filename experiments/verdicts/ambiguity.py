"""Does anything that a training shows measure how ambiguous an input is? Settings where something is known of it.

    AMBIGUITY_NB_DATA=... python experiments/verdicts/ambiguity.py --seeds 2

writes results/ambiguity.parquet: a row per setting, measure and seed. `rank correlation` is with the known ambiguity:
the entropy of the exact posterior of two Gaussian classes; or the smaller weight of a mixture of two images of
different classes, drawn between 0 and .5. `against unusual inputs` is the AUROC of even mixtures, or of images of
classes that people confuse, against images that were altered and show one class: a measure of ambiguity should tell
these apart, one of mere doubt does not. `confused classes` is the AUROC of unaltered test images of classes that people
confuse against those of other classes; `same, right` only among images that the network gets right.

The measures: entropy and disagreement of networks, and the distance, in the codes of an autoencoder, to the nearest
input that `search_boundary` finds between two classes.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from ambiguity_nb.data import Samples
from ambiguity_nb.hardness_types import inject
from ambiguity_nb.latent_search import _fit_autoencoder, _in_batches, search_boundary
from ambiguity_nb.models import build_model, predict_logits
from ambiguity_nb.sources import load_samples, two_gaussians, two_gaussians_posterior
from ambiguity_nb.training import Training, fit

path = Path(__file__).parent / "results" / "ambiguity.parquet"


def entropy(probs: np.ndarray) -> np.ndarray:
    "In nats, of probabilities [..., K]."
    return -(probs * np.log(probs.clip(1e-12))).sum(-1)


def probabilities(names, train: Samples, test: Samples, training: Training, seed: int) -> np.ndarray:  # [M, N, K]
    "What several networks say of samples that they have not seen."
    found = []
    for i, (name, options) in enumerate(names):
        model = build_model(name, train, seed=100 * seed + i, **options)
        fit(model, train, training, seed=100 * seed + i, device="cpu")
        found.append(torch.from_numpy(predict_logits(model, test)).softmax(1).numpy())
    return np.stack(found)


def measures(alike: np.ndarray, other: np.ndarray) -> dict[str, np.ndarray]:
    "By name: one network alone, the mean of several, their disagreement, and that of different architectures."
    return {"entropy, one network": entropy(alike[0]), "entropy, five networks": entropy(alike.mean(0)),
            "disagreement, five networks": entropy(alike.mean(0)) - entropy(alike).mean(0),
            "entropy, architectures": entropy(other.mean(0)),
            "disagreement, architectures": entropy(other.mean(0)) - entropy(other).mean(0)}


def gaussians(seed: int) -> list[dict]:
    "Two classes whose posterior is known; the networks are well fitted, or trained far too long on few rows."
    test = two_gaussians(2000, distance=2., seed=1000 + seed)
    p = two_gaussians_posterior(test.x, distance=2.)
    known, rows = entropy(np.stack([p, 1 - p], 1)), []
    for setting, n, epochs in (("two Gaussians, well fitted", 2000, 10), ("two Gaussians, overfitted", 100, 300)):
        train = two_gaussians(n, distance=2., seed=seed)
        same = test.replace(shift=train.shift, scale=train.scale)
        wide = {"hidden": (128, 128), "dropout": 0.}
        kinds = [("tabular_mlp", {"hidden": h, "dropout": 0.}) for h in ((16,), (64, 64), (128, 128), (256,), (64,) * 4)]
        alike, other = (probabilities(names, train, same, Training(n_epochs=epochs, lr=3e-3), seed)
                        for names in ([("tabular_mlp", wide)] * 5, kinds))
        rows += [{"setting": setting, "seed": seed, "measure": name, "rank correlation": spearmanr(value, known)[0]}
                 for name, value in measures(alike, other).items()]
    return rows


CONFUSED = {"mnist": (((4, 9), (7, 1), (3, 5)), (0, 2, 6, 8)),  # pairs that people confuse; classes that stand alone
            "fashion-mnist": (((6, 0), (6, 2), (6, 4), (2, 4)), (1, 5, 7, 8, 9))}


def boundary_distance(model, train: Samples, images: np.ndarray, seed: int) -> np.ndarray:  # [N]
    "Of codes of images to the nearest code whose image a classifier cannot decide on, over all pairs of classes."
    net, pairs = _fit_autoencoder(train, seed=seed, device="cpu"), []
    for a in range(train.n_classes): pairs += [(train.classes[a], train.classes[b]) for b in range(a)]
    found = search_boundary(model, net, pairs, n=40 * len(pairs), samples=train, seed=seed, device="cpu")
    with torch.no_grad(): codes = _in_batches(net.encoder, train.normalize(images))
    return torch.cat([torch.cdist(part, found.z).min(1).values for part in codes.split(1000)]).numpy()


def all_measures(train: Samples, images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    "Of five networks alike, five architectures, and the latent distance; and what the first network predicts."
    test, training = train.replace(x=images, y=np.zeros(len(images), np.int64), ids=np.arange(len(images))), Training(n_epochs=5)
    kinds = [("lenet", {}), ("mlp", {"nf": 128}), ("cnn", {"nf": 8}), ("lenet", {"dropout": 0.}), ("mlp", {"nf": 32})]
    alike, other = (probabilities(names, train, test, training, seed) for names in ([("lenet", {})] * 5, kinds))
    model = build_model("lenet", train, seed=100 * seed)                            # the first of the five
    fit(model, train, training, seed=100 * seed, device="cpu")
    distance = boundary_distance(model, train, images, seed)
    return measures(alike, other) | {"nearness to the boundary, latent": -distance, "predicted": alike[0].argmax(1)}


def of_images(name: str, seed: int) -> list[dict]:
    "Mixtures of two images, altered images, and plain ones of classes that people do and do not confuse."
    rng, test, train = np.random.default_rng(seed), load_samples(name, "test"), load_samples(name)
    train = train.subset(np.sort(rng.permutation(len(train))[:4000]))
    a, b = rng.integers(len(test), size=(2, 2000))
    a, b = a[test.y[a] != test.y[b]], b[test.y[a] != test.y[b]]
    weight = rng.uniform(0, .5, len(a)).astype(np.float32)
    blend = (1 - weight)[:, None, None, None] * test.x[a] + weight[:, None, None, None] * test.x[b]
    even = (test.x[a].astype(np.float32) + test.x[b]) / 2
    altered = [inject(test.subset(np.arange(1500)), kind, .5, seed=seed) for kind in ("crop_shift", "ood_covariate")]
    unusual = np.concatenate([made.samples.x[made.flags] for made in altered])
    plain = test.subset(np.arange(1500, 4500))
    parts = [blend.round().astype(np.uint8), even.round().astype(np.uint8), unusual, plain.x]
    found = all_measures(train, np.concatenate(parts), seed)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    pairs, alone = CONFUSED[name]
    confused, apart = np.isin(plain.y, np.unique(pairs)), np.isin(plain.y, alone)
    right, rows = np.split(found.pop("predicted"), ends)[3] == plain.y, []
    for measure, value in found.items():
        mixed, half, odd, whole = np.split(value, ends)
        keys = {"seed": seed, "measure": measure}
        rows.append({"setting": f"mixtures, {name}", **keys, "rank correlation": spearmanr(mixed, weight)[0],
                     "against unusual inputs": auroc(half, odd)})
        rows.append({"setting": f"confused classes, {name}", **keys,
                     "against unusual inputs": auroc(whole[confused], odd),
                     "confused classes": auroc(whole[confused], whole[apart]),
                     "same, right": auroc(whole[confused & right], whole[apart & right])})
    return rows


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    "How often the first is higher."
    return roc_auc_score(np.repeat([1, 0], [len(positive), len(negative)]), np.concatenate([positive, negative]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="of data, networks and mixtures")
    rows = []
    for seed in range(parser.parse_args().seeds):
        for part in (gaussians, *(lambda seed, name=name: of_images(name, seed) for name in CONFUSED)):
            rows += part(seed)
            pd.DataFrame(rows).to_parquet(path, index=False)
            print(seed, len(rows), flush=True)
