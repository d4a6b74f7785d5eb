"""The benchmark's engine under real trouble: killed, resumed, on worker processes, on a Dask cluster that loses
a worker, on a full disk."""
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from ambiguity_nb.benchmark import (
    PRESETS, BenchmarkCell, Grid, HCat, Store, _run_cell, benchmark, detection_quality, _score_table,
)
from ambiguity_nb.hardness_types import HARDNESS_TYPES, inject
from ambiguity_nb.jobs.run import RunFolder, open_run
from ambiguity_nb.scores import characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training

GRID = Grid(("wine",), ("tabular_mlp",), ("uniform", "far_ood"), (.1, .2), model_seeds=(0, 1, 2),
            scores=("aum", "el2n", "random"), n_epochs=2, n_bootstrap=20)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    "Tiny networks: threads only get in each other's way."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    "The grid computed in this process, without any trouble."
    return numbers(benchmark(GRID, tmp_path_factory.mktemp("reference"), n_jobs=1))


def numbers(cells):
    "What a result says, without what it cost."
    order = ["kind", "prop", "model_seed", "score", "by"]
    return cells.drop(columns=["cell_seconds", "score_seconds"]).sort_values(order).reset_index(drop=True)


def test_a_planted_score_gets_one_for_every_type():
    for name in ("digits", "wine"):
        samples = load_samples(name)
        for kind, made in HARDNESS_TYPES.items():
            if not (made.images if samples.is_image else made.tables): continue
            flags = inject(samples, kind, .1).flags
            got = detection_quality(flags.astype(float), flags, n_bootstrap=10)
            assert got["auroc"] == got["auprc"] == got["auroc_low"] == got["auprc_low"] == 1
            assert detection_quality(-flags.astype(float), flags, n_bootstrap=0)["auroc"] == 0


def test_random_scores_get_half_and_the_share():
    rng, flags = np.random.default_rng(0), np.arange(20_000) < 2000
    got = detection_quality(rng.random(20_000), flags)
    assert abs(got["auroc"] - .5) < .02 and abs(got["auprc"] - .1) < .01 and got["share"] == .1
    assert got["auroc_low"] < got["auroc"] < got["auroc_high"]


def test_detection_quality_does_not_depend_on_order_or_scale():
    rng = np.random.default_rng(0)
    flags, score = rng.random(300) < .2, rng.integers(9, size=300).astype(float)
    order = rng.permutation(300)
    first, second = detection_quality(score, flags, 0), detection_quality(np.exp(score[order]) * 3, flags[order], 0)
    for metric in ("auroc", "auprc"): assert first[metric] == pytest.approx(second[metric], abs=1e-12)


def test_infinite_hardness_ranks_first_and_nan_is_refused():
    flags = np.array([True, False, False])
    assert detection_quality([np.inf, 0, -np.inf], flags, 0)["auroc"] == 1
    with pytest.raises(ValueError, match="1 of 3 hardness values are NaN"): detection_quality([np.nan, 0, 1], flags)


def test_score_table_takes_flags_or_injected():
    wine = load_samples("wine")
    made = inject(wine, "far_ood", .2)
    result = characterize("tabular_mlp", made.samples, ["el2n", "data_maps"], Training(n_epochs=2))
    assert _score_table(result, made, n_bootstrap=0).equals(_score_table(result, made.flags, n_bootstrap=0))
    assert set(_score_table(result, made, n_bootstrap=0)["by"]) == {"hardness", "ambiguity"}


def test_the_same_data_for_all_model_seeds(tmp_path):
    grid = dataclasses.replace(GRID, kinds=("uniform",), props=(.2,))
    benchmark(grid, tmp_path, n_jobs=1)
    flags = [Store(tmp_path, grid).samples(c)["flag"] for c in grid.cells()]
    assert all((f == flags[0]).all() for f in flags)
    scores = [Store(tmp_path, grid).samples(c)["el2n:hardness"] for c in grid.cells()]
    assert (scores[0] != scores[1]).any()


