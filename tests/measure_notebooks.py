"""Measures how the notebooks and the package are laid out: `python tests/measure_notebooks.py [TREE [TREE ...]]`.

One table, a column for each tree; tests/test_hygiene.py holds the same numbers to limits. A cell's lines are those that
are neither blank nor a directive. Nothing is imported from the tree, so that an old one can be measured too.
"""
import ast
import base64
import json
import re
import statistics
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

root = Path(__file__).resolve().parent.parent
definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
unknown_choice = re.compile(r"unknown [^\n]*choose from")


@dataclass
class Cell:
    "A cell of a notebook."
    index: int  # from 0
    kind: str  # markdown, code or raw
    source: str
    outputs: list = field(default_factory=list)

    @property
    def marks(self) -> dict[str, str]:
        "The directives on top of a code cell: name -> what follows."
        found = {}
        for line in self.source.splitlines():
            if not (match := re.match(r"\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*)$", line)): break
            found[match[1]] = match[2].strip().strip("\"'")
        return found

    @property
    def exported(self) -> bool:
        "Whether the cell becomes part of a module."
        return self.kind == "code" and bool(self.marks.keys() & {"export", "exports", "exporti"})

    @property
    def lines(self) -> list[str]:
        "Lines of code."
        return [line for line in self.source.splitlines() if line.strip() and not re.match(r"\s*#\s*\|", line)]

    @property
    def body(self) -> list[ast.stmt]:
        "The statements of a code cell, magics left out; none of a cell that is a file (`%%writefile`)."
        if self.kind != "code" or self.source.startswith("%%"): return []
        return ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", self.source)).body

    @property
    def defined(self) -> list[str]:
        "Functions and classes defined at the top level."
        return [node.name for node in self.body if isinstance(node, definitions)]

    def pictures(self) -> list[tuple[int, int]]:
        "Width and height of each stored figure, in pixels."
        return [png_size(o["data"]["image/png"]) for o in self.outputs if "image/png" in o.get("data", {})]

    @property
    def shows(self) -> bool:
        "Whether it shows a value, a table or a figure: as a stored output that is not documentation, or written out."
        if self.kind == "markdown": return bool(re.search(r"(?m)^!\[|^\|[-: |]+\|$", self.source))
        if self.kind != "code" or "show_doc(" in self.source: return False
        return any(o.get("data") or "".join(o.get("text", "")).strip() for o in self.outputs)


def png_size(data) -> tuple[int, int]:
    "Width and height of a PNG given as base64."
    head = base64.b64decode("".join(data)[:64])
    return struct.unpack(">II", head[16:24])


def cells_of(notebook: Path) -> list[Cell]:
    "The cells of a notebook."
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [Cell(i, c["cell_type"], "".join(c["source"]), c.get("outputs", [])) for i, c in enumerate(cells)]


def notebooks_of(tree: Path) -> dict[str, list[Cell]]:
    "Path below nbs -> cells, for every notebook of a tree."
    found = sorted((tree / "nbs").rglob("*.ipynb"))
    named = {p.relative_to(tree / "nbs").as_posix(): p for p in found}
    return {name: cells_of(p) for name, p in named.items() if not re.search(r"(^|/)[._]", name)}


def modules_of(tree: Path) -> dict[str, str]:
    "Dotted name below the package -> source, for every module that notebooks export."
    package = tree / "ambiguity_nb"
    found = {".".join(p.relative_to(package).with_suffix("").parts): p for p in sorted(package.rglob("[!_]*.py"))}
    return {name: p.read_text(encoding="utf-8") for name, p in found.items()}


def written(source: str) -> list[str]:
    "The lines of a module that somebody wrote: without `__all__`, which nbdev wraps at 130 characters."
    return re.sub(r"(?m)^__all__ = \[[^\]]*\]\n", "", source).splitlines()


def sections(cells: list[Cell]) -> list[tuple[str, list[Cell]]]:
    "Heading of each H2 section and its cells."
    found: list[tuple[str, list[Cell]]] = []
    for cell in cells:
        headings = re.findall(r"(?m)^## +(.+?) *$", cell.source) if cell.kind == "markdown" else []
        found += [(heading, []) for heading in headings]
        if found: found[-1][1].append(cell)
    return found


def n_arguments(node: ast.FunctionDef) -> int:
    "Parameters of a function, `self` and `cls` not counted."
    a = node.args
    named = [p.arg for p in [*a.posonlyargs, *a.args, *a.kwonlyargs]]
    return len([n for n in named if n not in ("self", "cls")]) + bool(a.vararg) + bool(a.kwarg)


