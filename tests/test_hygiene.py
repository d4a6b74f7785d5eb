"""What must hold for the repository as a whole: how notebooks are laid out, the modules they export, the package."""
import ast
import graphlib
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import measure_notebooks as measured
import pytest
import yaml
from readme import render

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "tools"))
import pages as site_pages  # noqa: E402

pages = measured.notebooks_of(root)  # path below nbs -> cells
notebooks = [root / "nbs" / name for name in pages]
sources = measured.modules_of(root)  # dotted name below the package -> source
modules = sorted(sources)
by_name = pytest.mark.parametrize("notebook", notebooks, ids=list(pages))
by_page = pytest.mark.parametrize("page", pages)
numbered = [name for name in pages if re.match(r"\d\d", name)]
numbers = ["00_data", "01_hardness_types", "02_models", "03_training", "04_scores", "05_fid", "06_gasten",
           "07_patterns", "08_prototypes", "09_benchmark"]


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
    for name in ("settings.ini", "setup.py", "pyproject.toml", "_quarto.yml", "README.md"):
        shutil.copy(root / name, folder / name)
    ignored = shutil.ignore_patterns(".ipynb_checkpoints", "runs")
    shutil.copytree(root / "nbs", folder / "nbs", symlinks=True, ignore=ignored)
    for package in ("ambiguity_nb", "ambiguity_nb/jobs"):  # these are written by hand
        (folder / package).mkdir()
        shutil.copy(root / package / "__init__.py", folder / package / "__init__.py")
    return folder


def nbdev(command: str, folder: Path, *args: str) -> None:
    "Run an nbdev command in a folder and show what it said if it failed."
    env = os.environ | {"PYTHONPATH": str(root)}
    program = Path(sys.executable).parent / command
    result = subprocess.run([program, *args], cwd=folder, env=env, capture_output=True, text=True)
    assert result.returncode == 0, f"{command} failed:\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"


# -------------------------------------------------------------------------------------------- notebooks and modules
def test_every_numbered_notebook_is_there():
    present = {n.stem for n in notebooks}
    others = ["core", "index", "run", "report", "cli", "api", "commands", "glossary", "add_your_own"]
    assert not [n for n in numbers + others if n not in present]


def test_modules_are_what_the_notebooks_export(copy):
    nbdev("nbdev_export", copy)
    exported = sorted((copy / "ambiguity_nb").rglob("*.py"))
    for made in exported:
        name = made.relative_to(copy)
        committed = root / name
        assert committed.exists(), f"{name} is exported but not committed; run nbdev_export"
        assert committed.read_text() == made.read_text(), f"{name} differs from its notebook; run nbdev_export"
    committed = {p.relative_to(root) for p in (root / "ambiguity_nb").rglob("*.py")}
    left = {p.as_posix() for p in committed - {p.relative_to(copy) for p in exported}}
    assert left <= {"ambiguity_nb/__main__.py"}


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
        found = local.search(text)
        assert not found, f"cell {i} shows a path of a machine: {found.group()} in {text[:200]}"


@by_name
def test_import_cells_hold_nothing_else(notebook):
    # the site's build re-runs cells with an import, without the cells above them
    for i, cell in enumerate(json.loads(notebook.read_text())["cells"]):
        if cell["cell_type"] != "code" or "".join(cell["source"]).startswith("%%"): continue  # a file is not run there
        statements = ast.parse(re.sub(r"(?m)^[%!].*$", "", "".join(cell["source"]))).body
        imports = [isinstance(s, (ast.Import, ast.ImportFrom)) for s in statements]
        mixed = any(imports) and not all(imports)
        assert not mixed, f"cell {i} mixes imports with other code; move them to the cell of test imports"


@by_name
def test_links_lead_somewhere(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] != "markdown": continue
        for target in re.findall(r"\]\(([^)\s]+)\)", "".join(cell["source"])):
            if re.match(r"(https?:|mailto:|#)", target): continue
            path = (notebook.parent / target.split("#")[0])
            assert path.exists() or (root / target.split("#")[0]).exists(), f"link to {target} leads nowhere"


