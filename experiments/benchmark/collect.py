"""The tables that notebooks show, from runs of the configurations beside this file, finished or not.

    python experiments/benchmark/collect.py RUNS [NAME ...]

RUNS is the folder given as --run_folder; NAME.yml gives results/NAME.parquet. All configurations whose run is there
when no name is given.
"""
import sys
from pathlib import Path

import numpy as np
import yaml

from ambiguity_nb.benchmark import Grid, Store
from ambiguity_nb.benchmark_figures import score_agreement, score_stability

here, n_draws = Path(__file__).parent, 40


def small(frame):
    "Single precision, five places, and the first resamples of each row."
    for name, column in frame.select_dtypes("float64").items(): frame[name] = column.round(5).astype(np.float32)
    if "auroc_draws" in frame:
        frame["auroc_draws"] = [np.float32(draws[:n_draws]).round(4) for draws in frame["auroc_draws"]]
    return frame


def write(frame, name):
    "One file, and its size."
    path = here / "results" / f"{name}.parquet"
    small(frame).to_parquet(path, compression="zstd", compression_level=19, index=False)
    print(f"{path.name}: {len(frame)} rows, {path.stat().st_size / 1e6:.2f} MB")


def main(runs, *names):
    "Tables of some configurations."
    for path in sorted(here.glob("*.yml")):
        settings = yaml.safe_load(path.read_text())
        folder = Path(runs) / "benchmark" / settings.get("name", path.stem)
        if names and path.stem not in names or "grid" not in settings or not (folder / "store.json").exists(): continue
        store, grid = Store(folder), Grid(**settings["grid"])
        cells = store.results(grid.cells())
        if len(cells) == 0: continue
        keys = ["dataset", "model", "kind", "prop", "severity", "data_seed", "model_seed"]
        once = cells.drop_duplicates(keys)
        minutes = once["cell_seconds"].sum() / 60
        print(f"{path.stem}: {len(once)} of {len(grid.cells())} trainings, {minutes:.0f} minutes")
        if path.stem == "digits": write(score_agreement(store, cells), "agreement")
        if path.stem == "seeds" and cells["model_seed"].nunique() > 1: write(score_stability(store, cells), "stability")
        write(cells, path.stem)


if __name__ == "__main__": main(*sys.argv[1:])
