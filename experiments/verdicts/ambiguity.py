"""Does anything that a training shows measure how ambiguous an input is? Three settings where the answer is known.

    AMBIGUITY_NB_DATA=... python experiments/verdicts/ambiguity.py

writes results/ambiguity.parquet: a row per setting, measure and seed. `rank correlation` is with the known ambiguity:
the entropy of the exact posterior of two Gaussian classes; or the smaller weight of a mixture of two MNIST images of
different classes, drawn between 0 and .5. `against unusual inputs` is the AUROC of even mixtures against images that
were altered and show one class: a measure of ambiguity should tell these apart, one of mere doubt does not.
"""
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from ambiguity_nb.data import Samples
from ambiguity_nb.hardness_types import inject
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


def mixtures(seed: int) -> list[dict]:
    "Mixtures of two images of different classes, the weight of the second between 0 and .5; and altered images."
    rng, test = np.random.default_rng(seed), load_samples("mnist", "test")
    train = load_samples("mnist")
    train = train.subset(np.sort(rng.permutation(len(train))[:6000]))
    a, b = rng.integers(len(test), size=(2, 3000))
    a, b = a[test.y[a] != test.y[b]], b[test.y[a] != test.y[b]]
    weight = rng.uniform(0, .5, len(a)).astype(np.float32)
    blend = (1 - weight)[:, None, None, None] * test.x[a] + weight[:, None, None, None] * test.x[b]
    even = (test.x[a].astype(np.float32) + test.x[b]) / 2
    altered = [inject(test.subset(np.arange(2000)), kind, .5, seed=seed) for kind in ("crop_shift", "ood_covariate")]
    unusual = np.concatenate([made.samples.x[made.flags] for made in altered])
    x = np.concatenate([blend.round().astype(np.uint8), even.round().astype(np.uint8), unusual])
    mixed = Samples(x, np.zeros(len(x), np.int64), test.classes, "mixtures")
    kinds = [("lenet", {}), ("mlp", {"nf": 128}), ("cnn", {"nf": 8}), ("lenet", {"dropout": 0.}), ("mlp", {"nf": 32})]
    found = [probabilities(names, train, mixed, Training(n_epochs=5), seed) for names in ([("lenet", {})] * 5, kinds)]
    n, rows = len(a), []
    for name, value in measures(*found).items():
        positive = np.repeat([1, 0], [n, len(unusual)])
        rows.append({"setting": "mixtures of MNIST images", "seed": seed, "measure": name,
                     "rank correlation": spearmanr(value[:n], weight)[0],
                     "against unusual inputs": roc_auc_score(positive, value[n:])})
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = []
    for seed in range(3):
        rows += gaussians(seed) + mixtures(seed)
        pd.DataFrame(rows).to_parquet(path, index=False)
        print(seed, flush=True)
