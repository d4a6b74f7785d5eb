"""Do the parts come back on fresh noise, and how many agree between halves?

    AMBIGUITY_NB_DATA=FOLDER python experiments/parts/same_parts.py --cache CACHE

prints, for MNIST 7 against 1 and two draws of noise, the lowest matched cosine between parts of disjoint halves of 500
and of all 1,000 inputs (eight draws, ascending), and the matched cosines between the parts of the two draws of noise. CACHE
is that of `measure.py`, which has to be run before.
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from measure import judges_of, kept

from ambiguity_nb.gasten import load_epoch
from ambiguity_nb.latent_search import search_boundary
from ambiguity_nb.models import build_model
from ambiguity_nb.parts import _blurred, _factorize, _gray, _halves, _match, _pooled, _upright, _warp, counterfactuals
from ambiguity_nb.sources import load_samples
from ambiguity_nb.study import generated_samples


def main():
    "Compare parts."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    cache = parser.parse_args().cache
    everything = load_samples("mnist", "train")
    train, judges = everything.binary("7", "1"), judges_of("mnist", everything, cache)
    generator = load_epoch(cache / "gan-mnist-7v1", device="cpu").generator.eval()
    model = kept(cache / "audited-mnist-7v1-nf2-0.safetensors", lambda: build_model("cnn", train, 0, nf=2), None)
    shares = {}
    for noise in (0, 1000):
        found = search_boundary(model, generator, (0, 1), 1000, samples=train, seed=noise)
        inputs = generated_samples(found.images, train)
        ends = counterfactuals(judges[0], inputs, generator=generator, z=found.z)
        upright = _upright(_gray(inputs.normalize(inputs.x))) * torch.tensor([1., 0, 0])
        shares[noise] = rows = _halves(_pooled(_warp(_blurred(torch.from_numpy(ends[:, 0] - ends[:, 1])), upright)))
        for n in (500, 1000):
            rng, lowest = np.random.default_rng(0), {r: [] for r in range(2, 7)}
            for _ in range(8):
                order = rng.permutation(1000)[:n]
                for r, values in lowest.items():
                    halves = (_factorize(rows[part], r)[1] for part in (order[:n // 2], order[n // 2:]))
                    values.append(_match(*halves)[0].min())
            print(noise, n, {r: np.sort(v).round(2).tolist() for r, v in lowest.items()}, flush=True)
    for r in range(2, 7):
        print("across noise", r, _match(*(_factorize(rows, r)[1] for rows in shares.values()))[0].round(3))


if __name__ == "__main__": main()