def test_readme_is_the_index_notebook():
    text, images = render(root / "nbs" / "index.ipynb")
    assert (root / "README.md").read_text() == text, "run `make readme`"
    stored = {p.name: p.read_bytes() for p in (root / "nbs" / "images").iterdir()}
    said = "run `make readme`: nbs/images holds the notebook's figures and nothing else"
    assert sorted(stored) == sorted(images), said
    different = [name for name in images if stored[name] != images[name]]
    assert not different, f"{different} are not the notebook's figures; run `make readme`"
    targets = re.findall(r"\]\((?!\w+:|#)([^)\s]+)\)", text)
    assert not [t for t in targets if not (root / t).exists()], "a link of README.md leads nowhere"
    assert {f"nbs/images/{name}" for name in images} <= set(targets), "README.md leaves out a figure"


# ---------------------------------------------------------------------------------- how pages are laid out
@by_page
def test_the_first_text_is_title_and_summary(page):
    # nbdev makes it the head of the page and drops whatever else it says
    first = next(c for c in pages[page] if c.kind == "markdown")
    lines = [line for line in first.source.splitlines() if line.strip()]
    kinds = [line[:2] for line in lines]
    assert kinds == ["# ", "> "], f"the first Markdown cell holds only `# Title` and one line `> summary`, not {lines}"


@pytest.mark.parametrize("page", [*numbered, "core.ipynb"])
def test_a_page_begins_with_what_a_user_gets(page):
    first = pages[page][:8]
    shown = [c.index for c in first if any(o.get("data", {}).keys() & {"image/png", "text/html"} for o in c.outputs)]
    assert shown, "no figure or table within the first eight cells"
    text = " ".join(c.source for c in pages[page][:9])
    assert re.search(r"\bin short\b", text, re.IGNORECASE), "no cell `In short` at the beginning"


@by_page
def test_every_section_shows_something(page):
    bare = [heading for heading, cells in measured.sections(pages[page]) if not any(c.shows for c in cells)]
    assert not bare, f"sections without a stored value, table or figure: {bare}"


@by_page
def test_figures_have_words_and_can_be_read(page):
    wrong = []
    for cell in pages[page]:
        for width, height in cell.pictures():
            if not cell.marks.get("fig-alt"): wrong.append(f"cell {cell.index}: no `#| fig-alt`")
            if width < 600: wrong.append(f"cell {cell.index}: {width} x {height} pixels; a figure has 600 or more")
    assert not wrong, "\n".join(wrong)


@by_page
def test_directives_can_be_read(page):
    # Quarto reads them as YAML, all lines of a cell together
    wrong = []
    for cell in pages[page]:
        lines = re.findall(r"(?m)^#\| *([\w-]+:.*)$", cell.source) if cell.kind == "code" else []
        try: read = yaml.safe_load("\n".join(lines)) or {}
        except yaml.YAMLError as error: wrong.append(f"cell {cell.index}: {str(error)[:200]}")
        else: wrong += [f"cell {cell.index}: {k}" for k, v in read.items() if not isinstance(v, (str, bool, int))]
    assert not wrong, "put words that hold a colon in quotes:\n" + "\n".join(wrong)


@pytest.mark.parametrize("page", [name for name in pages if re.match(r"06[de]_|09", name)])
def test_figures_of_results_say_what_to_see(page):
    wrong = [c.index for c in pages[page] if c.pictures() and not c.marks.get("fig-cap")]
    assert not wrong, f"cells with a figure and no `#| fig-cap`: {wrong}"


@by_page
def test_sentences_are_text(page):
    # the repr of a long string is cut off at the right, and its line breaks are \n
    wrong = []
    for cell in pages[page]:
        for output in cell.outputs:
            text = "".join(output.get("data", {}).get("text/plain", ""))
            if output.get("data", {}).keys() <= {"text/plain"} and re.match(r"\(?['\"]", text) and len(text) > 120:
                wrong.append(f"cell {cell.index}: {text[:60]}...")
    assert not wrong, "show these with `Markdown(...)` or `print`:\n" + "\n".join(wrong)


@by_page
def test_lines_of_code_fit_the_page(page):
    wrong = [f"cell {c.index}: {len(line)}: {line.strip()[:50]}"
             for c in pages[page] if c.kind == "code" for line in c.source.splitlines()
             if len(line) > 120 and not line.startswith("#|")]             # directives are not shown
    assert not wrong, "lines over 120 characters:\n" + "\n".join(wrong)