def argument_counts(source: str) -> dict[str, int]:
    "Function (with the line it starts on) -> how many parameters it has."
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {f"{n.name} (line {n.lineno})": n_arguments(n) for n in nodes}


def public_names(source: str) -> list[str]:
    "The functions and classes in the `__all__` of a module; constants, such as registries, are not counted."
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if not name.isupper()]
    return []


def front_names(tree: Path) -> int:
    "How many names `import ambiguity_nb` offers, the version aside."
    for node in ast.walk(ast.parse((tree / "ambiguity_nb" / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict) and len(node.keys) > 5:
            values = [v.value for v in node.values if isinstance(v, ast.Constant)]
            if len(values) == len(node.keys): return sum(len(v.split()) for v in values)
            return sum(len(getattr(v, "elts", [v])) for v in node.values)
    return 0


def quantile(values: list[int], share: float) -> int:
    "The value that a share of the others do not exceed."
    return sorted(values)[int(share * (len(values) - 1))] if values else 0


def measure(tree: Path) -> dict[str, object]:
    "The numbers of one tree, by what they say."
    notebooks, modules = notebooks_of(tree), modules_of(tree)
    exported = [c for cells in notebooks.values() for c in cells if c.exported]
    sizes = [len(c.lines) for c in exported]
    several = sum(len(c.defined) > 1 for c in exported)
    defining = sum(bool(c.defined) for c in exported)
    package = [line for source in modules.values() for line in source.splitlines()]
    typed = [line for cells in notebooks.values() for c in cells if c.kind == "code" for line in c.source.splitlines()]
    h2 = [(name, section) for name, cells in notebooks.items() for section in sections(cells)]
    bare = [section for _, section in h2 if not any(c.shows for c in section[1])]
    figures = [(c, size) for cells in notebooks.values() for c in cells for size in c.pictures()]
    counts = {k: n for source in modules.values() for k, n in argument_counts(source).items()}
    long = sum(len(line) > 120 for source in modules.values() for line in written(source))
    spread = f"{statistics.median(sizes):g} / {quantile(sizes, .9)} / {max(sizes)}"
    share = f"{several} of {len(exported)}, {defining} of which define ({several / len(exported):.0%})"
    return {
        "notebooks": len(notebooks),
        "export cells: lines, median / nine in ten / most": spread,
        "export cells with several definitions": share,
        "export cells whose source stays on the page": sum("exports" in c.marks for c in exported),
        "package lines": len(package),
        "package lines, blank ones and cells' marks aside": sum(
            bool(line.strip()) and not line.startswith("# %%") for line in package),
        "package lines over 120 characters": f"{long} ({long / len(package):.1%})",
        "lines over 120 characters in code cells": sum(len(line) > 120 for line in typed),
        "largest number of arguments": max(counts.values()),
        "functions with more than 12 arguments": sum(n > 12 for n in counts.values()),
        "public names": sum(len(public_names(source)) for source in modules.values()),
        "names on the front page": front_names(tree),
        "hand-written `unknown ...; choose from` outside core": sum(
            len(unknown_choice.findall(source)) for name, source in modules.items() if name != "core"),
        "lines under hand-written `Args:`": sum(len(args_lines(source)) for source in modules.values()),
        "H2 sections without a value, table or figure": f"{len(bare)} of {len(h2)}",
        "figures without alternative text": f"{sum('fig-alt' not in c.marks for c, _ in figures)} of {len(figures)}",
        "figures without a caption": f"{sum('fig-cap' not in c.marks for c, _ in figures)} of {len(figures)}",
        "figures narrower than 600 pixels": f"{sum(size[0] < 600 for _, size in figures)} of {len(figures)}",
    }


def args_lines(source: str) -> list[int]:
    "The numbers of the lines below an `Args:` in a docstring."
    found, inside = [], None
    for i, line in enumerate(source.splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if line.strip() == "Args:": inside = indent
        elif inside is not None and line.strip() and indent > inside: found.append(i)
        elif line.strip(): inside = None
    return found


def main() -> int:
    trees = [Path(p) for p in sys.argv[1:]] or [root]
    columns = [measure(tree) for tree in trees]
    print("| | " + " | ".join(tree.resolve().name for tree in trees) + " |\n|---|" + "---|" * len(trees))
    for key in columns[0]: print(f"| {key} | " + " | ".join(str(column[key]) for column in columns) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