def test_own_samples_and_worker_processes(tmp_path, reference):
    wine = load_samples("wine")
    grid = dataclasses.replace(GRID, datasets=("mine",))
    with pytest.raises(ValueError, match="no data set 'mine'"): benchmark(grid, tmp_path, n_jobs=1)
    seen = []
    cells = benchmark(grid, tmp_path, {"mine": wine}, n_jobs=2, after_cell=seen.append)
    assert numbers(cells).equals(numbers(benchmark(grid, tmp_path / "here", {"mine": wine}, n_jobs=1)))
    spread = [column for column in cells if column.endswith(("_low", "_high", "_se"))]
    drawn = ["dataset", "accuracy", "auroc_draws", *spread]  # drawn by the name
    plain = [found[found["score"] != "random"].drop(columns=drawn) for found in (numbers(cells), reference)]
    assert plain[0].equals(plain[1])
    assert sorted(s["left"] for s in seen) == list(range(12))
    with pytest.raises(ValueError, match="other data under the name 'mine'"):
        benchmark(grid, tmp_path, {"mine": load_samples("wine", "all")})


def test_a_killed_worker_process_costs_nothing_but_its_cell(tmp_path, reference):
    killed, files = [], {}

    def kill_one(told):
        if not killed and told["left"] < 10:
            workers = [p for p in psutil.Process().children(recursive=True) if "loky" in " ".join(p.cmdline())]
            workers = [p for p in workers if "resource_tracker" not in " ".join(p.cmdline())]
            killed.append(workers[0].pid)
            files.update({p: p.stat().st_mtime_ns for p in Store(tmp_path).files()})
            workers[0].send_signal(signal.SIGKILL)

    cells = benchmark(GRID, tmp_path, n_jobs=2, after_cell=kill_one)
    assert killed and numbers(cells).equals(reference)
    assert all(p.stat().st_mtime_ns == t for p, t in files.items()), "a finished cell was computed again"
    assert len(Store(tmp_path)) == 12


RUN = """
import json, sys, torch
torch.set_num_threads(1)
from ambiguity_nb.benchmark import Grid, benchmark
grid = Grid(**json.loads(sys.argv[1]))
benchmark(grid, sys.argv[2], n_jobs=1)
"""


def as_json(grid): return json.dumps(dataclasses.asdict(grid))


def run_python(*words):
    "A new Python process, and what it said."
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120)


def test_killed_and_started_again(tmp_path, reference):
    process = subprocess.Popen([sys.executable, "-c", RUN, as_json(GRID), str(tmp_path)])
    deadline = time.time() + 60
    while len(list((tmp_path / "cells").glob("[!.]*.parquet"))) < 3 and time.time() < deadline: time.sleep(.005)
    process.kill()
    process.wait()
    files = {p: p.stat().st_mtime_ns for p in Store(tmp_path).files()}
    assert 3 <= len(files) < 12
    assert numbers(benchmark(GRID, tmp_path, n_jobs=1)).equals(reference)
    assert all(p.stat().st_mtime_ns == t for p, t in files.items()), "a finished cell was computed again"


def test_a_full_disk(tmp_path):
    code = ("import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n" + RUN)
    run = run_python("-c", code, as_json(GRID), str(tmp_path))
    assert run.returncode != 0 and "was computed and not stored, for the disk is full" in run.stderr
    assert "make room and call again" in run.stderr
    assert not list(tmp_path.rglob(".*.parquet")), "half a file was left"
    assert len(benchmark(GRID, tmp_path, n_jobs=1)["cell_seconds"].unique()) == 12


def test_failures_are_kept_and_tried_again(tmp_path, monkeypatch):
    import ambiguity_nb.benchmark as module

    def fails(work):
        if work.cell.prop == .2: raise RuntimeError("no luck")
        return _run_cell(work)

    monkeypatch.setattr(module, "_run_cell", fails)
    seen = []
    cells = benchmark(GRID, tmp_path, n_jobs=1, after_cell=seen.append)
    assert set(cells["prop"]) == {.1} and len(seen) == 12
    failures = Store(tmp_path).failures()
    assert (failures["error"] == "RuntimeError: no luck").all() and len(failures) == 6
    monkeypatch.undo()
    benchmark(GRID, tmp_path, n_jobs=1, retry=False, after_cell=seen.append)
    assert len(seen) == 12 and len(Store(tmp_path).failures()) == 6
    assert set(benchmark(GRID, tmp_path, n_jobs=1, after_cell=seen.append)["prop"]) == {.1, .2}
    assert len(seen) == 18 and Store(tmp_path).failures().empty


