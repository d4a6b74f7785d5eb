"""A training run that is killed for real, and what a run costs its surroundings."""
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

script = """
import sys
import torch
torch.set_num_threads(1)
from ambiguity_nb.models import lenet, save_model
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Hook, Training, fit

class Say(Hook):
    "Tells the parent process how far the run is."
    def before_fit(self, model, samples, n_epochs): self.steps = 0
    def train_batch(self, index, logits, y):
        self.steps += 1
        print("step", self.steps, flush=True)

samples = load_samples("digits").replace(name="digits")
samples = samples.replace(x=samples.x.repeat(2, 2).repeat(2, 3))
model = lenet(image_size=16)
fit(model, samples.subset(slice(0, 640)), Training(n_epochs=4, schedule="cosine"), hooks=[Say()], folder=sys.argv[1])
save_model(sys.argv[2], model)
"""


def start(folder: Path, weights: Path) -> subprocess.Popen:
    "The training script in a process of its own."
    words = [sys.executable, "-c", script, str(folder), str(weights)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def kill_after(process: subprocess.Popen, steps: int) -> None:
    "SIGKILL as soon as the process reports that many steps."
    for line in process.stdout:
        if line.strip() == f"step {steps}": break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_killed_five_times_ends_with_the_same_weights(tmp_path):
    process = start(tmp_path / "whole", tmp_path / "whole.safetensors")
    process.communicate()
    assert process.returncode == 0
    # 10 steps an epoch: in the first epoch, at its first step, in the middle, after a checkpoint, in the last epoch
    for steps in (3, 1, 15, 11, 8):
        process = start(tmp_path / "cut", tmp_path / "cut.safetensors")
        kill_after(process, steps)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "cut.safetensors").exists()
        leftovers = [p.name for p in (tmp_path / "cut").glob("*")] if (tmp_path / "cut").exists() else []
        assert "checkpoint.safetensors" in leftovers or not [n for n in leftovers if not n.startswith(".")]
    process = start(tmp_path / "cut", tmp_path / "cut.safetensors")
    process.communicate()
    assert process.returncode == 0
    whole, cut = load_file(tmp_path / "whole.safetensors"), load_file(tmp_path / "cut.safetensors")
    assert whole.keys() == cut.keys()
    for key in whole: assert (whole[key] == cut[key]).all(), key


def test_killed_while_writing_keeps_the_last_checkpoint(tmp_path):
    # the file is written beside and renamed, so a kill at any time leaves a checkpoint that loads
    from ambiguity_nb.core import load_state

    process = start(tmp_path / "run", tmp_path / "w.safetensors")
    deadline = time.time() + 60
    while not (tmp_path / "run" / "checkpoint.safetensors").exists():
        assert time.time() < deadline and process.poll() is None
        time.sleep(.001)
    process.kill()
    process.communicate()
    assert load_state(tmp_path / "run" / "checkpoint.safetensors")["history"]


def test_a_full_disk_does_not_harm_the_old_checkpoint(tmp_path, monkeypatch):
    import torch

    from ambiguity_nb import core

    path = core.save_state(tmp_path / "a.safetensors", {"x": torch.ones(3)})

    def full(*args, **kwargs): raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"): core.save_state(path, {"x": torch.zeros(3)})
    assert core.load_state(path)["x"].sum() == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
