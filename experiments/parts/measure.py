"""Judge's table, islands, parts and gate for ambiguous images of several pairs of classes.

    AMBIGUITY_NB_DATA=FOLDER python experiments/parts/measure.py --pairs mnist-7v1,mnist-5v3 --cache CACHE

writes experiments/parts/results/{judged,islands,gate,parts,agreement,summary}.csv, rows for each pair, audited network,
seed and noise; those of another run stay. Networks, step-1 generators and maps are kept in CACHE. FOLDER holds MNIST
and FashionMNIST as torchvision lays them out, and cifar10/train-12k.npz and test-3k.npz (`x`, `y`, `classes`).
"""
import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ambiguity_nb.core import save_state
from ambiguity_nb.data import Samples
from ambiguity_nb.gasten import Gan, load_epoch, saved_epochs, train_gan
from ambiguity_nb.islands import find_islands
from ambiguity_nb.latent_search import search_boundary
from ambiguity_nb.models import build_model, load_weights, predict_embeddings, predict_logits, save_model
from ambiguity_nb.parts import _blurred, _gray, _pooled, _upright, _warp, _who_is_unsure, find_parts
from ambiguity_nb.patterns import unit_rows
from ambiguity_nb.prototypes import _cover
from ambiguity_nb.sources import load_samples
from ambiguity_nb.study import generated_samples
from ambiguity_nb.training import Training, evaluate, fit

RESULTS = Path(__file__).parent / "results"
AUDITED = {"nf2": ("cnn", {"nf": 2}, Training(1)), "nf8": ("cnn", {"nf": 8}, Training(1)),
           "lenet": ("lenet", {}, Training(5)), "resnet": ("resnet_small", {}, Training(3))}

GANS = {"mnist-7v1": 14, "mnist-5v3": 14, "fashion-mnist-5v7": 8}           # epochs; an autoencoder for other pairs


def kept(path, build, train):
    "A network from its file, or trained and written there."
    model = build()
    if path.exists(): load_weights(path, model)
    else:
        train(model)
        save_model(path, model)
    return model.eval()


def read(data, part):
    "Images of all classes."
    if data != "cifar10": return load_samples(data, part)
    file = {"train": "train-12k.npz", "test": "test-3k.npz"}[part]
    held = np.load(Path(os.environ["AMBIGUITY_NB_DATA"]) / "cifar10" / file)
    return Samples(held["x"], held["y"].astype(np.int64), tuple(map(str, held["classes"])), "cifar10")


