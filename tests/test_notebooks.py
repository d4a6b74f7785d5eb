"""Notebooks as JupyterLab's Run All runs them: in a kernel, top to bottom, wherever it was started."""
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

root = Path(__file__).resolve().parent.parent
notebooks = sorted(p for p in (root / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def run_all(path: Path, base: Path) -> None:
    "Execute all cells but the slow ones in a kernel that starts beside the notebook, in a repository laid out anew."
    folder = base / path.relative_to(root).parent
    folder.mkdir(parents=True)
    (base / "experiments").symlink_to(root / "experiments")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [c for c in notebook.cells if not (c.cell_type == "code" and c.source.startswith("#| slow"))]
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=place).execute()
    assert not list(folder.iterdir()), "the notebook left files behind"


def test_a_notebook_runs_from_any_folder(tmp_path): run_all(root / "nbs" / "02_models.ipynb", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", notebooks, ids=lambda p: p.relative_to(root / "nbs").as_posix())
def test_every_notebook_runs_from_any_folder(notebook, tmp_path): run_all(notebook, tmp_path)
