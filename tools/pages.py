"""Notebooks -> pages of the site: nbdev's processing, with signatures as they are written and links inside the site.

nbdev 2.4 makes a signature from live objects (`<factory>`, `VAR_POSITIONAL`, `__main__.Score`, classes as `def`) and
links every word in backticks that is a name somewhere. Here a signature is the text of the exported module, and a word
is linked only if it means the name.
"""
import ast
import inspect
import posixpath
import re
from configparser import ConfigParser
from functools import lru_cache
from pathlib import Path

import gallery
import nbdev.serve
import nbdev.showdoc
import yaml
from execnb.nbio import mk_cell, read_nb
from nbdev.doclinks import _nbpath2html, nbglob, patch_name
from nbdev.process import Processor
from nbdev.processors import FilterDefaults, add_links, mv_exports

root = Path(__file__).resolve().parent.parent
definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@lru_cache(1)
def settings() -> dict:
    "The project's settings, as nbdev reads them."
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    return dict(config["DEFAULT"])


def parsed(source: str) -> list[ast.stmt]:
    "The statements of a cell; none if it is no plain Python."
    try: return ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source)).body
    except SyntaxError: return []


def directives(source: str) -> dict[str, str]:
    "The `#| name: value` lines on top of a cell."
    found = {}
    for line in source.splitlines():
        if not (match := re.match(r"#\s*\|\s*([\w-]+)\s*:?\s*(.*)$", line)): break
        found[match[1]] = match[2].strip()
    return found


# -------------------------------------------------------------------------------------------- what is documented where
class Book:
    "All pages: the names that each documents, and where."

    def __init__(self, notebooks: dict[str, list[str]]):  # path below nbs -> sources of its code cells
        self.anchors: dict[str, list[str]] = {}  # name -> page.html#anchor
        self.exports: dict[str, set[str]] = {}  # path -> names whose source stays on the page
        self.known: dict[str, set[str]] = {}  # path -> names that the page defines or imports
        self.module: dict[str, str] = {}  # path -> the module that it exports
        self._used: set[str] = set()
        for path, cells in notebooks.items(): self._read(path, cells)

    def _read(self, path: str, cells: list[str]) -> None:
        page = page_of(path)
        self.exports[path], self.known[path] = set(), set()
        for source in cells:
            marks = directives(source)
            if "default_exp" in marks: self.module[path] = marks["default_exp"]
            shown = marks.keys() & {"export", "exports"} and "hide" not in marks
            for node in parsed(source):
                if isinstance(node, definitions):
                    names = [n for n in as_list(patch_name(node)) if not n.rpartition(".")[2].startswith("_")]
                    self.known[path].update(names)
                    if "exports" in marks: self.exports[path].update(names)
                    if shown: self._add(names, page)
                elif isinstance(node, (ast.Import, ast.ImportFrom)):
                    self.known[path].update(a.asname or a.name for a in node.names)
                elif isinstance(node, ast.Expr) and (name := shown_name(node)): self._add([name], page)

    def _add(self, names: list[str], page: str) -> None:
        for name in names:
            if any(t.startswith(page + "#") for t in self.anchors.get(name, [])): continue
            target = f"{page}#{name.lower()}"
            if target in self._used: target += "-2"  # `entropy` and `Entropy` on one page
            self._used.add(target)
            self.anchors.setdefault(name, []).append(target)

    def anchor(self, name: str, path: str) -> str:
        "The anchor of a name on the page `path`."
        here = [t for t in self.anchors.get(name, []) if t.startswith(page_of(path) + "#")]
        return here[0].split("#")[1] if here else name.lower()

    def find(self, word: str, path: str) -> str | None:
        "The place that a word in backticks on the page `path` means, or None."
        word = re.sub(r"^ambiguity_nb\.", "", word.removesuffix("()"))
        module, _, name = word.rpartition(".")
        pages = [p for p, m in self.module.items() if m == module]
        if pages: return next((a for a in self.anchors.get(name, []) if a.startswith(page_of(pages[0]) + "#")), None)
        targets = self.anchors.get(word, [])
        if not targets and re.fullmatch(r"[A-Z]\w*", module): targets = self.anchors.get(module, [])  # a method's class
        here = [t for t in targets if t.startswith(page_of(path) + "#")]
        if here: return here[0]
        if len(targets) != 1: return None  # none, or which one is meant nobody can tell
        plain = re.fullmatch(r"[a-z]+", word)  # `result`: a word of English, unless the page works with the function
        return targets[0] if not plain or word in self.known.get(path, ()) else None


