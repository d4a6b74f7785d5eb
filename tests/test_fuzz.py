"""Run folders with anything at all in them: every reader gives values, or says in words which file is damaged.

`test_bad_input.py` does the same with data.
"""
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_bad_input import damage, damaged

from ambiguity_nb.benchmark import Grid, Store, benchmark
from ambiguity_nb.core import save_state
from ambiguity_nb.fid import Statistics
from ambiguity_nb.gasten import Gan, load_epoch, train_gan
from ambiguity_nb.gasten_grid import _read_result
from ambiguity_nb.jobs.run import RunFolder, open_run
from ambiguity_nb.models import build_model, load_classifier, save_classifier
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, fit

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=8)
GRID = Grid("wine", "tabular_mlp", "uniform", scores=("aum", "random"), n_epochs=1, n_bootstrap=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    "A folder with a file of every kind that runs write and read."
    folder, wine, digits = tmp_path_factory.mktemp("whole"), load_samples("wine"), load_samples("digits")
    run = open_run("job", {"lr": .1, "classes": ["3", "5"]}, RunFolder(run_folder=folder))
    for epoch in range(3): run.log({"epoch": epoch, "loss": .5}, "training")
    model = build_model("tabular_mlp", wine)
    fit(model, wine, Training(n_epochs=1), folder=folder / "training")
    save_classifier(folder / "net.safetensors", model, "tabular_mlp", wine)
    two = digits.subset(slice(0, 64))
    two = two.replace(x=two.x.repeat(2, 2).repeat(2, 3))
    train_gan(two, Gan(1, filters=2, n_blocks=2, z_dim=2), folder=folder / "gan")
    benchmark(GRID, folder / "store", n_jobs=1)
    Statistics(torch.zeros(2).numpy(), torch.eye(2).numpy(), 9, "pixels").save(folder / "real.safetensors")
    (folder / "result.json").write_text('{"key": {"n": 3}, "acd": 0.25, "seconds": 1.5}')
    return folder


def read_checkpoint(folder: Path) -> None:
    wine = load_samples("wine")
    fit(build_model("tabular_mlp", wine), wine, Training(n_epochs=1), folder=folder / "training")


def read_store(folder: Path) -> None:
    assert isinstance(Store(folder / "store").results(), pd.DataFrame)


READERS = {  # file that is damaged: what reads it
    "job/default/metrics.jsonl": lambda folder: open_run("job", {"lr": .1, "classes": ["3", "5"]},
                                                         RunFolder(run_folder=folder)).metrics(),
    "job/default/config.yaml": lambda folder: open_run("job", {"lr": .1, "classes": ["3", "5"]},
                                                       RunFolder(run_folder=folder)),
    "training/checkpoint.safetensors": read_checkpoint,
    "net.safetensors": lambda folder: load_classifier(folder / "net.safetensors"),
    "gan/epoch-0001.safetensors": lambda folder: load_epoch(folder / "gan"),
    "store/store.json": read_store,
    "store/data.json": lambda folder: Store(folder / "store").claims(),
    "store/cells": read_store,
    "real.safetensors": lambda folder: Statistics.load(folder / "real.safetensors"),
    "result.json": lambda folder: _read_result(folder / "result.json"),
}


def other_content(name: str, value) -> bytes:
    "A file of the right kind that holds something else."
    if name.endswith(".yaml"): return yaml.safe_dump(value).encode()
    if name.endswith(".jsonl"): return f"{json.dumps(value)}\n{json.dumps(value)}\n".encode()
    return json.dumps(value).encode()


def with_state(path: Path, value) -> None:
    "Make a state file hold another state, or one with a part replaced."
    save_state(path, value if isinstance(value, dict) else {"settings": value, "parts": {}, "rng": torch.zeros(3)})


cases = st.tuples(st.sampled_from(sorted(READERS)), st.one_of(damage.map(lambda d: ("damage", d)),
                                                              anything.map(lambda v: ("other", v))))


def fuzz(n: int, whole: Path, folder: Path) -> dict[str, int]:
    "Damage n files of run folders; how many were read all the same, and how many refused in words."
    counts = {"read": 0, "refused": 0}

    @settings(max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def one(case):
        name, (how, what) = case
        place = folder / "now"
        shutil.copytree(whole, place)
        path = next((place / name).glob("*.parquet")) if name.endswith("cells") else place / name
        before = path.read_bytes() if path.exists() else b"{}"
        if how == "damage": path.write_bytes(damaged(before, what))
        elif path.suffix == ".safetensors": with_state(path, what)
        else: path.write_bytes(other_content(name, what))
        try:
            READERS[name](place)
            counts["read"] += 1
        except (ValueError, FileNotFoundError) as error:
            assert str(error) and len(str(error)) < 3000, str(error)
            assert path.name in str(error) or path.parent.name in str(error), f"{name}: {error}"
            counts["refused"] += 1
        finally: shutil.rmtree(place)

    one()
    return counts


def test_damaged_run_folders_are_read_or_refused(tmp_path, whole):
    counts = fuzz(25, whole, tmp_path)
    assert min(counts.values()) > 2, counts


@pytest.mark.slow
def test_a_thousand_damaged_run_folders_are_read_or_refused(tmp_path, whole, capsys):
    counts = fuzz(1000, whole, tmp_path)
    with capsys.disabled(): print(f"\nreaders of run folders on {sum(counts.values())} damaged files: {counts}")
    assert sum(counts.values()) >= 1000 and min(counts.values()) > 100, counts