def test_lines_of_files_are_short():
    files = [p for folder in ("ambiguity_nb", "tests", "tools") for p in sorted((root / folder).rglob("*.py"))]
    lines = {p: measured.written(p.read_text(encoding="utf-8")) for p in files if p.name != "_modidx.py"}
    wrong = [f"{p.relative_to(root)}: {len(line)}: {line.strip()[:60]}" for p in lines for line in lines[p]
             if len(line) > 120]
    assert not wrong, "lines over 120 characters:\n" + "\n".join(wrong)


exported = [(name, c) for name, cells in pages.items() for c in cells if c.exported]


def test_export_cells_are_small():
    sizes = sorted((len(c.lines), name, c.index) for name, c in exported)
    lines = [n for n, _, _ in sizes]
    largest = "\n".join(f"{n} lines: {name}, cell {i}" for n, name, i in sizes[::-1][:20])
    median, nine_in_ten = measured.statistics.median(lines), measured.quantile(lines, .9)
    assert (median <= 10, nine_in_ten <= 25, lines[-1] <= 60) == (True, True, True), \
        f"median {median:g} (10), nine in ten {nine_in_ten} (25), most {lines[-1]} (60) lines:\n{largest}"


def test_export_cells_hold_one_definition():
    several = [f"{name}, cell {c.index}: {', '.join(c.defined)}" for name, c in exported if len(c.defined) > 1]
    share = len(several) / len(exported)
    assert share < .15, f"{share:.0%} of the export cells define several things:\n" + "\n".join(several)


# -------------------------------------------------------------------------------------------- names and signatures
def test_functions_take_few_arguments():
    wrong = [f"{name}.{function}: {n}" for name, source in sources.items()
             for function, n in measured.argument_counts(source).items() if n > 12]
    assert not wrong, "more than 12 parameters; group them in a frozen dataclass:\n" + "\n".join(wrong)


def test_public_names_are_few():
    counts = {name: len(measured.public_names(source)) for name, source in sources.items()}
    most = "\n".join(f"{n:4} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))
    assert sum(counts.values()) <= 220, f"{sum(counts.values())} public names:\n{most}"


def test_a_module_defines_each_name_once():
    wrong = []
    for module, source in sources.items():
        names = [n for node in ast.parse(source).body if isinstance(node, measured.definitions)
                 for n in site_pages.as_list(site_pages.patch_name(node))]
        wrong += [f"{module}.{n}" for n in sorted(set(names)) if names.count(n) > 1]
    assert not wrong, f"defined twice: {wrong}"


def test_public_names_are_used_once():
    homes = {}
    for name, source in sources.items():
        for public in measured.public_names(source): homes.setdefault(public, []).append(name)
    # a command and the function of its job may share a word with something of a component
    twice = {n: h for n, h in homes.items() if len(h) > 1 and sum(not m.startswith("jobs.") for m in h) > 1}
    assert not twice, f"names that mean two things: {twice}"


def test_words_about_arguments_stand_beside_them():
    wrong = {name: measured.args_lines(source) for name, source in sources.items()}
    wrong = {name: lines for name, lines in wrong.items() if lines}
    assert not wrong, f"`Args:` blocks (module: lines); a trailing comment behind each argument says it once: {wrong}"


def test_choices_are_refused_in_one_place():
    wrong = [name for name, source in sources.items() if name != "core" and measured.unknown_choice.search(source)]
    assert not wrong, f"`unknown ...; choose from` is written by `Registry` or `check_choice` of core, not in {wrong}"


british = re.compile(r"normalis|standardis|summaris|initialis|optimis(?!m|t)|colour|grey(?!s[\"'])|centre|artefact"
                     r"|behaviour|neighbour|labell", re.IGNORECASE)  # "Greys" is the name of a color map


def test_names_are_spelled_the_american_way():
    wrong = []
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            names = [getattr(node, "name", None), getattr(node, "arg", None)]
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store): names.append(node.id)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store): names.append(node.attr)
            wrong += [f"{module}.{name}" for name in names if isinstance(name, str) and british.search(name)]
    assert not wrong, f"spelled the British way: {sorted(set(wrong))}"