def as_list(value) -> list: return value if isinstance(value, list) else [value]


def page_of(path: str) -> str:
    "The page that a notebook becomes: `jobs/cli.html` for `jobs/cli.ipynb`."
    return _nbpath2html(Path(path)).as_posix()


def shown_name(node: ast.Expr) -> str | None:
    "`Score.values` for the statement `show_doc(Score.values)`."
    call = node.value
    if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "show_doc" and call.args): return None
    return ast.unparse(call.args[0])


@lru_cache(1)
def book() -> Book:
    "The project's notebooks as a `Book`."
    files = {Path(p).relative_to(root / "nbs").as_posix(): read_nb(p) for p in nbglob(root / "nbs")}
    return Book({path: [c.source for c in nb.cells if c.cell_type == "code"] for path, nb in files.items()})


# -------------------------------------------------------------------------------------------- signatures
module_of = lru_cache(8)(ast.parse)  # pages show some names of one module each, and parsing it is the slow part


def find_node(source: str, name: str) -> ast.AST | None:
    "The definition of `name` or `Class.name` in a module's source, additions by `@patch` included."
    tree = module_of(source)
    node: ast.AST = tree
    for part in name.split("."):
        node = next((n for n in node.body if isinstance(n, definitions) and n.name == part), None)
        if node is None: break
    if node is not None: return node
    return next((n for n in tree.body if isinstance(n, definitions) and name in as_list(patch_name(n))), None)


def _header(lines: list[str], node: ast.AST) -> list[str]:
    "The lines of a definition above its body."
    first, start = node.body[0], node.lineno - 1
    end = min([d.lineno for d in getattr(first, "decorator_list", [])], default=first.lineno)
    if end == node.lineno: text = [lines[start].encode()[:first.col_offset].decode().rstrip()]
    else: text = lines[start:end - 1]
    while text and not text[-1].strip(): text.pop()
    told = [f"@{d}" for d in map(ast.unparse, node.decorator_list) if re.match(_told_decorators, d)]
    return told + [line[node.col_offset:] for line in text]


_told_decorators = r"(functools\.)?(property|cached_property|classmethod|staticmethod|dataclass)\b"


def signature(source: str, name: str) -> str:
    "How a name is called, in the words of its source: of a class its fields or its constructor."
    lines, node = source.splitlines(), find_node(source, name)
    if node is None: return ""
    text = _header(lines, node)
    if not isinstance(node, ast.ClassDef): return "\n".join(text)
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and not ast.unparse(n.target).startswith("_")]
    start = next((n for n in node.body if isinstance(n, definitions) and n.name == "__init__"), None)
    if any("dataclass" in ast.unparse(d) for d in node.decorator_list) or (fields and start is None):
        text += [lines[i][node.col_offset:] for n in fields for i in range(n.lineno - 1, n.end_lineno)]
    elif start is not None: text += ["    " + line for line in _header(lines, start)]
    return "\n".join(text)


class Renderer:
    "What `show_doc` writes on the site: heading, link to the source, signature, docstring."

    path = ""  # the notebook being processed
    shown: set[str] = set()  # names already documented on its page

    def __init__(self, sym, name: str | None = None, title_level: int = 3):
        sym = getattr(sym, "fget", None) or getattr(sym, "func", None) or sym
        self.name = name or getattr(sym, "__qualname__", None) or type(sym).__name__
        self.level, self.doc = title_level, inspect.getdoc(sym) or ""
        module = getattr(sym, "__module__", None) or ""
        if not module.startswith("ambiguity_nb"): module = f"ambiguity_nb.{book().module.get(self.path, '')}"
        self.file = f"{module.replace('.', '/')}.py"
        self.again = self.name in self.shown  # a method added by `@patch` that has a `show_doc` as well
        self.shown.add(self.name)

    def _repr_markdown_(self) -> str:
        if self.again: return ""
        source = (root / self.file).read_text(encoding="utf-8") if (root / self.file).exists() else ""
        node = find_node(source, self.name)
        parts = [f"{'#' * self.level} {self.name} {{#{book().anchor(self.name, self.path)} .doc-name}}"]
        if node is not None:
            url = f"{settings()['git_url']}/blob/{settings()['branch']}/{self.file}#L{node.lineno}"
            parts.append(f"[source]({url}){{.doc-source}}")
            doc = ast.get_docstring(node) or self.doc
            text = "" if self.name in book().exports.get(self.path, ()) else signature(source, self.name)
            if text: parts.append(f"```python\n{text}\n```")
        else: doc = self.doc
        return "\n\n".join([*parts, doc]).rstrip() + "\n"


