"""What must hold for the repository as a whole: notebooks, the modules they export, the docs site, the package."""
import ast
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from readme import render

root = Path(__file__).resolve().parent.parent
notebooks = sorted(p for p in (root / "nbs").rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(root).parts))
modules = sorted(p.stem for p in (root / "ambiguity_nb").glob("*.py") if not p.stem.startswith("_"))
by_name = pytest.mark.parametrize("notebook", notebooks, ids=lambda p: p.relative_to(root / "nbs").as_posix())


def outputs(notebook: Path):
    "All outputs of a notebook's cells, each with the number of its cell."
    for i, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        for output in cell.get("outputs", []): yield i, output


def text_of(output: dict) -> str:
    "What an output says, without its images."
    parts = [output.get("text", "")] + [v for k, v in output.get("data", {}).items() if not k.startswith("image/")]
    return "".join("".join(p) if isinstance(p, list) else json.dumps(p) if isinstance(p, dict) else p for p in parts)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    "A copy of what nbdev reads, in which commands may write."
    folder = tmp_path_factory.mktemp("copy")
    for name in ("settings.ini", "setup.py", "pyproject.toml", "_quarto.yml", "README.md"): shutil.copy(root / name, folder / name)
    shutil.copytree(root / "nbs", folder / "nbs", symlinks=True, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "runs"))
    return folder


def nbdev(command: str, folder: Path, *args: str) -> None:
    "Run an nbdev command in a folder and show what it said if it failed."
    env = os.environ | {"PYTHONPATH": str(root)}
    result = subprocess.run([Path(sys.executable).parent / command, *args], cwd=folder, env=env, capture_output=True, text=True)
    assert result.returncode == 0, f"{command} failed:\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"


def test_every_numbered_notebook_is_there():
    names = ["00_data", "01_hardness_types", "02_models", "03_training", "04_scores", "05_fid", "06_gasten", "07_patterns", "08_prototypes", "09_benchmark"]
    present = {n.stem for n in notebooks}
    assert not [n for n in names + ["index", "tracking", "report", "cli"] if n not in present]


def test_modules_are_what_the_notebooks_export(copy):
    (copy / "ambiguity_nb").mkdir(exist_ok=True)
    nbdev("nbdev_export", copy)
    for exported in sorted((copy / "ambiguity_nb").glob("*.py")):
        committed = root / "ambiguity_nb" / exported.name
        assert committed.exists(), f"{exported.name} is exported but not committed; run nbdev_export"
        assert committed.read_text() == exported.read_text(), f"{exported.name} differs from its notebook; run nbdev_export"
    assert {p.name for p in (root / "ambiguity_nb").glob("*.py")} - {p.name for p in (copy / "ambiguity_nb").glob("*.py")} <= {"__main__.py"}


def test_notebooks_are_clean(copy):
    nbdev("nbdev_clean", copy)
    dirty = [n.name for n in notebooks if n.read_text() != (copy / n.relative_to(root)).read_text()]
    assert not dirty, f"{dirty} change under nbdev_clean; run it and commit"


@by_name
def test_outputs_are_small_and_speak_of_no_machine(notebook):
    assert notebook.stat().st_size < 1_000_000, "make figures smaller"
    code = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    assert len(code) < 10 or any(c["outputs"] for c in code), "no stored output: the docs site would show nothing"
    local = re.compile(r"/(home|root|tmp|Users|work|var/folders|private)/|site-packages/|[A-Z]:\\\\")
    for i, output in outputs(notebook):
        text = text_of(output)
        assert output["output_type"] != "error", f"cell {i} holds a failed output"
        assert output.get("name") != "stderr", f"cell {i} holds a warning or log: {text[:200]}"
        assert not re.search(r"\b\w*Warning\b", text), f"cell {i} shows a warning: {text[:200]}"
        assert not local.search(text), f"cell {i} shows a path of a machine: {local.search(text).group()} in {text[:200]}"


@by_name
def test_import_cells_hold_nothing_else(notebook):
    # the site's build re-runs cells with an import, without the cells above them
    for i, cell in enumerate(json.loads(notebook.read_text())["cells"]):
        if cell["cell_type"] != "code": continue
        statements = ast.parse(re.sub(r"(?m)^[%!].*$", "", "".join(cell["source"]))).body
        imports = [isinstance(s, (ast.Import, ast.ImportFrom)) for s in statements]
        assert all(imports) or not any(imports), f"cell {i} mixes imports with other code; move them to the cell of test imports"