def test_stores_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    benchmark(dataclasses.replace(GRID, props=(.1,), model_seeds=(0,)), tmp_path, n_jobs=1)
    for change in ({"n_epochs": 3}, {"scores": ("aum",)}, {"lr": 1e-2}, {"part": "all"}):
        other = dataclasses.replace(GRID, **change)
        with pytest.raises(ValueError, match="holds cells of another kind"): benchmark(other, tmp_path, n_jobs=1)
    monkeypatch.setattr("ambiguity_nb.benchmark.__version__", "99.0.0")
    with pytest.raises(ValueError, match="version was"): benchmark(GRID, tmp_path, n_jobs=1)
    monkeypatch.undo()
    (tmp_path / "store.json").unlink()
    with pytest.raises(ValueError, match="nobody knows their settings"): benchmark(GRID, tmp_path, n_jobs=1)
    with pytest.raises(ValueError, match="no benchmark store"): Store(tmp_path / "nothing")


def test_a_damaged_cell_is_named(tmp_path):
    grid = dataclasses.replace(GRID, props=(.1,), model_seeds=(0,))
    benchmark(grid, tmp_path, n_jobs=1)
    path = Store(tmp_path).files()[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="delete it, and it will be computed again"):
        benchmark(grid, tmp_path, n_jobs=1)
    path.unlink()
    assert len(benchmark(grid, tmp_path, n_jobs=1)["kind"].unique()) == 2


@pytest.mark.parametrize(("change", "message"), [
    ({"kinds": ("nonsense",)}, "unknown hardness type"), ({"scores": ("nonsense",)}, "unknown score"),
    ({"models": ("nonsense",)}, "unknown model"), ({"props": (0,)}, "between 0 and 1"),
    ({"props": (1.,)}, "between 0 and 1"), ({"props_of": {"uniform": (2,)}}, "between 0 and 1"),
    ({"props": ()}, "is empty")])
def test_bad_grids(change, message):
    with pytest.raises(ValueError, match=message): dataclasses.replace(GRID, **change)


@pytest.mark.parametrize(("grid", "message"), [
    (Grid(("mnist-5k",), ("lenet",), ("atypical",)), "'atypical'"),
    (Grid(("wine",), ("tabular_mlp",), ("zoom_shift",)), "'zoom_shift'"),
    (Grid(("nonsense",)), "no data set"), (Grid(("wine",), ("lenet",)), "goes with|go with")])
def test_grids_that_make_no_sense(grid, message):
    with pytest.raises(ValueError, match=message): grid.cells()


def test_cell_names_are_file_names():
    cell = BenchmarkCell("openml:4541", "tabular_mlp", "far_ood", .1, 1., 0, 3)
    assert cell.name == "openml-4541_tabular_mlp_far_ood_p0.1_s1_d0_m3"


@pytest.mark.slow
def test_dask_cluster_that_loses_a_worker(tmp_path, reference):
    pytest.importorskip("distributed")
    environment = dict(os.environ, OMP_NUM_THREADS="1", DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH="0")
    address = tmp_path / "scheduler.json"
    common = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    python = [sys.executable, "-m", "distributed.cli"]
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-jupyter", "--scheduler-file", str(address)]
    started = [subprocess.Popen([*python[:2], "distributed.cli.dask_scheduler", *words], **common)]
    try:
        deadline = time.time() + 60
        while not address.exists() and time.time() < deadline: time.sleep(.1)
        for i in range(2):
            words = ["--scheduler-file", str(address), "--nthreads", "1", "--no-nanny", "--no-dashboard",
                     "--local-directory", str(tmp_path / f"worker-{i}")]
            started.append(subprocess.Popen([*python[:2], "distributed.cli.dask_worker", *words], **common))
        scheduler = json.loads(address.read_text())["address"]
        from distributed import Client

        with Client(scheduler, timeout="30s") as client: client.wait_for_workers(2, timeout=60)
        seen = []

        def kill_one(told):
            seen.append((told["kind"], told["prop"], told["model_seed"]))
            if len(seen) == 3: started[1].kill()

        grid_store = tmp_path / "store"
        cells = benchmark(GRID, grid_store, scheduler=scheduler, after_cell=kill_one)
        assert started[1].poll() is not None or started[1].wait(10) is not None
        assert len(seen) == len(set(seen)) == 12, "a cell was lost or came twice"
        assert numbers(cells).equals(reference)
        assert len(Store(grid_store)) == 12 and Store(grid_store).failures().empty
    finally:
        for process in started: process.kill()
        for process in started: process.wait()