# -------------------------------------------------------------------------------------------- links
_ticks = re.compile(r"(?<![\[`\\])`([A-Za-z_][\w.]*(?:\(\))?)`(?!`)")


def link_text(text: str, find) -> str:
    "Markdown with each `name` in backticks made a link if `find(name)` knows a place; not in code, headings, links."
    fenced, lines = False, []
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("```"): fenced = not fenced
        if not fenced and not line.startswith(("    ", "#")):
            line = _ticks.sub(lambda m: f"[`{m[1]}`]({t})" if not _inside_link(m) and (t := find(m[1])) else m[0], line)
        lines.append(line)
    return "".join(lines)


def _inside_link(match: re.Match) -> bool:
    "Whether a match stands between the brackets of a link."
    before, after = match.string[:match.start()], match.string[match.end():]
    return before.rfind("[") > before.rfind("]") and re.match(r"[^\[\]]*\]\(", after) is not None


class Links(Processor):
    "Link names in prose and docstrings, relative to the page."

    def begin(self):
        self.path = relative(self.nb)
        self.here = posixpath.dirname(page_of(self.path)) or "."

    def find(self, word: str) -> str | None:
        target = book().find(word, self.path)
        if target is None: return None
        page, anchor = target.split("#")
        return f"#{anchor}" if page == page_of(self.path) else f"{posixpath.relpath(page, self.here)}#{anchor}"

    def cell(self, cell):
        if cell.cell_type == "markdown": cell.source = link_text(cell.source, self.find)
        if cell.cell_type != "code" or not cell.source or "show_doc(" not in cell.source: return
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/markdown")
            if text: output["data"]["text/markdown"] = link_text("".join(text), self.find).splitlines(keepends=True)


class SourceBelow(Processor):
    "Put the source of an `exports` cell under its documentation (nbdev's own step takes that of the next cell too)."

    def begin(self):
        cells = self.nb.cells
        for at in reversed([i for i, c in enumerate(cells) if c.cell_type == "code" and "exports" in c.directives_]):
            names = [n for node in parsed(cells[at].source) if isinstance(node, definitions)
                     for n in as_list(patch_name(node))]
            end = at + 1
            while end < len(cells) and self._shows(cells[end], names): end += 1
            cells.insert(end - 1, cells.pop(at))

    @staticmethod
    def _shows(cell, names) -> bool:
        "Whether a cell is the documentation that nbdev added for one of the names."
        nodes = parsed(cell.source) if getattr(cell, "has_sd", False) else []
        return any(isinstance(n, ast.Expr) and shown_name(n) in names for n in nodes)


class OwnHeadings(Processor):
    "Give a heading that reads like a documented name an anchor of its own, so that the name keeps its."

    def begin(self):
        page = page_of(relative(self.nb)) + "#"
        self.taken = {t.removeprefix(page) for ts in book().anchors.values() for t in ts if t.startswith(page)}

    def cell(self, cell):
        if cell.cell_type != "markdown" or not cell.source: return
        def own(match):
            slug = re.sub(r"[^\w\s.-]", "", match[2]).strip().lower().replace(" ", "-")
            return f"{match[0]} {{#about-{slug}}}" if slug in self.taken and "{#" not in match[2] else match[0]
        cell.source = re.sub(r"(?m)^(#{2,6}) +(.+?) *$", own, cell.source)


class NoWidgetState(Processor):
    "Drop the state of widgets that nbdev adds to every page: with it a page may load their runtime from elsewhere."

    def end(self): self.nb.metadata.pop("widgets", None)