def judges_of(data, everything, cache):
    "Two judges of all classes, from all training samples: the first makes maps, the second tests them."
    judges, often = [], max(1, 60_000 // len(everything))
    for k, (name, n_epochs) in enumerate((("resnet_small", 2), ("lenet", 5))):
        training = Training(n_epochs * often, lr=3e-3, schedule="onecycle")
        judge = kept(cache / f"judge-{data}-all-{k}.safetensors",
                     lambda: build_model(name, everything, 101 + k),               # noqa: B023
                     lambda m: fit(m, everything, training, seed=101 + k))        # noqa: B023
        judge.classes = everything.classes
        judges.append(judge)
    return judges


def generator_of(pair, train, cache):
    "The step-1 GAN of a pair, or None: `search_boundary` then trains an autoencoder."
    folder, n_epochs = cache / f"gan-{pair}", GANS.get(pair)
    if n_epochs is None: return None
    if not folder.exists() or not saved_epochs(folder):
        options = Gan(n_epochs=n_epochs, filters=32, ema=.99, save_every=2, measure_every=100)
        train_gan(train, options, seed=0, folder=folder)
    return load_epoch(folder, device="cpu").generator.eval()


def shares_of(parts):
    "Signed maps [N, P], upright, averaged to about 14 x 14: what parts of several studies are compared on."
    frame = _upright(_gray(parts.inputs.normalize(parts.inputs.x))) * torch.tensor([1., 0, 0])
    maps = _blurred(torch.from_numpy(parts.ends[:, 0] - parts.ends[:, 1]))
    return torch.from_numpy(_pooled(_warp(maps, frame))).float()


def study(pair, audited, seed, n, cache, noise=0, n_nulls=99):
    "All tables of one pair, audited network and seed."
    data, _, ab = pair.rpartition("-")
    pos, neg = ab.split("v")
    everything, test = read(data, "train"), read(data, "test")
    train = everything.binary(pos, neg)
    judges, generator = judges_of(data, everything, cache), generator_of(pair, train, cache)
    name, options, training = AUDITED[audited]
    path = cache / f"audited-{pair}-{audited}-{seed}.safetensors"
    model = kept(path, lambda: build_model(name, train, seed, **options), lambda m: fit(m, train, training, seed=seed))
    found = search_boundary(model, generator, (0, 1), n, samples=train, seed=noise + seed)
    inputs = generated_samples(found.images, train)
    key = {"pair": pair, "audited": audited, "seed": seed, "noise": noise}
    tables, seconds = {}, {}
    names = inputs.classes
    tables["judged"] = pd.concat([_who_is_unsure(j, inputs, names).reset_index().assign(judge=k)
                                  for k, j in zip(("resnet_small", "lenet"), judges, strict=True)])
    started = time.process_time()
    networks, rows = {"audited": model, "resnet_small": judges[0], "lenet": judges[1]}, []
    spaces = {name: predict_embeddings(network, inputs) for name, network in networks.items()}
    said = np.asarray(judges[1].classes)[predict_logits(judges[1], inputs).argmax(1)]
    for space, features in spaces.items():
        islands = find_islands(features, n_spaces=3, seed=seed)
        counts = [pd.Series(said[islands.labels == k]).value_counts() for k in range(islands.n_islands)]
        split = "; ".join(f"{k}: " + ", ".join(f"{n} x {c}" for c, n in v.items()) for k, v in enumerate(counts))
        rows.append({"space": space, "islands": islands.n_islands, "p_value": islands.p_value, "lenet says": split})
    tables["islands"] = pd.DataFrame(rows)
    seconds["islands"] = time.process_time() - started
    started = time.process_time()
    parts = find_parts(judges, inputs, generator=found.generator, z=found.z, real=train.subset(slice(0, 3000)),
                       features=spaces["audited"], n_nulls=n_nulls, seed=seed)
    seconds["parts"] = time.process_time() - started
    tables["gate"] = parts.gate.reset_index()
    style = parts.style.drop(index="all parts").reset_index(drop=True)
    tables["parts"] = pd.concat([parts.summary().reset_index(), style], axis=1)
    tables["agreement"] = parts.agreement.reset_index()
    in_all = parts.style.loc["all parts"]
    cover = _cover(unit_rows(spaces["lenet"]), seed=seed)[1]["variance explained"]
    row = {"parts": parts.n_parts, "separate": parts.separate, "in_frame": parts.in_frame, **parts.evidence,
           **{f"style {k}": v for k, v in in_all.items()}, "mean": parts.words[0],
           "accuracy": evaluate(model, test.binary(pos, neg))["accuracy"],
           "accuracy resnet_small": evaluate(judges[0], test)["accuracy"],
           "accuracy lenet": evaluate(judges[1], test)["accuracy"],
           "cover": cover.iloc[0], "cover at random": cover.iloc[1], "cover random best": cover.iloc[2]}
    tables["summary"] = pd.DataFrame([row | {f"seconds {k}": v for k, v in seconds.items()}])
    return {k: t.assign(**key) for k, t in tables.items()}, parts, train


def main():
    "Run what is asked for, writing after each study."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="mnist-7v1")
    parser.add_argument("--models", default="nf2,lenet")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--noise", type=int, default=0, help="added to the seed of the noise: fresh images")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for pair in args.pairs.split(","):
        for audited in args.models.split(","):
            for seed in map(int, args.seeds.split(",")):
                tables, parts, train = study(pair, audited, seed, args.n, args.cache, args.noise)
                at = args.cache / f"parts-{pair}-{audited}-{seed}-{args.noise}"
                arrays = {"edits": torch.from_numpy(parts.edits), "components": torch.from_numpy(parts.components),
                          "maps": shares_of(parts)}
                save_state(at.with_suffix(".safetensors"), arrays)
                parts.plot(train.subset(slice(0, 3000)), all_parts=True).savefig(at.with_suffix(".png"), dpi=110)
                for name, table in tables.items():
                    path = args.out / f"{name}.csv"
                    keys = ["pair", "audited", "seed", "noise"]
                    if path.exists():
                        old = pd.read_csv(path, dtype={"audited": str})
                        same = (old[keys].astype(str) == [pair, audited, str(seed), str(args.noise)]).all(axis=1)
                        table = pd.concat([old[~same], table])
                    table = table[[*keys, *(c for c in table.columns if c not in keys)]]
                    table.to_csv(path, index=False, float_format="%.4g")
                print(pair, audited, seed, args.noise, repr(parts), flush=True)


if __name__ == "__main__": main()