def settings_of(path):
    "The settings that `ambiguity benchmark --config PATH` would run with."
    from ambiguity_nb.jobs.cli import parse

    return parse("benchmark", ["--config", str(path)])


def test_configs_are_the_presets():
    folder = Path(__file__).parents[1] / "experiments" / "benchmark"
    for name, grid in PRESETS.items(): assert Grid(**settings_of(folder / f"{name}.yml")["grid"]) == grid, name
    theirs = settings_of(folder / "hcat.yml")
    assert theirs["hcat"] == HCat("uniform")
    grid = theirs["hcat"].grid()
    assert grid.cells() == [BenchmarkCell("mnist", "lenet", "uniform", .1, None, s, s) for s in (0, 1, 2)]
    assert grid.n_epochs == 10


def test_figures_have_intervals_and_close(tmp_path):
    import matplotlib.pyplot as plt

    from ambiguity_nb.jobs.benchmark import benchmark_report

    before = plt.get_fignums()                    # other tests may have left some open
    benchmark(GRID, tmp_path, n_jobs=1)
    run = open_run("benchmark", GRID.fixed(), RunFolder(run_folder=tmp_path / "runs"))
    report = benchmark_report(tmp_path, run=run)
    figures = [path.stem for path in (run.folder / "figures").iterdir()]
    assert len(figures) == len(set(figures)) >= 6
    assert "not clearly worse" in report.html() or "use " in report.html()
    assert plt.get_fignums() == before


def test_the_command_resumes_and_extends(tmp_path, caplog):
    from ambiguity_nb.jobs.benchmark import benchmark as command

    grid = {"datasets": ["wine"], "models": ["tabular_mlp"], "scores": ["aum", "el2n", "loss", "random"],
            "n_epochs": 2, "n_bootstrap": 20}
    here, mine = RunFolder(run_folder=tmp_path), RunFolder("mine", tmp_path)
    assert command(grid=grid, run=here, dry_run=True).loc["all", "to_do"] == 1 and not list(tmp_path.iterdir())
    page = command(grid=grid, run=mine, n_jobs=1)
    assert page == tmp_path / "benchmark" / "mine" / "report.html"
    command(grid=grid | {"model_seeds": [0, 1], "props": [.1, .2]}, run=mine, n_jobs=1)
    cells = pd.read_parquet(page.parent / "tables" / "cells.parquet")
    assert len(cells.drop_duplicates(["prop", "model_seed"])) == 4
    tables = {"cells", "conclusions", "agreement", "stability", "seeds"}
    assert {p.stem for p in (page.parent / "tables").glob("*.parquet")} == tables
    for text in ("For mislabeled samples", "Stability", "Settings"): assert text in page.read_text()
    with pytest.raises(ValueError, match="lr was 0.001 and is 0.01"): command(grid=grid | {"lr": .01}, run=mine)
    with pytest.raises(ValueError, match="unknown preset"): command("nonsense", run=here)
    with pytest.raises(ValueError, match="unknown grid setting"): command(grid={"share": .1}, run=here)
    with pytest.raises(ValueError, match="does not apply|fits nothing else"):
        command(hcat=HCat("zoom_shift", data="wine", model="MLP"), run=here)


OWN = """
from ambiguity_nb.hardness_types import HARDNESS_TYPES

@HARDNESS_TYPES.register("inverted", group="atypical", tables=False, severity=.5, severities=(.25, .5, .75))
def inverted(samples, rows, rng, severity, top=255):
    x = samples.x[rows].astype(float)
    return (severity * (top - x) + (1 - severity) * x).clip(0, 255).astype("uint8")
"""


