"""What strangers may have written: run folders, weights, settings and names cannot run code or write elsewhere.

Data files, archives and lists of images: `test_sources_files.py`. Each trap here would leave a mark if it were sprung.
"""
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ambiguity_nb.core import load_state, save_state
from ambiguity_nb.gasten import load_epoch
from ambiguity_nb.jobs.cli import main
from ambiguity_nb.jobs.report import Report
from ambiguity_nb.jobs.run import RunFolder, open_run
from ambiguity_nb.models import build_model, load_classifier, load_weights, save_classifier, save_model
from ambiguity_nb.networks import load_generator
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, fit


class Trap:
    "Makes a folder when it is unpickled."

    def __init__(self, folder: Path): self.folder = folder

    def __reduce__(self): return os.mkdir, (str(self.folder / "ran"),)


@pytest.fixture
def trap(tmp_path):
    "A trap, which must not be sprung in the end."
    yield Trap(tmp_path)
    assert not (tmp_path / "ran").exists(), "a stranger's code has run"


READERS = [load_state, load_classifier, load_generator, lambda path: load_epoch(path.parent),
           lambda path: load_weights(path, torch.nn.Linear(2, 2))]


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path)))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_weights_are_never_unpickled(reader, how, tmp_path, trap):
    path = tmp_path / "epoch-0001.safetensors"
    if how == "pickle": path.write_bytes(pickle.dumps({"model": trap}))
    else: torch.save({"model": trap}, path)
    with pytest.raises(ValueError, match="epoch-0001"): reader(path)
    path.rename(tmp_path / "net.pt")
    with pytest.raises((ValueError, FileNotFoundError)): reader(tmp_path / "net.pt")


def test_a_tampered_checkpoint_is_refused(tmp_path, trap):
    wine = load_samples("wine")

    def train(): return fit(build_model("tabular_mlp", wine), wine, Training(n_epochs=2), folder=tmp_path)

    train()
    path = tmp_path / "checkpoint.safetensors"
    whole, state = path.read_bytes(), load_state(path)
    for part, value in {"parts": {}, "rng": "text", "history": 3, "settings": [1]}.items():
        save_state(path, state | {part: value})
        with pytest.raises(ValueError, match="checkpoint.safetensors"): train()
    for content in (b"", whole[:99], whole[:-9], pickle.dumps(trap), b'\xff' * 99):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="safetensors"): train()
    path.write_bytes(whole)
    assert len(train()) == 2


