"""The run folder beside the real wandb, offline."""
import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pytest


def test_wandb_offline_keeps_the_same_records_locally(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is an optional extra: pip install 'ambiguity_nb[wandb]'")
    from ambiguity_nb.jobs.run import RunFolder, open_run

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    run = open_run("demo", {"lr": .1}, RunFolder(run_folder=tmp_path, wandb="offline"), group="step 1")
    run.log({"epoch": 1, "loss": .5}, phase="gan")
    run.log({"epoch": 1, "phase": "seed0-step1", "histogram": [1, 0, 3]})
    figure, ax = plt.subplots()
    ax.plot([1, 2])
    run.save_figure("losses", figure)
    plt.close(figure)
    run.finish()
    offline = list((run.folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(offline) == 1
    deadline = time.time() + 30  # wandb's own process writes the file
    # the last: as a histogram, not as a list
    for expected in (b"gan/loss", b"seed0-step1/histogram", b'_type\x82\x01\x0b"histogram"'):
        while expected not in offline[0].read_bytes():
            assert time.time() < deadline, f"{expected} is not in the offline run"
    assert list((run.folder / "wandb").glob("offline-run-*/files/media/images/figures/*.png"))
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"phase": "gan", "epoch": 1, "loss": .5},
                     {"epoch": 1, "phase": "seed0-step1", "histogram": [1, 0, 3]}]
    assert Path(run.folder / "figures" / "losses.png").exists()


def test_wandb_missing_is_said_before_work(tmp_path, monkeypatch):
    import sys

    from ambiguity_nb.jobs.run import RunFolder, open_run

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"ambiguity_nb\[wandb\]"):
        open_run("demo", {}, RunFolder(run_folder=tmp_path, wandb="offline"))