@pytest.mark.slow
def test_a_type_of_ones_own_from_flags_and_yaml(tmp_path, monkeypatch):
    from ambiguity_nb.jobs.cli import main

    (tmp_path / "my_types.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HARDNESS_TYPES, "_things", dict(HARDNESS_TYPES))
    flags = ["--hardness", "my_types:inverted", "--severity", "0.75", "--given", "{top: 200}", "--data", "digits",
             "--model", "cnn", "--total_runs", "1", "--epochs", "2", "--n_jobs", "1", "--progress", "false"]
    assert main(["benchmark", *flags]) == 0
    store = Store("runs/benchmark/digits-cnn-my_types-inverted")
    cells = store.results()
    assert set(cells["severity"]) == {.75} and set(cells["group"]) == {"atypical"} and store.failures().empty
    assert "or atypical samples" in (store.folder / "report.html").read_text()
    (tmp_path / "mine.yml").write_text(
        "name: from-yaml\ngrid:\n  datasets: [digits]\n  models: [cnn]\n  kinds: ['my_types:inverted', uniform]\n"
        "  given: {'my_types:inverted': {top: 200}}\n  severity_steps: true\n  n_epochs: 1\n  scores: [aum, random]\n")
    words = ["-m", "ambiguity_nb", "benchmark", "--config", "mine.yml", "--n_jobs", "2"]
    run = run_python(*words)
    assert run.returncode == 2 and "add --trust" in run.stderr  # it names code
    run = run_python(*words, "--trust")
    assert run.returncode == 0, run.stderr
    cells = Store("runs/benchmark/from-yaml").results()
    assert set(cells.loc[cells["kind"] == "my_types:inverted", "severity"]) == {.25, .5, .75}
    assert set(cells["kind"]) == {"my_types:inverted", "uniform"}


SCRIPT = """
import sys
from ambiguity_nb.benchmark import Grid, Store, benchmark
from ambiguity_nb.hardness_types import HARDNESS_TYPES

@HARDNESS_TYPES.register("halved", group="atypical", tables=False)
def halved(samples, rows, rng, severity): return samples.x[rows] // 2

if __name__ == "__main__":
    grid = Grid("digits", "cnn", "halved", model_seeds=(0, 1), scores=("aum", "random"), n_epochs=2)
    cells = benchmark(grid, sys.argv[1], n_jobs=2)
    print(cells["cell_seconds"].nunique(), len(Store(sys.argv[1]).failures()))
"""


@pytest.mark.slow
def test_a_type_of_a_script_reaches_its_worker_processes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    run = run_python(tmp_path / "script.py", tmp_path / "store")
    assert run.stdout.split() == ["2", "0"], run.stdout + run.stderr


def test_epochs_are_noted_as_they_happen_in_every_process(tmp_path):
    def read(): return [json.loads(line) for line in (tmp_path / "epochs.jsonl").read_text().splitlines()]

    seen = []
    benchmark(GRID, tmp_path, n_jobs=2, after_cell=lambda told: seen.append(len(read())))
    lines = read()
    assert {line["cell"] for line in lines} == {cell.name for cell in GRID.cells()} and len(lines) == 12 * GRID.n_epochs
    assert {"epoch", "loss", "accuracy"} <= lines[0].keys() and seen[0] < len(lines)  # not all at the end


def test_generated_images_for_ambiguous(tmp_path):
    digits = load_samples("digits")
    generated = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    grid = Grid(("digits",), ("mlp",), ("ambiguous",), (.05,), scores=("random",), n_epochs=1, n_bootstrap=0)
    given = {"ambiguous": {"source": generated, "source_classes": ("3", "5")}}
    benchmark(grid, tmp_path, n_jobs=1, given=given)
    flags = Store(tmp_path).samples(grid.cells()[0])["flag"].to_numpy()
    assert np.isin(digits.y[flags], [3, 5]).all() and Store(tmp_path).failures().empty
    with pytest.raises(ValueError, match="other data under the name 'ambiguous source'"):
        benchmark(grid, tmp_path, n_jobs=1, given={"ambiguous": given["ambiguous"] | {"source": generated // 2}})


def of_kind(cells, score, column="auroc"):
    "A column of the rows of one score."
    return cells.loc[(cells["score"] == score) & (cells["by"] == "hardness"), column].tolist()


def test_random_draws_anew_in_every_block(tmp_path):
    grid = Grid("wine", "tabular_mlp", ("uniform", "adjacent"), (.1, .2), data_seeds=(0, 1), model_seeds=(0, 1),
                scores=("random", "last_loss"), n_epochs=1, n_bootstrap=0)
    benchmark(grid, tmp_path, n_jobs=1)
    store, drawn = Store(tmp_path), {}
    for cell in grid.cells():
        drawn.setdefault((cell.kind, cell.data_seed, cell.model_seed), []).append(
            store.samples(cell)["random:hardness"].to_numpy())
    assert all((first == second).all() for first, second in drawn.values())  # shares of one block are one question
    ranks = np.corrcoef([first for first, _ in drawn.values()])
    assert np.abs(ranks - np.eye(len(ranks))).max() < .4, "two blocks have the same random numbers"


def test_the_interval_of_random_holds_chance(tmp_path):
    grid = Grid("digits", "cnn", ("uniform", "adjacent", "crop_shift", "far_ood"), data_seeds=range(10),
                scores=("random",), n_epochs=1, n_bootstrap=0, max_samples=300)
    aurocs = np.array(of_kind(benchmark(grid, tmp_path, n_jobs=1), "random"))
    low, high = np.quantile(np.random.default_rng(0).choice(aurocs, (2000, len(aurocs))).mean(1), (.025, .975))
    assert len(set(aurocs.round(6))) == len(aurocs) == 40 and low < .5 < high


@pytest.fixture
def own_scores(tmp_path, monkeypatch):
    "A function that writes scores of one's own into a module which can be imported, and gives its name."
    def write(name, text):
        (tmp_path / f"{name}.py").write_text("from ambiguity_nb.scores import SCORES\n" + text)
        monkeypatch.syspath_prepend(tmp_path)
        return name
    return write


def test_scores_that_draw_keep_their_options_and_their_seed(tmp_path, own_scores):
    module = own_scores("few_scores", (
        "few, many = (SCORES['conf_agree'](n_members=n, members='dropout').named(f'of_{n}') for n in (3, 10))\n"
        "fixed = SCORES['random'](seed=7).named('fixed')\n"))
    scores = [f"{module}:{name}" for name in ("few", "many", "fixed")]
    grid = Grid("mnist-5k", "lenet", data_seeds=(0, 1), scores=scores, n_epochs=1, n_bootstrap=0,
                max_samples=200)
    benchmark(grid, tmp_path / "store", n_jobs=1)
    samples = [Store(tmp_path / "store").samples(cell) for cell in grid.cells()]
    n = len(samples[0])
    expected = np.random.default_rng(7).random(n).astype(np.float32)
    assert all(np.allclose(part["fixed:hardness"], expected) for part in samples)
    assert not any(np.allclose(part["of_3:hardness"], part["of_10:hardness"]) for part in samples)


def test_every_score_of_a_cell_is_judged_on_the_same_resamples(tmp_path):
    grid = Grid("wine", "tabular_mlp", scores=("data_iq", "data_maps", "aum", "input_norm"), data_seeds=(0, 1),
                model_seeds=(0, 1), n_epochs=2, n_bootstrap=150)
    cells = benchmark(grid, tmp_path, n_jobs=1)
    assert all(len(draws) == 150 and draws.dtype == np.float32 for draws in cells["auroc_draws"])
    cells["low"] = [np.quantile(draws, .025) for draws in cells["auroc_draws"]]
    assert np.allclose(cells["low"], cells["auroc_low"], atol=1e-4)
    iq, maps = (of_kind(cells, name, "auroc_draws") for name in ("data_iq", "data_maps"))
    assert all((a == b).all() for a, b in zip(iq, maps, strict=True))      # the same ranking on the same resamples
    norm = of_kind(cells, "input_norm", "auroc_draws")                     # ordered by data seed, then model seed
    assert (norm[0] == norm[1]).all() and (norm[2] == norm[3]).all() and (norm[0] != norm[2]).any()
    cells.to_parquet(tmp_path / "cells.parquet")
    assert (pd.read_parquet(tmp_path / "cells.parquet")["auroc_draws"][0] == cells["auroc_draws"][0]).all()


def test_rows_say_what_a_score_looks_at_and_where_it_was_learned(tmp_path, own_scores):
    module = own_scores("my_learned", (
        "class Learned(SCORES['last_loss']):\n"
        "    'A score fitted on wines.'\n    name, learned_from = 'learned', ('wine',)\n"))
    grid = Grid(("wine", "breast-cancer"), "tabular_mlp", scores=(f"{module}:Learned", "entropy", "last_loss"),
                n_epochs=1, n_bootstrap=0)
    cells = benchmark(grid, tmp_path / "store", n_jobs=1)
    marked = cells[cells["in_domain"]]
    assert set(marked["dataset"]) == {"wine"} and set(marked["score"]) == {"learned"}
    blind = cells.loc[~cells["sees_labels"].astype(bool), "score"]
    assert set(blind) == {"entropy"}


def test_scores_after_every_epoch(tmp_path):
    from ambiguity_nb.scores import SCORES

    grid = Grid("digits", "cnn", scores=("aum", "el2n", "entropy", "grand", "random", "allsh"), n_epochs=3,
                max_samples=300, n_bootstrap=0, by_epoch=True)
    cells = benchmark(grid, tmp_path, n_jobs=1)
    assert set(cells["score"]) == set(grid.scores) and Store(tmp_path).failures().empty
    by_epoch = {name: of_kind(cells, name, "by_epoch_auroc")[0] for name in grid.scores}
    assert all(len(by_epoch[name]) == 3 for name in ("aum", "el2n", "entropy", "grand"))
    assert by_epoch["random"] is None and by_epoch["allsh"] is None  # they say nothing before the end
    for name in ("aum", "entropy"): assert by_epoch[name][-1] == pytest.approx(of_kind(cells, name)[0], abs=1e-4)
    made = inject(load_samples("digits").split((.2, .8), seed=0)[0], "uniform", .1)
    samples, flags = made.samples, made.flags
    if len(samples) == cells["n"].iloc[0]:
        looks = characterize("cnn", samples, [SCORES["el2n"]([2]), SCORES["grand"]([2])], Training(n_epochs=3))
        for name in ("el2n", "grand"):
            expected = detection_quality(looks.hardness(name), flags, 0)["auroc"]
            assert by_epoch[name][1] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="by_epoch was True and is False"):
        benchmark(dataclasses.replace(grid, by_epoch=False), tmp_path, n_jobs=1)


def test_the_data_seed_chooses_the_samples(tmp_path):
    from ambiguity_nb.benchmark import _data

    grid = dataclasses.replace(GRID, datasets=("breast-cancer",), max_samples=100, part="all")
    first, again, other = (_data("breast-cancer", grid, None, seed) for seed in (0, 0, 1))
    assert (first.ids == again.ids).all() and len(set(first.ids) & set(other.ids)) < 40


def one_table(folder):
    "A CSV file of two classes that are easy to tell apart."
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 3)) + 2 * (np.arange(80) % 2)[:, None], columns=["a", "b", "c"])
    frame.assign(kind=np.where(np.arange(80) % 2, "yes", "no")).to_csv(folder / "mine.csv", index=False)
    return {"data": str(folder / "mine.csv"), "label": "kind"}


