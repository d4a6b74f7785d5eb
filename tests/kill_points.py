"""Runs a job, kills it at many points with SIGKILL, runs it again after each, and compares what it leaves.

`python tests/kill_points.py JOB FOLDER N` ends with a line of JSON: a record per kill point. A point is the n-th time
that the job writes: with half of the file there, before and after its renaming, with half of a line appended; or a
moment by the clock. Each process is a fork of this one, so that torch is imported once.
"""
import builtins
import dataclasses
import hashlib
import io
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file

import ambiguity_nb.benchmark as benchmarks
from ambiguity_nb.benchmark import Grid
from ambiguity_nb.gasten import Gan, train_gan
from ambiguity_nb.gasten_grid import GastenGrid, gasten_grid
from ambiguity_nb.jobs.audit import _command as audit_command
from ambiguity_nb.jobs.run import RunFolder, open_run
from ambiguity_nb.models import build_model, save_classifier
from ambiguity_nb.patterns import Clustering
from ambiguity_nb.scores import characterize
from ambiguity_nb.sources import Source, load_samples
from ambiguity_nb.study import StudyOptions, study_patterns
from ambiguity_nb.training import Log, Training, fit
from ambiguity_nb.verdicts import VerdictOptions, judge_samples


# ------------------------------------------------------------------------------------------------------- jobs
def digits(classes=("3", "5"), n=240):
    "Some small digits, twice as large."
    samples = load_samples("digits")
    samples = samples.subset(np.flatnonzero(np.isin(samples.y, [samples.classes.index(k) for k in classes]))[:n])
    y = np.unique(samples.y, return_inverse=True)[1].astype(np.int64)
    x = samples.x.repeat(2, 2).repeat(2, 3)
    return samples.replace(x=x, y=y, classes=tuple(classes), name="digits")


def run_characterize(folder):
    run = open_run("scores", {"n": 3}, RunFolder(run_folder=folder))
    training = Training(n_epochs=3, schedule="cosine")
    found = characterize("cnn", digits(), ["aum", "el2n", "forgetting", "grand"], training,
                         folder=run.folder / "checkpoints", hooks=[Log(run.log)])
    save_classifier(run.weights("net"), found.model, "cnn", found.samples)
    run.save_table("scores", found.frame)


def run_verdicts(folder):
    run = open_run("verdicts", {"n": 2}, RunFolder(run_folder=folder))
    table = load_samples("breast-cancer")
    found = judge_samples("tabular_mlp", table, VerdictOptions(Training(n_epochs=2), probes=10),
                          folder=run.folder / "checkpoints", hooks=[Log(run.log)])
    run.save_table("verdicts", found.frame)


GAN = Gan(n_epochs=2, filters=4, n_blocks=2, z_dim=8, batch_size=32)


def run_audit(folder):
    audit_command(Source("wine"), training=Training(n_epochs=2), run=RunFolder(run_folder=folder), progress=False)


def run_gan(folder):
    run = open_run("gan", {"n": 3}, RunFolder(run_folder=folder))
    train_gan(digits(), dataclasses.replace(GAN, n_epochs=3, ema=.9), folder=run.folder / "gan", hooks=[Log(run.log)])


def run_gasten(folder):
    run, samples = open_run("gasten", {"n": 2}, RunFolder(run_folder=folder)), digits()
    model = build_model("mlp", samples)
    hooks = [Log(lambda metrics: run.log(metrics, "net"))]
    fit(model, samples, Training(n_epochs=2), folder=run.folder / "classifier", hooks=hooks)
    grid = GastenGrid(alphas=[5., 25.], step2_epochs=2, n_generated=60, tau=.4, controls=False)
    table = gasten_grid({"net": model}, samples, grid, GAN, folder=run.folder / "checkpoints", log=run.log)
    run.save_table("cells", table)


def run_patterns(folder):
    run, samples = open_run("patterns", {"n": 2}, RunFolder(run_folder=folder)), digits()
    train, test = samples.split((.5, .5))
    model = build_model("cnn", train)
    hooks = [Log(lambda metrics: run.log(metrics, "net"))]
    fit(model, train, Training(n_epochs=2), folder=run.folder / "classifier", hooks=hooks)
    study = study_patterns(model, test, train, test, Clustering(reducer="pca", n_clusters=2), StudyOptions(tau=.49),
                           progress=False)
    study.patterns.save(run.folder / "patterns")
    for key, table in study.tables().items(): run.save_table(key, table)


GRID = Grid(("wine",), ("tabular_mlp",), ("uniform", "far_ood"), (.1, .2), model_seeds=(0, 1),
            scores=("aum", "el2n", "random"), n_epochs=2, n_bootstrap=20)


def run_benchmark(folder, **how):
    run = open_run("benchmark", GRID.fixed(), RunFolder(run_folder=folder))
    cells = benchmarks.benchmark(GRID, run.folder, **{"n_jobs": 1, **how})
    run.save_table("cells", cells.sort_values(["kind", "prop", "model_seed", "score", "by"], ignore_index=True))


def run_joblib(folder): run_benchmark(folder, n_jobs=2)