@by_name
def test_links_lead_somewhere(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] != "markdown": continue
        for target in re.findall(r"\]\(([^)\s]+)\)", "".join(cell["source"])):
            if re.match(r"(https?:|mailto:|#)", target): continue
            path = (notebook.parent / target.split("#")[0])
            assert path.exists() or (root / target.split("#")[0]).exists(), f"link to {target} leads nowhere"


def test_site_lists_every_notebook_once():
    def entries(node):
        if isinstance(node, str): return [node]
        if isinstance(node, list): return [e for item in node for e in entries(item)]
        return entries(node.get("contents", [])) + ([node["href"]] if "href" in node else [])

    sidebar = yaml.safe_load((root / "nbs" / "sidebar.yml").read_text())["website"]["sidebar"]["contents"]
    listed = entries(sidebar)
    present = [n.relative_to(root / "nbs").as_posix() for n in notebooks]
    assert sorted(listed) == sorted(present)
    quarto = yaml.safe_load((root / "_quarto.yml").read_text())
    for side in ("left", "right"):
        for item in quarto["website"]["navbar"][side]:
            assert item["href"].startswith("http") or (root / "nbs" / item["href"]).exists(), item
    link = root / "nbs" / "_quarto.yml"
    assert link.is_symlink() and os.readlink(link) == "../_quarto.yml"


def test_nbdev_processes_every_notebook_for_the_site(copy):
    # not the command `nbdev_proc_nbs`, which would first install Quarto and this package
    code = "from nbdev.doclinks import _build_modidx\nfrom nbdev.serve import proc_nbs\nif __name__ == '__main__':\n    _build_modidx()\n    proc_nbs()\n"
    (copy / "process.py").write_text(code)
    nbdev("python", copy, "process.py")
    for notebook in notebooks: assert (copy / "_proc" / notebook.relative_to(root / "nbs")).exists(), notebook.name


def test_readme_is_the_index_notebook():
    assert (root / "README.md").read_text() == render(root / "nbs" / "index.ipynb"), "run `make readme`"


@pytest.mark.parametrize("name", modules)
def test_public_names_have_docstrings(name):
    module = importlib.import_module(f"ambiguity_nb.{name}")
    missing = []
    for public in module.__all__:
        thing = getattr(module, public)
        if not (inspect.isfunction(thing) or inspect.isclass(thing)): continue
        if not (thing.__doc__ or "").strip(): missing.append(public)
        if inspect.isclass(thing):
            for method, value in vars(thing).items():
                value = getattr(value, "fget", None) or getattr(value, "__func__", value)
                # an override says what its base class's method says
                inherited = any(hasattr(base, method) for base in thing.__mro__[1:])
                if inspect.isfunction(value) and not method.startswith("_") and not inherited and not (value.__doc__ or "").strip():
                    missing.append(f"{public}.{method}")
    assert not missing, f"public names without a docstring: {missing}"


def test_ruff_passes():
    result = subprocess.run([sys.executable, "-m", "ruff", "check", "ambiguity_nb", "tests", "setup.py"], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    result = subprocess.run([sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F401,F403,F405", "ambiguity_nb"], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_package_imports_without_its_development_tools():
    code = ("import sys\n"
            "for name in ('nbdev', 'fastcore', 'execnb', 'ghapi', 'wandb', 'pytest', 'IPython.core.magic'): sys.modules[name] = None\n"
            "sys.modules.pop('IPython.core.magic')\n"
            "import importlib, ambiguity_nb\n"
            f"for name in {modules!r}: importlib.import_module('ambiguity_nb.' + name)\n")
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, ambiguity_nb; print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib', 'sklearn', 'umap') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_components_do_not_import_the_frame_or_higher_numbers():
    order = [p.stem for p in notebooks if re.match(r"\d\d", p.stem) and "#| default_exp" in p.read_text()]  # a page of results exports nothing
    names = [re.sub(r"^\d\d[a-z]?_", "", stem) for stem in order]
    for position, name in enumerate(names):
        source = (root / "ambiguity_nb" / f"{name}.py").read_text()
        used = set(re.findall(r"from (?:ambiguity_nb)?\.(\w+) import", source))
        assert used <= set(names[:position]), f"{name} imports {sorted(used - set(names[:position]))}"


def test_nothing_is_left_open():
    words = re.compile(r"\b(TODO|FIXME|XXX|NotImplemented\w*)\b")
    found = [f"{p.name}: {words.search(p.read_text()).group()}" for p in sorted((root / "ambiguity_nb").glob("*.py")) if words.search(p.read_text())]
    assert not found