def test_files_of_ones_own_by_a_plain_name(tmp_path, monkeypatch):
    fields = one_table(tmp_path)
    small = {"models": "tabular_mlp", "scores": ("aum", "random"), "n_epochs": 1, "n_bootstrap": 0}
    cells = benchmark(Grid("mine", data={"mine": fields}, **small), tmp_path / "store", n_jobs=1)
    assert set(cells["dataset"]) == {"mine"} and set(cells["n"]) == {80}
    monkeypatch.setenv("MY_FOLDER", str(tmp_path))
    by_variable = Grid("mine", data={"mine": fields | {"data": "$MY_FOLDER/mine.csv"}}, **small)
    assert benchmark(by_variable, tmp_path / "store", n_jobs=1).equals(cells)             # the same data: nothing to do
    assert by_variable.estimate(tmp_path / "store").loc["all", "to_do"] == 0
    other = Grid("mine", data={"mine": "wine"}, **small)
    for grid in (other, Grid("wine", data={"wine": fields}, **small)):
        with pytest.raises(ValueError, match="other data under the name"):
            benchmark(Grid("wine", **small), tmp_path / "store", n_jobs=1)
            benchmark(grid, tmp_path / "store", n_jobs=1)
    with pytest.raises(ValueError, match="choose from"): Grid("wine", data={"mine": "wine"})
    with pytest.raises(ValueError, match="choose from"): Grid("mine", data={"mine": {"file": "mine.csv"}})