def run_dask(folder): run_benchmark(folder, scheduler=os.environ["SCHEDULER"])


JOBS = {name.removeprefix("run_"): run for name, run in list(globals().items()) if name.startswith("run_")}


# ----------------------------------------------------------------------------------------- what a job has left
def is_cost(name: str) -> bool: return any(word in str(name) for word in ("second", "mb", "MB", "cost"))


def plain(value):
    "A value of JSON without what it cost."
    if isinstance(value, dict): return {k: plain(v) for k, v in value.items() if not is_cost(k)}
    return [plain(v) for v in value] if isinstance(value, list) else value


def left(folder: Path) -> dict[str, str]:
    "Every file of a folder, without times and pictures: path -> what it says."
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        if path.suffix == ".safetensors":
            parts = {key: array.tobytes() for key, array in load_file(path).items()}
            said = repr({key: hashlib.sha256(part).hexdigest() for key, part in sorted(parts.items())})
        elif path.suffix == ".parquet":
            table = pd.read_parquet(path)
            said = table[[c for c in table if not is_cost(c)]].to_csv()
        elif path.suffix == ".jsonl":
            said = "\n".join(sorted(json.dumps(plain(json.loads(line))) for line in path.read_text().splitlines()))
        elif path.suffix == ".json": said = json.dumps(plain(json.loads(path.read_text())))
        elif path.suffix in (".png", ".html", ".csv") or path.name == "environment.json": said = "there"
        else: said = path.read_text()
        found[path.relative_to(folder).as_posix()] = said
    return found


# ------------------------------------------------------------------------------------------------ being killed
class Writes:
    "Counts what the process writes, and kills it at the n-th time."

    def __init__(self, deadly: int | None): self.deadly, self.kinds = deadly, []

    def deadly_now(self, kind: str) -> bool:
        self.kinds.append(kind)
        return len(self.kinds) - 1 == self.deadly

    def watch(self) -> None:
        fsync, replace, opened = os.fsync, os.replace, io.open

        def half_written(handle):
            if self.deadly_now("half"):
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
                die()
            fsync(handle)

        def renamed(*paths, **more):
            if self.deadly_now("before"): die()
            replace(*paths, **more)
            if self.deadly_now("after"): die()

        def open_watched(path, mode="r", *rest, **more):
            file = opened(path, mode, *rest, **more)
            return Appended(file, self) if "a" in mode else file

        os.fsync, os.replace, io.open, builtins.open = half_written, renamed, open_watched, open_watched


class Appended:
    "A file that is appended to, in which a line may end in the middle."

    def __init__(self, file, writes): self.file, self.writes = file, writes

    def write(self, text):
        if self.writes.deadly_now("line"):
            self.file.write(text[:len(text) // 2])
            self.file.flush()
            die()
        return self.file.write(text)

    def __enter__(self): return self

    def __exit__(self, *error): self.file.close()

    def __getattr__(self, name): return getattr(self.file, name)


def die(): os.kill(os.getpid(), signal.SIGKILL)


def forked(job: str, folder: Path, deadly: int | None = None, seconds: float | None = None) -> int:
    "Run a job in a fork, which dies at its n-th write or after some seconds; how it ended, as subprocess says it."
    if child := os.fork():
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        torch.set_num_threads(1)
        folder.mkdir(parents=True, exist_ok=True)
        writes = Writes(deadly)
        writes.watch()
        JOBS[job](folder)
        Path(f"{folder}.kinds").write_text(json.dumps(writes.kinds))
        code = 0
    except BaseException: traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def kill_a_worker() -> None:
    "Kill one of the processes that the cluster's nanny looks after."
    import psutil

    workers = psutil.Process(int(os.environ["NANNY"])).children(True)
    workers = [worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())]
    if workers: workers[0].kill()


def main(job: str, folder: Path, n: int) -> list[dict]:
    "Kill a job at n points; what happened at each."
    start = time.perf_counter()
    if code := forked(job, folder / "whole"): raise SystemExit(f"{job} ended with {code} and was not killed")
    took, whole = time.perf_counter() - start, left(folder / "whole")
    kinds = json.loads((folder / "whole.kinds").read_text())
    rng, told = np.random.default_rng(0), []
    places = np.unique(np.linspace(0, len(kinds) - 1, max(1, round(.75 * n))).round().astype(int))
    for i in range(n):
        place, deadly = folder / f"killed-{i}", int(places[i]) if i < len(places) else None
        seconds = None if deadly is not None else float(rng.uniform(.05, .8)) * took
        while (code := forked(job, place, deadly, seconds)) == 0 and seconds is not None and seconds > .01:
            seconds /= 2                                                      # it was faster this time
            if place.exists(): os.rename(place, f"{place}-{seconds:.4f}")
        if job == "dask" and i % 2: kill_a_worker()
        again, now = forked(job, place), left(place)
        odd = sorted({*whole, *now} - {k for k in whole if whole[k] == now.get(k)})
        told.append({"at": f"{kinds[deadly]} {deadly}" if deadly is not None else f"{seconds:.2f} s", "ended": code,
                     "again": again, "different": odd})
    return told


if __name__ == "__main__": print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
