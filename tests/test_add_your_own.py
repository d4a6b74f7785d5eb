"""The recipes of nbs/how-to/add_your_own.ipynb as a user would follow them: a file, then the command in a terminal."""
import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import measure_notebooks as measured
import pytest

root = Path(__file__).resolve().parent.parent
page = measured.cells_of(root / "nbs" / "how-to" / "add_your_own.ipynb")
sections = dict(measured.sections(page))


def files_of(cells: list[measured.Cell]) -> dict[str, str]:
    "The files that a section writes: name -> text."
    found = [re.match(r"%%writefile (\S+)\n(.*)", c.source, re.DOTALL) for c in cells if c.kind == "code"]
    return {match[1]: match[2] for match in found if match}


def commands_of(cells: list[measured.Cell]) -> list[list[str]]:
    "The words that a section gives to `ambiguity`."
    code = [c for c in cells if c.kind == "code" and not c.source.startswith("%%")]
    nodes = [n for c in code for statement in c.body for n in ast.walk(statement)]
    calls = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "ambiguity"]
    return [shlex.split(ast.literal_eval(call.args[0])) for call in calls]


def test_there_is_a_recipe_for_each_kind():
    assert list(sections) == ["A score", "A hardness type", "A confusion loss", "A model", "A data set"]


def terminal(words: list[str], folder: Path) -> str:
    "What a command printed in a process of its own."
    env = os.environ | {"PYTHONPATH": str(root), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "ambiguity_nb", *words]
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    "The same in this process, which then forgets what was registered and imported."
    from ambiguity_nb import CONFUSIONS, HARDNESS_TYPES, MODELS
    from ambiguity_nb.jobs.cli import main

    for registry in (CONFUSIONS, HARDNESS_TYPES, MODELS): monkeypatch.setattr(registry, "_things", dict(registry))
    before = set(sys.modules)

    def run(words: list[str], folder: Path) -> str:
        monkeypatch.chdir(folder)
        assert main(words) == 0, capsys.readouterr().err[-2000:]
        return capsys.readouterr().out

    yield run
    for name in set(sys.modules) - before:
        if name.startswith("my_"): del sys.modules[name]


@pytest.mark.parametrize("section", sections)
def test_recipe_works_from_a_terminal(section, tmp_path, here):
    files, (words,) = files_of(sections[section]), commands_of(sections[section])
    code = [name for name in files if name.endswith(".py")]
    assert len(code) == 1 and len(files[code[0]].splitlines()) <= 30
    for name, text in files.items(): (tmp_path / name).write_text(text)
    said = " ".join([*words, *(text for name, text in files.items() if name not in code)])
    assert f"{code[0].removesuffix('.py')}:" in said, "the command names what is in the file"
    said = (terminal if section == "A model" else here)(words, tmp_path)     # importing torch five times takes long
    assert (tmp_path / said.strip().splitlines()[-1]).exists()
    assert {p.name for p in tmp_path.iterdir()} <= {*files, "runs", "__pycache__"}
