"""Does it help to collect, weight or relabel the real samples near the parts of a classifier's doubts?

    AMBIGUITY_NB_DATA=FOLDER python experiments/parts/acting.py --cache CACHE --pairs mnist-5v3 --models nf2

CACHE is that of `measure.py`: judges and generators of step 1 are kept there. For each seed: 2,000 training samples and
8,000 for a pool are drawn; a classifier is trained; 300 images that it cannot decide on are bisected in the generator's
latents; `find_parts` cuts what would decide them into parts. 200 real samples are then chosen

- `near parts`: in equal numbers those nearest to the members of each part, in the features of a judge
- `near inputs`: those nearest to any of the images, whatever their part, in the same features
- `least sure`: those of which the classifier is least sure
- `at random`
- `least likely label` (relabeling only): those whose label the classifier gives the lowest probability

and the classifier is trained again from the same weights, with the chosen samples

- `collect`: taken from the pool, added
- `weight`: taken from the training samples, five times each
- `relabel`: taken from the training samples, of which a tenth had been given the wrong label before the classifier was
  trained and its doubts were cut into parts; wrong labels among the chosen are put right

Writes results/acting.csv: a row for each pair, model, seed, action and choice: accuracy and mean loss on all test
images of the pair, and how many wrong labels were found. `nothing` is the classifier trained again on what it had.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from measure import generator_of, judges_of, read

from ambiguity_nb.latent_search import search_boundary
from ambiguity_nb.models import build_model, predict_embeddings, predict_logits
from ambiguity_nb.parts import _near_parts, find_parts
from ambiguity_nb.patterns import nearest_rows, unit_rows
from ambiguity_nb.study import generated_samples
from ambiguity_nb.training import Training, evaluate, fit

RESULTS = Path(__file__).parent / "results"
MODELS = {"nf2": ("cnn", {"nf": 2}, Training(8)), "lenet": ("lenet", {}, Training(8))}
N_TRAIN, N_POOL, N_CHOSEN, N_IMAGES, TIMES, WRONG = 2000, 8000, 200, 300, 5, .1


def trained(how, samples, seed):
    "A classifier trained from the weights of a seed."
    name, options, training = MODELS[how]
    model = build_model(name, samples, seed, **options)
    fit(model, samples, training, seed=seed)
    return model.eval()


def together(*parts):
    "Samples after one another."
    return parts[0].replace(x=np.concatenate([p.x for p in parts]), y=np.concatenate([p.y for p in parts]), ids=None)


class Choice:
    "Which real samples each way of choosing takes."

    def __init__(self, model, judges, generator, train, known, seed):
        found = search_boundary(model, generator, (0, 1), N_IMAGES, samples=train, seed=seed)
        self.model, self.judge, self.seed, self.inputs = model, judges[1], seed, generated_samples(found.images, train)
        latent = {"generator": found.generator, "z": found.z}
        self.parts = find_parts(judges, self.inputs, **latent, real=known, n_nulls=1, seed=seed)

    def near_parts(self, real):
        "Positions, as many of each part."
        near = _near_parts(self.judge, self.inputs, real, self.parts.shares, N_CHOSEN * 2)
        return np.array(list(dict.fromkeys(near.T.ravel()))[:N_CHOSEN])

    def near_inputs(self, real):
        "Positions of those nearest to any image."
        here, there = (unit_rows(predict_embeddings(self.judge, s)) for s in (self.inputs, real))
        return nearest_rows(here, there, k=1)[1][:, 0].argsort(kind="stable")[:N_CHOSEN]

    def of(self, real):
        "Positions by way of choosing."
        logits = predict_logits(self.model, real)
        margin = logits[:, 1] - logits[:, 0]
        lot = np.random.default_rng(self.seed + 999).permutation(len(real))[:N_CHOSEN]
        return {"near parts": self.near_parts(real), "near inputs": self.near_inputs(real),
                "least sure": np.abs(margin).argsort(kind="stable")[:N_CHOSEN], "at random": lot,
                "least likely label": (margin * (2 * real.y - 1)).argsort(kind="stable")[:N_CHOSEN]}


def study(pair, how, seed, cache):
    "A row for each action and choice."
    data, _, ab = pair.rpartition("-")
    everything = read(data, "train")
    both, test = everything.binary(*ab.split("v")), read(data, "test").binary(*ab.split("v"))
    judges, generator = judges_of(data, everything, cache), generator_of(pair, both, cache)
    order, rows = np.random.default_rng(seed).permutation(len(both)), []
    train, pool = both.subset(order[:N_TRAIN]), both.subset(order[N_TRAIN:N_TRAIN + N_POOL])

    def add(action, name, samples, **more):
        measured = evaluate(trained(how, samples, seed), test)
        rows.append({"pair": pair, "model": how, "seed": seed, "action": action, "choice": name, "n_test": len(test),
                     "accuracy": measured["accuracy"], "loss": measured["loss"], **more})

    choice = Choice(trained(how, train, seed), judges, generator, both, train, seed)
    facts = {"parts": choice.parts.n_parts}
    add("collect", "nothing", train, **facts)
    rows.append(rows[0] | {"action": "weight"})
    for name, chosen in choice.of(pool).items():
        if name != "least likely label": add("collect", name, together(train, pool.subset(chosen)), **facts)
    for name, chosen in choice.of(train).items():
        if name == "least likely label": continue
        add("weight", name, together(train, *[train.subset(chosen)] * (TIMES - 1)), **facts)
    wrong = np.random.default_rng(seed + 7).permutation(N_TRAIN)[:round(WRONG * N_TRAIN)]
    y = train.y.copy()
    y[wrong] = 1 - y[wrong]
    noisy = train.replace(y=y)
    choice = Choice(trained(how, noisy, seed), judges, generator, both, noisy, seed)
    add("relabel", "nothing", noisy, parts=choice.parts.n_parts, found=0)
    for name, chosen in choice.of(noisy).items():
        mended = y.copy()
        mended[chosen] = train.y[chosen]
        add("relabel", name, train.replace(y=mended), parts=choice.parts.n_parts, found=np.isin(wrong, chosen).sum())
    return pd.DataFrame(rows)


def main():
    "Run what is asked for, writing after each seed."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="mnist-5v3")
    parser.add_argument("--models", default="nf2")
    parser.add_argument("--seeds", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "acting.csv")
    args = parser.parse_args()
    for pair in args.pairs.split(","):
        for how in args.models.split(","):
            for seed in map(int, args.seeds.split(",")):
                table, keys = study(pair, how, seed, args.cache), ["pair", "model", "seed"]
                if args.out.exists():
                    old = pd.read_csv(args.out)
                    table = pd.concat([old[~(old[keys].astype(str) == [pair, how, str(seed)]).all(axis=1)], table])
                table.to_csv(args.out, index=False, float_format="%.5g")
                print(pair, how, seed, flush=True)


if __name__ == "__main__": main()