@by_page
def test_prose_is_spelled_the_american_way(page):
    words = re.compile(rf"\w*(?:{british.pattern})\w*", re.IGNORECASE)
    found = {c.index: sorted(set(words.findall(c.source))) for c in pages[page]}
    wrong = [f"cell {i}: {', '.join(said)}" for i, said in found.items() if said]
    assert not wrong, "spelled the British way:\n" + "\n".join(wrong)


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
                if not inspect.isfunction(value) or method.startswith("_") or inherited: continue
                if not (value.__doc__ or "").strip(): missing.append(f"{public}.{method}")
    assert not missing, f"public names without a docstring: {missing}"


# -------------------------------------------------------------------------------------------- the package
def test_ruff_passes():
    def ruff(*args):
        command = [sys.executable, "-m", "ruff", "check", *args]
        return subprocess.run(command, cwd=root, capture_output=True, text=True)

    result = ruff("--output-format=concise", "ambiguity_nb", "tests", "tools", "setup.py")
    assert result.returncode == 0, result.stdout
    result = ruff("--isolated", "--select", "F821,F401,F403,F405", "ambiguity_nb")
    assert result.returncode == 0, result.stdout


def test_package_imports_without_its_development_tools():
    code = ("import sys\n"
            "tools = ('nbdev', 'fastcore', 'execnb', 'ghapi', 'wandb', 'pytest', 'IPython.core.magic')\n"
            "for name in tools: sys.modules[name] = None\n"
            "sys.modules.pop('IPython.core.magic')\n"
            "import importlib, ambiguity_nb\n"
            f"for name in {modules!r}: importlib.import_module('ambiguity_nb.' + name)\n")
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def test_the_front_page_leads_to_what_its_modules_hold():
    # a module of the same name would hide a name once it is imported
    import ambiguity_nb

    for name, module in ambiguity_nb._home.items():
        thing = vars(importlib.import_module(f"ambiguity_nb.{module}"))[name]
        assert getattr(ambiguity_nb, name) is thing, name
    assert not {p.stem for p in (root / "ambiguity_nb").iterdir()} & ambiguity_nb._home.keys()


def test_importing_the_package_imports_nothing_heavy():
    heavy = ("torch", "numpy", "pandas", "matplotlib", "sklearn", "umap")
    code = f"import sys, ambiguity_nb; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def imports_of(source: str, module: str, deep: bool) -> set[str]:
    "The modules of this package that one imports; with those inside functions if `deep`."
    tree, found = ast.parse(source), set()
    for node in ast.walk(tree) if deep else tree.body:
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("ambiguity_nb.") for a in node.names if a.name.startswith("ambiguity_nb.")}
        if not isinstance(node, ast.ImportFrom): continue
        parents = module.split(".")[:-node.level] if node.level else []
        if node.level or (node.module or "").split(".")[0] == "ambiguity_nb":
            inside = (node.module or "") if node.level else (node.module or "").removeprefix("ambiguity_nb").lstrip(".")
            base = ".".join([*parents, *([inside] if inside else [])])
            found |= {base} if base in sources else {f"{base}.{a.name}".lstrip(".") for a in node.names}
    return found & set(sources)


def heights() -> dict[str, float]:
    "Module -> the number of its notebook; core is under all, jobs are on top."
    found = {}
    for name, cells in pages.items():
        exports = [c.marks["default_exp"] for c in cells if "default_exp" in c.marks]
        if not exports: continue  # a page of results exports nothing
        number = re.match(r"\d\d", name)
        found[exports[0]] = int(number[0]) if number else 100 if name.startswith("jobs/") else -1
    return found


def test_components_do_not_import_the_frame_or_higher_numbers():
    height = heights()
    assert set(height) == set(modules), "every module has a notebook"
    assert [n for n, h in height.items() if h == -1] == ["core"], "core alone is under the numbers"
    for name, source in sources.items():
        higher = {m for m in imports_of(source, name, deep=True) if height[m] > height[name]}
        assert not higher, f"{name} imports {sorted(higher)}"
    # within a number, and within the jobs, there is an order too
    graph = {name: imports_of(source, name, deep=False) for name, source in sources.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, naming the circle


def test_nothing_is_left_open():
    words = re.compile(r"\b(T[O]DO|F[I]XME|X{3}|NotImplemented\w*)\b")  # not found itself
    found = [f"{name}: {match.group()}" for name, source in sources.items() if (match := words.search(source))]
    assert not found
