"""Judge's table, islands, parts and gate for ambiguous images of several pairs of classes.

    AMBIGUITY_NB_DATA=FOLDER python experiments/parts/measure.py --pairs mnist-7v1,mnist-5v3 --models nf2,lenet --seeds 0 --cache CACHE

writes experiments/parts/results/{judged,islands,gate,parts,agreement}.csv, a row for each pair, audited network and seed. Networks and
step-1 generators are kept in CACHE.
"""
import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ambiguity_nb.core import save_state
from ambiguity_nb.gasten import Gan, load_epoch, saved_epochs, train_gan
from ambiguity_nb.islands import find_islands
from ambiguity_nb.latent_search import search_boundary
from ambiguity_nb.models import build_model, load_weights, predict_embeddings, predict_logits, save_model
from ambiguity_nb.parts import _train_judges, _who_is_unsure, find_parts
from ambiguity_nb.sources import load_samples
from ambiguity_nb.study import generated_samples
from ambiguity_nb.training import Training, fit

RESULTS = Path(__file__).parent / "results"
AUDITED = {"nf2": ("cnn", {"nf": 2}, Training(1)), "nf8": ("cnn", {"nf": 8}, Training(1)),
           "lenet": ("lenet", {}, Training(5)), "resnet": ("resnet_small", {}, Training(3))}


def kept(path, build, train):
    "A network from its file, or trained and written there."
    model = build()
    if path.exists(): load_weights(path, model)
    else:
        train(model)
        save_model(path, model)
    return model.eval()


def judges_of(data, train, cache, seed):
    "Two judges of all classes."
    paths = [cache / f"judge-{data}-{seed}-{k}.safetensors" for k in range(2)]
    if not all(p.exists() for p in paths):
        for p, judge in zip(paths, _train_judges(train, 2, 100 + 10 * seed), strict=True): save_model(p, judge)
    judges = []
    for k, path in enumerate(paths):
        judge = build_model(("resnet_small", "lenet")[k], train, 0)
        load_weights(path, judge)
        judge.classes = train.classes
        judges.append(judge.eval())
    return judges


def study(pair, audited, seed, n, cache, noise=0, n_nulls=99):
    "All tables of one pair, audited network and seed."
    data, _, ab = pair.rpartition("-")
    pos, neg = ab.split("v")
    everything = load_samples(data, "train")
    train = everything.binary(pos, neg)
    judges = judges_of(data, everything, cache, 0)
    folder = cache / f"gan-{pair}"
    if not folder.exists() or not saved_epochs(folder):
        train_gan(train, Gan(n_epochs=14, filters=32, ema=.99, save_every=2, measure_every=100), seed=0, folder=folder)
    generator = load_epoch(folder, device="cpu").generator.eval()
    name, options, training = AUDITED[audited]
    model = kept(cache / f"audited-{pair}-{audited}-{seed}.safetensors", lambda: build_model(name, train, seed, **options),
                 lambda m: fit(m, train, training, seed=seed))
    found = search_boundary(model, generator, (0, 1), n, samples=train, seed=noise + seed)
    inputs = generated_samples(found.images, train)
    key = {"pair": pair, "audited": audited, "seed": seed, "noise": noise}
    tables, seconds = {}, {}
    names = inputs.classes
    tables["judged"] = pd.concat([_who_is_unsure(j, inputs, names).reset_index().assign(judge=k)
                                  for k, j in zip(("resnet_small", "lenet"), judges, strict=True)])
    started = time.process_time()
    spaces = {"audited": predict_embeddings(model, inputs), "judge": predict_embeddings(judges[0], inputs)}
    rows = []
    for space, features in spaces.items():
        islands = find_islands(features, n_spaces=2, seed=seed)
        said = np.asarray(judges[0].classes)[predict_logits(judges[0], inputs).argmax(1)]
        split = "; ".join(f"{k}: " + ", ".join(f"{c} {v}" for c, v in zip(*np.unique(said[islands.labels == k], return_counts=True), strict=True))
                          for k in range(islands.n_islands))
        rows.append({"space": space, "islands": islands.n_islands, "p_value": islands.p_value, "judge says": split})
    tables["islands"] = pd.DataFrame(rows)
    seconds["islands"] = time.process_time() - started
    started = time.process_time()
    parts = find_parts(judges, inputs, generator=generator, z=found.z, real=train.subset(slice(0, 3000)), features=spaces["audited"],
                       n_nulls=n_nulls, seed=seed)
    seconds["parts"] = time.process_time() - started
    tables["gate"] = parts.gate.reset_index()
    style = parts.style.drop(index="all parts").reset_index(drop=True)
    tables["parts"] = pd.concat([parts.summary().reset_index(), style], axis=1)
    tables["agreement"] = parts.agreement.reset_index()
    tables["summary"] = pd.DataFrame([{"parts": parts.n_parts, "separate": parts.separate, "in_frame": parts.in_frame, **parts.evidence,
                                       **{f"style {k}": v for k, v in parts.style.loc["all parts"].items()},
                                       "mean": parts.words[0], **{f"seconds {k}": v for k, v in seconds.items()}}])
    return {k: t.assign(**key) for k, t in tables.items()}, parts, train


def main():
    "Run what is asked for, writing after each study."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="mnist-7v1")
    parser.add_argument("--models", default="nf2,lenet")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--noise", type=int, default=0, help="added to the seed of the noise: fresh images of the same network")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for pair in args.pairs.split(","):
        for audited in args.models.split(","):
            for seed in map(int, args.seeds.split(",")):
                tables, parts, train = study(pair, audited, seed, args.n, args.cache, args.noise)
                save_state(args.cache / f"parts-{pair}-{audited}-{seed}-{args.noise}.safetensors",
                           {"edits": torch.from_numpy(parts.edits), "components": torch.from_numpy(parts.components)})
                parts.plot(train.subset(slice(0, 3000)), all_parts=True).savefig(args.cache / f"parts-{pair}-{audited}-{seed}-{args.noise}.png", dpi=110)
                for name, table in tables.items():
                    path = args.out / f"{name}.csv"
                    keys = ["pair", "audited", "seed", "noise"]
                    if path.exists():
                        old = pd.read_csv(path, dtype={"audited": str})
                        same = (old.pair == pair) & (old.audited == audited) & (old.seed == seed) & (old.noise == args.noise)
                        table = pd.concat([old[~same], table])
                    table[[*keys, *(c for c in table.columns if c not in keys)]].to_csv(path, index=False, float_format="%.4g")
                print(pair, audited, seed, repr(parts), tables["summary"].filter(like="seconds").to_dict("records"), flush=True)


if __name__ == "__main__": main()
