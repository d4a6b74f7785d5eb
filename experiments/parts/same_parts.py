"""Do the parts come back on fresh noise, from another classifier seed and from another network?

    python experiments/parts/same_parts.py --cache CACHE

CACHE is that of `measure.py`, which keeps the maps of each study there. For every two studies of a pair, and for 2 to 5
parts: the lowest and all matched cosines between the parts of the one and of the other (all maps, upright), and beside
them the control, parts of the first study and of its copula null. Writes results/same_parts.csv.
"""
import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from ambiguity_nb.core import load_state
from ambiguity_nb.parts import _copula, _factorize, _halves, _match

RESULTS = Path(__file__).parent / "results"


def main():
    "Compare parts."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "same_parts.csv")
    args, studies, rows = parser.parse_args(), {}, []
    for path in sorted(args.cache.glob("parts-*.safetensors")):
        state = load_state(path)
        pair, audited, seed, noise = path.stem.removeprefix("parts-").rsplit("-", 3)
        if "maps" in state: studies[pair, audited, seed, noise] = state["maps"].double().numpy()
    of = {(key, r): _factorize(_halves(maps), r)[1] for key, maps in studies.items() for r in range(2, 6)}
    lot = np.random.default_rng(0)
    null = {(key, r): _match(of[key, r], _factorize(_halves(_copula(maps, lot)), r)[1])[0].min()
            for key, maps in studies.items() for r in range(2, 6)}
    for first, second in combinations(studies, 2):
        if first[0] != second[0]: continue
        both = zip(("network", "seed", "noise"), first[1:], second[1:], strict=True)
        differs = " and ".join(name for name, a, b in both if a != b)
        for r in range(2, 6):
            cosines = _match(of[first, r], of[second, r])[0]
            names = {"pair": first[0], "first": "-".join(first[1:]), "second": "-".join(second[1:])}
            rows.append({**names, "differs": differs, "parts": r, "lowest": cosines.min(), "null": null[first, r],
                         "cosines": " ".join(f"{c:.3f}" for c in np.sort(cosines))})
    table = pd.DataFrame(rows)
    table.to_csv(args.out, index=False, float_format="%.3f")
    print(table.to_string())


if __name__ == "__main__": main()
