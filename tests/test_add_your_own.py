"""The recipes of nbs/how-to/add_your_own.ipynb as a user would follow them: a file, then the command in a terminal."""
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import measure_notebooks as measured
import pytest

root = Path(__file__).resolve().parent.parent
cells = measured.cells_of(root / "nbs" / "how-to" / "add_your_own.ipynb")
recipes = {}  # name of the file: its text, and the words that use it
for before, cell in zip(cells, cells[1:], strict=False):
    if (found := re.match(r"%%writefile (\S+)\n", before.source)):
        words = re.findall(r'ambiguity\("([^"]+)"\)', cell.source)
        recipes[found[1]] = (before.source.partition("\n")[2], words)


def test_there_is_a_recipe_for_each_kind():
    assert list(recipes) == ["my_score.py", "my_hardness.py", "my_loss.py", "my_model.py", "my_data.py"]


@pytest.mark.parametrize("file", recipes)
def test_recipe_works_from_a_terminal(file, tmp_path):
    text, commands = recipes[file]
    assert len(text.splitlines()) <= 30
    (tmp_path / file).write_text(text)
    assert len(commands) == 1 and f"{file.removesuffix('.py')}:" in commands[0]
    env = os.environ | {"PYTHONPATH": str(root), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "ambiguity_nb", *shlex.split(commands[0]), "--progress", "false"]
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / result.stdout.strip().splitlines()[-1]).exists()
    left = {p.name for p in tmp_path.iterdir()} - {file, "runs", "__pycache__"}
    assert not left