class FigureAnchors(Processor):
    "Put an anchor in front of each cell that a card of the gallery leads to."

    def begin(self):
        path, cells = relative(self.nb), self.nb.cells
        for at in reversed([i for i, c in enumerate(cells) if (path, c.get("id")) in gallery.targets()]):
            cells.insert(at, mk_cell(f"[]{{#figure-{cells[at].id}}}", "markdown"))


class FreshGallery(Processor):
    "Make the cards again, from the figures that the notebooks hold now."

    def cell(self, cell):
        if relative(self.nb) != "gallery.ipynb" or cell.cell_type != "code": return
        asked = re.search(r'cards\("([^"]+)"\)', cell.source or "")
        if asked: cell.outputs = [{"output_type": "execute_result", "execution_count": 1, "metadata": {},
                                   "data": {"text/html": gallery.cards(asked[1]).splitlines(keepends=True)}}]


def relative(nb) -> str: return Path(nb.path_).resolve().relative_to((root / "nbs").resolve()).as_posix()


class Page(FilterDefaults):
    "nbdev's processors, with our signatures and links."

    def base_procs(self):
        ours = {add_links: Links, mv_exports: SourceBelow}
        kept = [ours.get(p, p) for p in super().base_procs()]
        return [*kept, OwnHeadings, NoWidgetState, FigureAnchors, FreshGallery]

    def __call__(self, nb):
        Renderer.path, Renderer.shown = relative(nb), set()
        nbdev.showdoc.BasicMarkdownRenderer = Renderer  # `show_doc` looks it up when it is called
        return super().__call__(nb)


# ------------------------------------------------------------------------------------- pages that are no notebook
ROOT_PAGES = {"changelog.qmd": "CHANGELOG.md", "contributing.qmd": "CONTRIBUTING.md"}


def root_page(name: str) -> str:
    "A file of the root as a page: its title on top, its links as they are seen from the site."
    title, _, text = (root / ROOT_PAGES[name]).read_text(encoding="utf-8").removeprefix("# ").partition("\n")
    outside = f"{settings()['git_url']}/blob/{settings()['branch']}/"
    def lead(match): return f"]({match[1].removeprefix('nbs/') if match[1].startswith('nbs/') else outside + match[1]})"
    text = re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", lead, text)
    return f"---\ntitle: {title.strip()}\n---\n{text}"


def sections() -> list[tuple[str, list[str]]]:
    "The sections of the sidebar, sections within them included: name and pages."
    def walk(items, name):
        pages = [item for item in items if isinstance(item, str)]
        found = [(name, pages)] if pages else []
        for item in items:
            if isinstance(item, dict) and "section" in item: found += walk(item["contents"], item["section"])
        return found
    sidebar = yaml.safe_load((root / "nbs" / "sidebar.yml").read_text(encoding="utf-8"))
    return walk(sidebar["website"]["sidebar"]["contents"], "")


def about(path: str) -> tuple[str, str]:
    "Title and summary of a page."
    if path in ROOT_PAGES:
        return root_page(path).split("\n")[1].removeprefix("title: "), f"The file {ROOT_PAGES[path]}."
    cells = read_nb(root / "nbs" / path).cells
    lines = next(c.source for c in cells if c.cell_type == "markdown").splitlines()
    title, summary = (next(line[2:].strip() for line in lines if line.startswith(mark)) for mark in ("# ", "> "))
    return title, summary


def llms() -> str:
    "What llms.txt says: every page of the site with one sentence."
    site = f"{settings()['doc_host']}{settings()['doc_baseurl']}" % settings()
    lines = ["# ambiguity_nb", "", f"> {settings()['description']}"]
    for name, pages in sections():
        lines += ["", f"## {name}", ""]
        for path in (p for p in pages if p in ROOT_PAGES or (root / "nbs" / p).exists()):
            title, summary = about(path)
            lines.append(f"- [{title}]({site}/{page_of(path.replace('.qmd', '.ipynb'))}): {summary}")
    return "\n".join(lines) + "\n"


def process(n_workers: int = 2) -> Path:
    "Process all notebooks into `_proc`, and write the pages beside them; the folder."
    nbdev.serve.FilterDefaults = Page
    folder = nbdev.serve.proc_nbs(n_workers=n_workers, force=True)
    for name in ROOT_PAGES: (folder / name).write_text(root_page(name), encoding="utf-8")
    (folder / "llms.txt").write_text(llms(), encoding="utf-8")
    return folder