def test_a_file_of_weights_does_not_choose_the_code(tmp_path, monkeypatch, trap):
    (tmp_path / "theirs.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    monkeypatch.chdir(tmp_path)
    wine = load_samples("wine")
    path = save_classifier(tmp_path / "net.safetensors", build_model("tabular_mlp", wine), "tabular_mlp", wine)
    meta = load_state(path)["meta"]
    save_model(path, build_model("tabular_mlp", wine), **(meta | {"name": "theirs:net"}))
    with pytest.raises(ValueError, match="code that a file alone does not run"): load_classifier(path)


# ------------------------------------------------------------------------------------------ settings
@pytest.mark.parametrize("text", [
    "data: !!python/object/apply:os.mkdir [{mark!r}]", "!!python/object/apply:os.mkdir [{mark!r}]",
    "data: !!python/name:os.mkdir", "lr: !!python/object/new:os.mkdir {{args: [{mark!r}]}}"])
def test_tags_of_yaml_run_nothing(text, tmp_path, trap, capsys):
    file = tmp_path / "a.yml"
    file.write_text(text.format(mark=str(tmp_path / "ran")))
    assert main(["hardness", "--config", str(file), "--trust"]) == 2
    assert "is no YAML" in capsys.readouterr().err
    run = open_run("job", {"lr": .1}, RunFolder(run_folder=tmp_path / "runs"))
    (run.folder / "config.yaml").write_text(text.format(mark=str(tmp_path / "ran")))
    with pytest.raises(ValueError, match="holds no settings of a run"):
        open_run("job", {"lr": .1}, RunFolder(run_folder=tmp_path / "runs"))


@pytest.mark.parametrize("setting", ["model: theirs:net", "optimizer: theirs:make", "data: theirs:samples",
                                     "scores: [aum, 'theirs:Score']"])
def test_a_settings_file_names_no_code_without_trust(setting, tmp_path, monkeypatch, trap, capsys):
    (tmp_path / "theirs.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    (tmp_path / "a.yml").write_text(f"{setting}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["hardness", "--config", "a.yml"]) == 2
    assert "add --trust" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ run folders
@pytest.mark.parametrize("name", ["..", "../up", "a/../../up", "/tmp/up", ".", ""])
def test_a_run_does_not_leave_its_folder_by_its_name(name):
    with pytest.raises(ValueError, match="is no plain name"): RunFolder(name)


LINKS = ["metrics.jsonl", "tables", "weights", "checkpoints/epoch-0001.safetensors", "dangling"]


@pytest.mark.parametrize("link", LINKS)
def test_links_out_of_a_run_folder_are_refused(link, tmp_path):
    place = RunFolder(run_folder=tmp_path / "runs")
    folder, outside = open_run("job", {"lr": .1}, place).folder, tmp_path / "outside"
    outside.write_text("mine\n")
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(outside if link != "dangling" else tmp_path / "nothing")
    with pytest.raises(ValueError, match="is a link to .*outside the run's folder; delete the link"):
        open_run("job", {"lr": .1}, place).log({"epoch": 1})
    assert outside.read_text() == "mine\n" and not (tmp_path / "nothing").exists()
    (folder / link).unlink()
    (folder / "inside").symlink_to(folder / "config.yaml")                  # nothing to say against it
    open_run("job", {"lr": .1}, place)


@pytest.mark.parametrize("line", ["[1]", "3", "{", '{"phase": {"a": 1}}', '{"epoch": [1]}', "\xff", "[" * 100_000])
def test_records_that_are_none_are_named_by_their_line(line, tmp_path):
    place = RunFolder(run_folder=tmp_path)
    run = open_run("job", {"lr": .1}, place)
    run.log({"epoch": 1})
    with (run.folder / "metrics.jsonl").open("a") as file: file.write(line + "\n")
    with pytest.raises(ValueError, match="line 2 of .*metrics.jsonl.*expected a record") as error:
        open_run("job", {"lr": .1}, place)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("text", ["", "- 1", "3", "a: [", "1: 2", "lr: &a [*a]", "a: " + "[" * 3000])
def test_settings_of_a_run_that_are_none_are_refused(text, tmp_path):
    place = RunFolder(run_folder=tmp_path)
    (open_run("job", {"lr": .1}, place).folder / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match="config.yaml.*holds no settings of a run|other settings"):
        open_run("job", {"lr": .1}, place)


# ---------------------------------------------------------------------------------------------- pages
EVIL = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"


def test_names_are_text_in_reports_and_no_script_may_run(tmp_path):
    import pandas as pd

    report = Report(EVIL, EVIL, {EVIL: EVIL})
    table = pd.DataFrame({EVIL: [EVIL]}, index=[EVIL])
    html = report.add(EVIL, EVIL, table=table, code=EVIL).write(tmp_path / "report.html").read_text()
    assert "<script" not in html and "<img" not in html and EVIL.replace("<", "&lt;")[:10] in html
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', html)
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert html.index("Content-Security-Policy") < html.index("<title>")


def test_names_of_classes_and_files_are_text_in_a_whole_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.array([EVIL, "../../up", "b"])[np.arange(60) % 3]
    np.savez("a.npz", x=rng.normal(size=(60, 2)) + (np.arange(60) % 3)[:, None], y=y,
             ids=[f"{EVIL}{i}" for i in range(60)])
    words = ["--data", "a.npz", "--model", "tabular_mlp", "--n_epochs", "1", "--progress", "false"]
    assert main(["hardness", "--scores", "aum", *words]) == 0
    assert main(["audit", *words]) == 0
    pages = list(Path("runs").rglob("report.html"))
    assert len(pages) == 2
    for page in pages:
        text = page.read_text()
        assert EVIL not in text and "<img src=x" not in text and "Content-Security-Policy" in text
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "runs"}
    json.loads(next(Path("runs").rglob("findings.json")).read_text())