def test_files_of_ones_own_on_the_command_line(tmp_path, monkeypatch):
    from ambiguity_nb.jobs.cli import main

    fields = one_table(tmp_path)
    monkeypatch.chdir(tmp_path)
    common = ["--n_jobs", "1", "--progress", "false"]
    grid = f"{{datasets: [mine], models: [tabular_mlp], scores: [aum, random], n_epochs: 1, data: {{mine: {fields}}}}}"
    assert main(["benchmark", "--grid", grid, "--name", "flag", *common]) == 0
    (tmp_path / "mine.yml").write_text(
        "grid:\n  datasets: [mine]\n  models: [tabular_mlp]\n  scores: [aum, random]\n  n_epochs: 1\n"
        f"  data:\n    mine: {{data: {fields['data']}, label: kind}}\nname: file\n")
    assert main(["benchmark", "--config", "mine.yml", *common]) == 0
    words = ["--hardness", "uniform", "--data", str(fields), "--model", "MLP", "--total_runs", "1", "--epochs", "2"]
    assert main(["benchmark", *words, *common]) == 0
    for name in ("flag", "file", "mine-mlp-uniform"):
        store = Store(f"runs/benchmark/{name}")
        assert set(store.results()["dataset"]) == {"mine"} and "mine" in store.claims(), name


