"""Runs that are killed, interrupted, and out of disk: what they leave, and what the same command makes of it."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

root = Path(__file__).resolve().parent.parent
environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}", "OMP_NUM_THREADS": "1",
               "MPLBACKEND": "Agg", "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "0"}
JOBS = ("characterize", "verdicts", "audit", "gan", "gasten", "patterns", "benchmark", "joblib")


def killed(job: str, folder: Path, n: int, **more) -> list[dict]:
    "What happened to a job at n kill points."
    words = [sys.executable, str(root / "tests" / "kill_points.py"), job, str(folder), str(n)]
    result = subprocess.run(words, env={**environment, **more}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def check(told: list[dict], n: int) -> None:
    "Every process was killed, and every one after it ended well and with the same files."
    assert len(told) == n and all(point["ended"] == -signal.SIGKILL for point in told), told
    assert not [point for point in told if point["again"] or point["different"]], told


# ------------------------------------------------------------------------------------------------- killed
def test_a_grid_that_was_killed_while_it_wrote_ends_the_same(tmp_path): check(killed("benchmark", tmp_path, 1), 1)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_twenty_kills_change_nothing(job, tmp_path, capsys):
    told = killed(job, tmp_path, 20)
    with capsys.disabled(): print(f"\n{job}: killed at {', '.join(point['at'] for point in told)}")
    check(told, 20)


@pytest.fixture
def cluster(tmp_path):
    "Address of a Dask scheduler with two workers, which come back when they are killed."
    pytest.importorskip("distributed")
    file, quiet = tmp_path / "scheduler.json", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
             "--no-dashboard", "--no-jupyter", "--scheduler-file", str(file)]
    started = [subprocess.Popen(words, env=environment, **quiet)]
    try:
        deadline = time.time() + 90
        while not file.exists() and time.time() < deadline: time.sleep(.1)
        words = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1",
                 "--nworkers", "2", "--no-dashboard", "--local-directory", str(tmp_path / "workers")]
        started.append(subprocess.Popen(words, env=environment, **quiet))
        yield json.loads(file.read_text())["address"], started[1].pid
    finally:
        for process in started[::-1]:
            for child in psutil.Process(process.pid).children(recursive=True): child.kill()
            process.kill()
            process.wait()


@pytest.mark.slow
def test_twenty_kills_beside_a_dask_cluster_change_nothing(tmp_path, cluster):
    address, nanny = cluster
    check(killed("dask", tmp_path / "runs", 20, SCHEDULER=address, NANNY=str(nanny)), 20)


# ------------------------------------------------------------------------------------------- its workers
def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    "The worker processes of a grid."
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]


GRID = ["benchmark", "--grid", "{datasets: [digits], models: [cnn], model_seeds: [0, 1, 2, 3], scores: [aum, random], "
        "n_epochs: 500}", "--n_jobs", "2", "--progress", "false"]


def start(words: list[str], folder: Path) -> subprocess.Popen:
    "A command in a process of its own."
    return subprocess.Popen([sys.executable, "-m", "ambiguity_nb", *words], cwd=folder, env=environment, text=True,
                            stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)


def wait_for(ready, process: subprocess.Popen, seconds: float = 120) -> None:
    "Wait until something is there, while the process lives."
    deadline = time.time() + seconds
    while not ready():
        assert time.time() < deadline and process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(.02)


@pytest.mark.slow
def test_a_killed_grid_takes_its_workers_with_it(tmp_path):
    process = start(GRID, tmp_path)
    wait_for(lambda: list(tmp_path.rglob("epochs.jsonl")), process)         # the workers are at it
    workers = workers_of(process)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    gone, alive = psutil.wait_procs(workers, timeout=30)
    for worker in alive: worker.kill()
    assert len(gone) == 2 and not alive


# ------------------------------------------------------------------------------------------------- Ctrl-C
LONG = ["--n_epochs", "9999", "--progress", "false"]
INTERRUPTED = {
    "audit": ["audit", "--data", "wine", *LONG],
    "hardness": ["hardness", "--data", "wine", "--scores", "aum", *LONG],
    "classifier": ["classifier", "--data", "wine", *LONG],
    "gasten": ["gasten", "--data", "digits", "--pos", "3", "--neg", "5", "--model", "mlp", "--filters", "4",
               "--n_blocks", "2", *LONG],
    "boundary": ["boundary", "--data", "wine", "--model", "tabular_mlp", "--classifier_epochs", "9999", "--progress",
                 "false"],
    "patterns": ["patterns", "--data", "wine", "--model", "tabular_mlp", "--classifier_epochs", "9999", "--sources",
                 "test", "--progress", "false"],
    "benchmark": GRID,
    "demo": ["demo", "--progress", "false"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", INTERRUPTED)
def test_ctrl_c_leaves_with_a_sentence_and_130(command, tmp_path):
    process = start(INTERRUPTED[command], tmp_path)
    first = "epochs.jsonl" if command == "benchmark" else "environment.json"
    wait_for(lambda: list(tmp_path.rglob(first)), process)
    time.sleep(.5)
    os.killpg(process.pid, signal.SIGINT)                                   # as a terminal does
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said[-2000:]
    assert "Traceback" not in said and said.count("stopped") == 1, said
    assert said.rstrip().splitlines()[-1].startswith(f"ambiguity {command}: stopped; "), said


def test_every_command_leaves_with_130(monkeypatch, capsys):
    from ambiguity_nb.jobs import cli

    def interrupted(*args, **more): raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", interrupted)
    for command in cli.COMMANDS:
        assert cli.main([command]) == 130
        assert capsys.readouterr().err.strip().startswith(f"ambiguity {command}: stopped; ")


# --------------------------------------------------------------------------------------------- a full disk
@pytest.fixture
def small_disk(tmp_path):
    "A disk of two megabytes."
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try: done = subprocess.run(words, capture_output=True, text=True)
    except OSError as error: pytest.skip(f"no small disk can be mounted here: {error}")
    if done.returncode: pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_every_file_readable_and_says_what_to_free(small_disk, capfd):
    from safetensors.torch import load_file

    from ambiguity_nb.core import load_state
    from ambiguity_nb.jobs.cli import main

    def command(name): return main(["classifier", "--data", "wine", "--n_epochs", "2", "--progress", "false", "--name",
                                    name, "--run_folder", str(small_disk)])

    assert command("before") == 0
    kept = {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()}
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)): pass
    os.truncate(filler, filler.stat().st_size - 30_000)                     # room for the settings, not for the weights
    capfd.readouterr()
    assert command("after") == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert "is full" in last and "delete runs" in last and "goes on from there" in last
    assert {path: path.read_bytes() for path in kept} == kept
    for path in small_disk.rglob("*.safetensors"): load_state(path) if path.stem == "checkpoint" else load_file(path)
    assert not list(small_disk.rglob(".*")), "half a file was left"
    filler.unlink()
    assert command("after") == 0