def test_boosted_trees_take_part_as_far_as_they_can(tmp_path):
    told = []
    grid = Grid("wine", ("tabular_mlp", "boosted_trees"), ("uniform", "ambiguous"), n_epochs=3, n_bootstrap=20)
    cells = benchmark(grid, tmp_path, n_jobs=1, after_cell=told.append)
    assert Store(tmp_path).failures().empty and len(told) == 4
    trees = cells[cells["model"] == "boosted_trees"]
    lacking = {*cells["score"]} - {*trees["score"]}
    assert {"vog", "grand", "prototypicality", "allsh"} <= lacking and {"random", "input_norm"} <= {*trees["score"]}
    assert all(set(t["left_out"]) == lacking for t in told if t["model"] == "boosted_trees")
    assert trees["accuracy"].min() > .8 and trees["score_seconds"].notna().all()
    norm = cells[cells["score"] == "input_norm"].groupby("kind")["auroc_draws"].agg(list)
    assert (norm["uniform"][0] == norm["uniform"][1]).all(), "the two models were not judged on the same data"
    assert grid.estimate().loc["all", "minutes"] > 0


def test_configurations_of_one_run_have_the_same_settings():
    folder, of_run = Path(__file__).parents[1] / "experiments" / "benchmark", {}
    for path in folder.glob("*.yml"):
        settings = settings_of(path)
        if settings["grid"]: of_run.setdefault(settings["run"].name, []).append(Grid(**settings["grid"]).fixed())
    assert len(of_run["digits"]) == 4 and all(fixed == first for first, *rest in of_run.values() for fixed in rest)


def test_a_score_that_cannot_run_is_left_out_of_its_cell(tmp_path):
    told = []
    grid = Grid("wine", "tabular_mlp", n_epochs=1, n_bootstrap=0)
    cells = benchmark(grid, tmp_path / "all", n_jobs=1, after_cell=told.append)
    assert Store(tmp_path / "all").failures().empty and told[0]["left_out"] == ["vog"]
    assert "vog" not in set(cells["score"]) and "aum" in set(cells["score"])
    benchmark(dataclasses.replace(grid, scores=("vog",)), tmp_path / "one", n_jobs=1)
    assert "none of the scores can run" in Store(tmp_path / "one").failures()["error"].iloc[0]
