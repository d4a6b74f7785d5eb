"""The site: its configuration, what nbdev makes of the notebooks, and the checks that a built site goes through."""
import ast
import configparser
import importlib.metadata
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

import measure_notebooks as measured
import pytest
import yaml

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "tools"))
import pages as site_pages  # noqa: E402
import site_check  # noqa: E402

notebooks = measured.notebooks_of(root)
quarto = yaml.safe_load((root / "_quarto.yml").read_text(encoding="utf-8"))
by_page = pytest.mark.parametrize("page", notebooks)
reports = sorted((root / "nbs" / "reports").glob("*.html"))
by_report = pytest.mark.parametrize("report", reports, ids=[p.stem for p in reports])


# -------------------------------------------------------------------------------------------- configuration
def test_site_lists_every_notebook_once():
    def entries(node):
        if isinstance(node, str): return [node]
        if isinstance(node, list): return [e for item in node for e in entries(item)]
        return entries(node.get("contents", [])) + ([node["href"]] if "href" in node else [])

    sidebar = yaml.safe_load((root / "nbs" / "sidebar.yml").read_text())["website"]["sidebar"]["contents"]
    listed = entries(sidebar)
    assert sorted(listed) == sorted([*notebooks, *site_pages.ROOT_PAGES])
    sections = [item["section"] for item in sidebar]
    assert sections == ["Start", "Tutorials", "How-to", "Evidence", "Components", "Commands", "API", "About"]
    for side in ("left", "right"):
        for item in quarto["website"]["navbar"][side]:
            assert item["href"].startswith("http") or (root / "nbs" / item["href"]).exists(), item
    link = root / "nbs" / "_quarto.yml"
    assert link.is_symlink() and os.readlink(link) == "../_quarto.yml"


def test_site_is_whole_without_a_network():
    html = quarto["format"]["html"]
    assert quarto["project"]["output-dir"] == "_docs"
    assert html["html-math-method"] == "mathml"
    assert html["code-overflow"] == "wrap"
    assert html["respect-user-color-scheme"] is True
    for colors in ("light", "dark"):
        files = [name for name in html["theme"][colors] if name.endswith(".scss")]
        texts = [(root / "nbs" / name).read_text() for name in files]
        assert any("$web-font-path: false;" in text for text in texts), f"the {colors} theme fetches a font"
        assert not [t for t in texts if site_check.css_url.search(t)]
    assert not site_check.css_url.search((root / "nbs" / html["css"]).read_text())


def test_quarto_is_pinned_and_the_site_is_built_before_it_is_published():
    source = (root / "tools" / "build_docs.py").read_text()
    version = re.search(r'quarto_version = "([\d.]+)"', source)[1]
    workflow = yaml.safe_load((root / ".github" / "workflows" / "docs.yml").read_text())
    on, jobs = workflow[True], workflow["jobs"]  # YAML reads `on` as true
    assert "pull_request" in on
    steps = jobs["build"]["steps"]
    assert [s["with"]["version"] for s in steps if "quarto" in s.get("uses", "")] == [version]
    assert "make docs" in [s.get("run") for s in steps]
    assert "refs/heads/main" in jobs["deploy"]["if"] and jobs["deploy"]["needs"] == "build"
    assert version in (root / "_quarto.yml").read_text()


def test_the_docs_never_write_the_readme():
    makefile = (root / "Makefile").read_text()
    recipe = re.search(r"(?m)^docs:.*\n((?:\t.*\n)+)", makefile)[1]
    assert "nbdev_docs" not in recipe and "tools/build_docs.py" in recipe
    assert "README" not in (root / "tools" / "build_docs.py").read_text().split('"""', 2)[2]


def test_footer_says_version_and_licence(tmp_path):
    import build_docs

    shutil.copy(root / "_quarto.yml", tmp_path / "_quarto.yml")
    build_docs.fill_in(tmp_path)
    footer = yaml.safe_load((tmp_path / "_quarto.yml").read_text())["website"]["page-footer"]
    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(root / "settings.ini")
    assert settings["DEFAULT"]["version"] in footer["left"]
    assert "Apache" in footer["right"]


def test_a_wrong_address_gets_a_page():
    text = (root / "nbs" / "404.qmd").read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text): assert (root / "nbs" / target).exists(), target


def test_nbdev_finds_names_through_the_package(tmp_path):
    # the metadata alone, beside whatever is installed
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    found = [d for d in importlib.metadata.distributions(path=[str(tmp_path)])]
    points = {p.name: p.value for d in found for p in d.entry_points if p.group == "nbdev"}
    assert points == {"ambiguity_nb": "ambiguity_nb._modidx:d"}
    code = ("from nbdev.doclinks import NbdevLookup; look = NbdevLookup();"
            "print(look.doc('Samples')); print(look.code('Samples'))")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    result = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=True)
    page, source = result.stdout.split()
    assert page.endswith("/ambiguity_nb/data.html#samples")
    assert re.search(r"/blob/main/ambiguity_nb/data\.py#L\d+$", source)


# -------------------------------------------------------------------------------------------- what nbdev makes
@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    "The folder of processed notebooks: what Quarto gets."
    folder = tmp_path_factory.mktemp("site")
    files = ("settings.ini", "_quarto.yml", *site_pages.ROOT_PAGES.values())
    for name in files: shutil.copy(root / name, folder / name)
    for name in ("nbs", "tools", "ambiguity_nb"):
        ignored = shutil.ignore_patterns(".ipynb_checkpoints", "runs", "__pycache__")
        shutil.copytree(root / name, folder / name, symlinks=True, ignore=ignored)
    env = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "tools/build_docs.py", "--process"]
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return folder / "_proc"


@pytest.fixture(scope="module")
def made(processed) -> dict[str, list[measured.Cell]]:
    "Path below nbs -> processed cells."
    return {name: measured.cells_of(processed / name) for name in notebooks}


def test_nbdev_processes_every_notebook_for_the_site(processed):
    for name in notebooks: assert (processed / name).exists(), name
    for name in ("404.qmd", "styles.css", "theme.scss", "llms.txt", *site_pages.ROOT_PAGES):
        assert (processed / name).exists(), name
    assert "reports/*" in quarto["project"]["resources"] and "llms.txt" in quarto["project"]["resources"]
    for report in reports: assert (processed / "reports" / report.name).read_bytes() == report.read_bytes(), report.name
    assert "@version@" not in (processed / "_quarto.yml").read_text()


def squeezed(text: str) -> str:
    "Text without links, spaces and what links leave behind."
    return re.sub(r"\]\([^)]*\)|\{[^}]*\}|[\[\]\s]", "", text)


@by_page
def test_the_page_says_all_that_the_notebook_says(page, made):
    text = squeezed("".join(c.source for c in made[page]))
    kept = {"export", "exporti", "hide", "default_exp"}
    for cell in notebooks[page]:
        if cell.kind == "markdown" and not re.match(r"# ", cell.source):
            assert squeezed(cell.source) in text, f"cell {cell.index} is not on the page: {cell.source[:80]}"
        if cell.kind == "code" and not cell.marks.keys() & kept and "show_doc(" not in cell.source:
            code = "".join(line for line in cell.lines if not line.startswith("%"))
            assert squeezed(code) in text, f"cell {cell.index} is not on the page: {cell.source[:80]}"


def documentation(cells: list[measured.Cell]) -> str:
    "The Markdown that becomes part of the page as it is: what `show_doc` gave, and generated pages."
    outputs = [o for c in cells if c.kind == "code" and c.marks.get("output") == "asis" for o in c.outputs]
    return "\n".join("".join(o.get("data", {}).get("text/markdown", "")) for o in outputs)


@by_page
def test_signatures_are_as_written(page, made):
    text = documentation([c for c in made[page] if "show_doc(" in c.source])
    odd = re.findall(r"VAR_POSITIONAL|VAR_KEYWORD|<factory>|__main__\.\w+|<function \w+|<class '", text)
    assert not odd, f"signatures show {sorted(set(odd))}"
    defined = {n.name for c in notebooks[page] for n in c.body if c.exported and isinstance(n, ast.ClassDef)}
    assert not [n for n in defined if f"def {n}(" in text], "a class is shown as a function"


@by_page
def test_sources_stand_under_their_names(page, made):
    cells = made[page]
    for before, cell in zip(cells, cells[1:], strict=False):
        if cell.marks.get("code-summary") != "Exported source": continue
        shown = re.findall(r"show_doc\(([\w.]+)\)", before.source)
        public = [name for name in cell.defined if not name.startswith("_")]
        assert not public or shown and shown[0].rpartition(".")[2] in public, f"{public} stand under {before.source}"


@by_page
def test_every_documented_name_has_a_source(page, made):
    text = documentation([c for c in made[page] if "show_doc(" in c.source])
    headings = re.findall(r"(?m)^#+ (\S+) \{#", text)
    linked = re.findall(r"(?m)^#+ (\S+) \{#.*\n\n\[source\]\(https://\S+\.py#L\d+\)", text)
    missing = sorted(set(headings) - set(linked))
    assert not missing, f"no link to the source: {missing}"


def anchors(cells: list[measured.Cell]) -> set[str]:
    "The anchors of headings, as pandoc makes them, and those given."
    text = "\n".join(c.source for c in cells if c.kind == "markdown") + "\n" + documentation(cells)
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    found = set(re.findall(r"\{#([^}\s]+)", text)) | set(re.findall(r'\bid="([^"]+)"', text))
    for heading in re.findall(r"(?m)^#{1,6} +(.+?)(?: *\{.*\})? *$", text):
        slug = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\s.-]", "", slug).strip().lower()
        found.add(re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", slug)))
    return found


@by_page
def test_an_anchor_stands_once(page, made):
    text = "\n".join(c.source for c in made[page] if c.kind == "markdown") + "\n" + documentation(made[page])
    given = re.findall(r"\{#([^}\s]+)", re.sub(r"(?ms)^```.*?^```", "", text))
    headings = re.findall(r"(?m)^#{1,6} +([^{`\[\n]+?) *$", re.sub(r"(?ms)^```.*?^```", "", text))
    slugs = [re.sub(r"\s+", "-", re.sub(r"[^\w\s.-]", "", heading).strip().lower()) for heading in headings]
    twice = sorted({a for a in given if given.count(a) > 1} | (set(given) & set(slugs)))
    assert not twice, f"two places have the anchor {twice}"


def test_links_between_pages_lead_to_anchors(made, processed):
    places = {site_pages.page_of(name): anchors(cells) for name, cells in made.items()}
    wrong = []
    for name, cells in made.items():
        here = site_pages.page_of(name)
        texts = [c.source for c in cells if c.kind == "markdown"] + [documentation(cells)]
        texts += ["".join(o.get("data", {}).get(kind, "")) for c in cells for o in c.outputs
                  for kind in ("text/html", "text/markdown")]
        text = "\n".join(re.sub(r"(?ms)^ *```.*?^ *```|`[^`\n]*`(?!\])", "", t) for t in texts)
        targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text)
        for target in sorted(set(targets)):
            if re.match(r"(\w+:|//)", target): continue
            path, _, anchor = target.partition("#")
            path = re.sub(r"[^/]+\.ipynb$", lambda m: site_pages.page_of(m[0]), path)
            place = posixpath.normpath(posixpath.join(posixpath.dirname(here), path)) if path else here
            if place in places: ok = not anchor or anchor in places[place]
            else: ok = (processed / place).exists()
            if not ok: wrong.append(f"{name}: {target}")
    assert not wrong, "\n".join(wrong)


def test_pages_need_no_widget_runtime(processed):
    for name in notebooks:
        notebook = json.loads((processed / name).read_text())
        assert "widgets" not in notebook["metadata"], name
        kinds = {kind for c in notebook["cells"] for o in c.get("outputs", []) for kind in o.get("data", {})}
        assert not kinds & {"application/vnd.jupyter.widget-view+json", "application/javascript"}, (name, kinds)


def test_files_of_the_root_are_pages(processed):
    for name, file in site_pages.ROOT_PAGES.items():
        text = (processed / name).read_text()
        assert text.startswith("---\ntitle: ") and text.count("\n# ") == 0
        for line in (root / file).read_text().splitlines()[1:]: assert squeezed(line) in squeezed(text), line
        for target in re.findall(r"\]\((?!\w+:|#)([^)\s]+)\)", text): assert (processed / target).exists(), target


@pytest.mark.parametrize("words", site_check.searched)
def test_a_search_finds(words, made):
    # Quarto's index holds the text of every page, section by section
    found = [name for name, cells in made.items()
             if any(words in c.source.lower() for c in cells if c.kind == "markdown")]
    assert found, f"no page says {words!r}"


def test_cards_of_the_gallery_lead_to_figures(made):
    import gallery

    assert not gallery.missing(), "these cells of tools/gallery.py are gone or draw nothing"
    text = "".join("".join(o.get("data", {}).get("text/html", "")) for c in made["gallery.ipynb"] for o in c.outputs)
    assert text.count("<figure") == sum(map(len, gallery.KINDS.values())) == text.count("<img ") == text.count(' alt="')
    for path, cell in gallery.targets():
        assert f'href="{path}#figure-{cell}"' in text
        places = [c.index for c in made[path] if c.source == f"[]{{#figure-{cell}}}"]
        assert len(places) == 1, (path, cell)
        after = made[path][places[0] + 1]
        assert after.pictures(), f"the anchor in {path} does not stand before a figure"


# -------------------------------------------------------------------------------------------- real results, llms.txt
def test_there_is_something_to_try():
    assert [p.stem for p in reports] == ["demo", "explorer", "photographs"]
    text = "".join(c.source for c in notebooks["try_it.ipynb"])
    for report in reports:
        assert report.with_suffix(".webp").exists() and f"(reports/{report.name})" in text, report.name


@by_report
def test_a_report_is_whole_and_small(report):
    text = report.read_text(encoding="utf-8")
    page = site_check.Page(text)
    assert report.stat().st_size < 1_000_000
    assert page.fetches and all(target.startswith("data:") for target in page.fetches) or report.stem == "explorer"
    assert not page.wordless and not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import)\s*\(", text)
    assert not re.search(r"/(home|root|tmp|Users)/\w", text), "a path of a machine"
    assert "../try_it.html" in page.links
    for target in page.links:
        if re.match(r"\w+:", target): continue
        assert target == "../try_it.html" or target.removeprefix("#") in page.ids, target


@pytest.mark.slow
@by_report
@pytest.mark.parametrize("width", [1400, 390])
def test_a_report_fits_the_window(report, width, tmp_path):
    from browser import chromium, needs, wait

    needs()
    with chromium(tmp_path / "profile") as tab:
        for domain in ("Network", "Runtime", "Page"): tab(f"{domain}.enable")
        tab("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        tab("Page.navigate", url=report.as_uri())
        wait(lambda: tab.js("document.readyState") == "complete", 90, "loading the page")
        assert tab.js("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        asked = [e["params"]["request"]["url"] for e in tab.events if e.get("method") == "Network.requestWillBeSent"]
        assert not [u for u in asked if not u.startswith(("file:", "data:", "blob:"))], asked
        if report.stem != "explorer": return
        before = tab.js("document.getElementById('what').textContent")
        canvas = "document.getElementById('map')"
        tab.run(f"{canvas}.dispatchEvent(new KeyboardEvent('keydown', {{key: 'ArrowLeft'}}))")
        walked = tab.js("document.getElementById('what').textContent")
        assert before.startswith("Image ") and walked.startswith("Image ") and walked != before
        assert tab.js("document.querySelectorAll('#train figure').length") == 5
        tab.run("document.querySelectorAll('#legend button')[1].click()")
        assert "pattern 1, its prototype" in tab.js("document.getElementById('what').textContent")


def test_llms_txt_names_every_page():
    text = (root / "llms.txt").read_text(encoding="utf-8")
    assert text == site_pages.llms(), "run `make readme`"
    for name in notebooks:
        assert len(re.findall(rf"/ambiguity_nb/{re.escape(site_pages.page_of(name))}\): \S", text)) == 1, name


def test_the_citation_is_that_of_this_package():
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["license"] == "Apache-2.0"
    assert str(cited["version"]) == site_pages.settings()["version"]
    assert cited["repository-code"] == site_pages.settings()["git_url"] % site_pages.settings()
    page = stored("citation.ipynb")
    for work in [cited, *cited["references"]]:
        assert work["authors"] and work["title"] in page, "run nbs/citation.ipynb again"
        assert work is cited or work["year"] and (work.get("doi") or work["url"]) in page
    assert "Apache License" in (root / "LICENSE").read_text()


# -------------------------------------------------------------------------------------------- signatures and links
module = '''
from dataclasses import dataclass, field

@dataclass(frozen=True)
class Options:
    "Two settings."
    n_epochs:int = 10 # passes
    names:tuple = field(default_factory=tuple) # of things

    @property
    def double(self)->int: return 2 * self.n_epochs # twice

class Score(Base):
    "A number."
    def __init__(self,
        name:str, # what it is called
        *rest, # others
    ):
        self.name = name

    @classmethod
    def of(cls, x): # x: anything
        "Make one."
        return cls(x)

    def values(self)->list: # numbers
        "The numbers."
        return []

class Plain:
    "Nothing to set."

@patch
def top(self:Score, n:int=5)->list: # the n hardest
    "The hardest."
    def inner(): pass
    return []
'''


@pytest.mark.parametrize(("name", "wanted"), [
    ("Options", "@dataclass(frozen=True)\nclass Options:\n    n_epochs:int = 10 # passes\n"
                "    names:tuple = field(default_factory=tuple) # of things"),
    ("Options.double", "@property\ndef double(self)->int:"),
    ("Score", "class Score(Base):\n    def __init__(self,\n"
              "        name:str, # what it is called\n        *rest, # others\n    ):"),
    ("Score.of", "@classmethod\ndef of(cls, x): # x: anything"),
    ("Score.values", "def values(self)->list: # numbers"),
    ("Score.top", "def top(self:Score, n:int=5)->list: # the n hardest"),
    ("Plain", "class Plain:"),
    ("Nothing", ""),
])
def test_signature_is_the_text_of_the_source(name, wanted):
    assert site_pages.signature(module, name) == wanted


@pytest.fixture
def book() -> site_pages.Book:
    "Two made-up notebooks."
    return site_pages.Book({
        "04_scores.ipynb": ["#| default_exp scores", "#| exports\nclass Score:\n    def values(self): pass",
                            "#| export\ndef result(): pass", "#| export\ndef make_scores(): pass",
                            "#| export\ndef _private(): pass", "show_doc(Score.values)",
                            "#| hide\n#| export\ndef hidden(): pass",
                            "#| export\ndef entropy(): pass\nclass Entropy: pass"],
        "jobs/hardness.ipynb": ["#| default_exp jobs.hardness", "#| export\ndef hardness(): pass",
                                "from ambiguity_nb.scores import Score, result", "#| export\ndef agreement(): pass"],
        "09_benchmark.ipynb": ["#| default_exp benchmark", "#| export\ndef agreement(): pass"],
    })


@pytest.mark.parametrize(("word", "page", "wanted"), [
    ("Score", "jobs/hardness.ipynb", "scores.html#score"),
    ("Score.values", "jobs/hardness.ipynb", "scores.html#score.values"),
    ("Score.values()", "09_benchmark.ipynb", "scores.html#score.values"),
    ("Score.other", "09_benchmark.ipynb", "scores.html#score"),  # not documented by itself
    ("make_scores", "09_benchmark.ipynb", "scores.html#make_scores"),
    ("ambiguity_nb.scores.result", "09_benchmark.ipynb", "scores.html#result"),
    ("scores.result", "09_benchmark.ipynb", "scores.html#result"),
    ("result", "09_benchmark.ipynb", None),  # a word
    ("result", "jobs/hardness.ipynb", "scores.html#result"),  # imported there
    ("hardness()", "04_scores.ipynb", None),  # a method's name
    ("hardness", "jobs/hardness.ipynb", "jobs/hardness.html#hardness"),
    ("agreement", "04_scores.ipynb", None),  # two pages have one
    ("agreement", "09_benchmark.ipynb", "benchmark.html#agreement"),
    ("_private", "04_scores.ipynb", None), ("hidden", "04_scores.ipynb", None), ("np.mean", "04_scores.ipynb", None),
    ("entropy", "04_scores.ipynb", "scores.html#entropy"), ("Entropy", "04_scores.ipynb", "scores.html#entropy-2"),
])
def test_words_lead_to_what_they_mean(book, word, page, wanted):
    assert book.find(word, page) == wanted


def test_links_are_made_in_prose_only():
    def find(word): return {"fit": "training.html#fit"}.get(word.removesuffix("()"))

    text = ("# `fit`\nGive `fit` and `fit()` a `model`; [see `fit`](x.html), ``fit`` too.\n```python\n# `fit`\n```\n"
            "    `fit`\n")
    assert site_pages.link_text(text, find) == (
        "# `fit`\nGive [`fit`](training.html#fit) and [`fit()`](training.html#fit) a `model`; [see `fit`](x.html), "
        "``fit`` too.\n```python\n# `fit`\n```\n    `fit`\n")


# -------------------------------------------------------------------------------------------- the step after Quarto
head = """<script src="https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js"
  crossorigin="anonymous"></script>
<script src="https://cdn.jsdelivr.net/npm/jquery@3.5.1/dist/jquery.min.js" data-relocate-top="true"></script>
<script type="application/javascript" data-relocate-top="true">
  define('jquery', [],function() {return window.jQuery;})</script>
<script src="https://polyfill.io/v3/polyfill.min.js?features=es6"></script>
"""
good = """<!doctype html><html><head>{head}<link rel="stylesheet" href="site_libs/a.css">
<script src="site_libs/a.js"></script><link rel="canonical" href="https://example.org/index.html"></head>
<body><main><h2 id="one">One</h2>
<a href="#one">up</a>
<a href="jobs/cli.html#two">there</a> <a href="./">start</a> <a href="https://example.org">outside</a>
<a href="00_data.ipynb#x">a notebook</a> <a href="mailto:a@b.c">mail</a> <img src="a.png" alt="a curve">
<img src="data:image/png;base64,AAAA" alt="another"></main></body></html>"""


def site(folder: Path, **changed: str) -> Path:
    "A made-up site of three pages."
    files = {"index.html": good.format(head=head), "data.html": '<p id="x">x</p>', "jobs/cli.html":
             '<h2 id="two">Two</h2><a href="../index.html#one">up</a><a href="/ambiguity_nb/data.html">data</a>',
             "site_libs/a.css": "p { background: url('../a.png') }", "site_libs/a.js": "1", "a.png": "-"}
    for name, text in (files | changed).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_good_site_passes_and_is_cleaned(tmp_path, capsys):
    folder = site(tmp_path)
    assert site_check.report(folder) == 0, capsys.readouterr().out
    text = (folder / "index.html").read_text()
    assert "cdnjs" not in text and "jquery" not in text.lower() and "polyfill" not in text
    assert '<script src="site_libs/a.js">' in text, "a script of the site itself stays"
    assert 'href="data.html#x"' in text, "a link to a notebook leads to its page"
    before = text
    assert site_check.report(folder) == 0 and (folder / "index.html").read_text() == before, "once is enough"
    assert "3 pages, 0 problems" in capsys.readouterr().out


@pytest.mark.parametrize(("body", "said"), [
    ('<link rel="stylesheet" href="https://fonts.googleapis.com/css2?family=Lato">', "asks another host for https://f"),
    ('<link rel="preconnect" href="//fonts.gstatic.com">', "asks another host for //fonts"),
    ("<style>@import url(https://a.org/b.css); p {}</style>", "asks another host for https://a.org/b.css"),
    ("<style>@import 'https://a.org/b.css';</style>", "asks another host for https://a.org/b.css"),
    ('<p style="background: url(http://a.org/b.png)">x</p>', "asks another host for http://a.org/b.png"),
    ('<img src="https://a.org/b.png" alt="b">', "asks another host for https://a.org/b.png"),
    ('<img src="a.png" srcset="a.png 1x, https://a.org/b.png 2x" alt="b">', "another host for https://a.org/b.png"),
    ('<iframe src="https://a.org/"></iframe>', "asks another host for https://a.org/"),
    ('<iframe srcdoc="&lt;img src=&quot;https://a.org/b.png&quot; alt=&quot;b&quot;&gt;"></iframe>', "asks another"),
    ('<script src="//a.org/b.js">x</script>', "asks another host for //a.org/b.js"),
    ('<a href="nowhere.html">x</a>', "nowhere.html leads nowhere"),
    ('<a href="data.html#none">x</a>', "data.html#none: no such anchor in data.html"),
    ('<a href="#none">x</a>', "#none: no such anchor in index.html"),
    ('<a href="../../x.html">x</a>', "leads out of the site"),
    ('<a href="07_patterns.ipynb">x</a>', "07_patterns.ipynb leads nowhere"),
    ('<a href="/elsewhere/x.html">x</a>', "/elsewhere/x.html leads nowhere"),
    ('<img src="b.png" alt="b">', "b.png leads nowhere"),
    ('<img src="a.png">', "picture without alternative text: a.png"),
    ('<img src="a.png" alt=" ">', "picture without alternative text: a.png"),
    ('<p id="a">x</p><p id="a">y</p>', "the id 'a' stands 2 times"),
])
def test_a_bad_site_is_refused(tmp_path, capsys, body, said):
    folder = site(tmp_path, **{"index.html": f"<html><body>{body}</body></html>", "jobs/cli.html": "<p>x</p>"})
    assert site_check.report(folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("index.html: ") and said in line], lines
    assert lines[-1].endswith("1 problems"), lines


def test_a_style_sheet_asks_nobody(tmp_path, capsys):
    folder = site(tmp_path, **{"site_libs/a.css": '@import url("https://fonts.googleapis.com/css2?family=Lato");'})
    assert site_check.report(folder) == 1
    assert "site_libs/a.css: asks another host" in capsys.readouterr().out


def test_a_search_that_finds_nothing_is_refused(tmp_path, capsys):
    entries = [{"title": "Glossary", "section": "", "text": "Label errors, ambiguous, out of distribution"},
               {"title": "Citation", "text": "How to cite"}]
    folder = site(tmp_path, **{"search.json": json.dumps(entries)})
    assert site_check.report(folder) == 0, capsys.readouterr().out
    (folder / "search.json").write_text(json.dumps(entries[:1]))
    assert site_check.report(folder) == 1
    assert "search.json: nothing is found for 'citation'" in capsys.readouterr().out


def test_an_empty_site_is_refused(tmp_path): assert site_check.report(tmp_path) == 1


# -------------------------------------------------------------------------------------------- generated pages
def stored(page: str) -> str:
    "The Markdown that a page's cells gave when it was last run."
    return "\n".join("".join(o.get("data", {}).get("text/markdown", "")) for c in notebooks[page] for o in c.outputs)


def test_the_index_lists_every_public_name():
    text = stored("api.ipynb")
    for module, source in measured.modules_of(root).items():
        assert f"[ambiguity_nb.{module}](" in text, f"run nbs/api.ipynb again: no {module}"
        part = re.split(r"(?m)^### ", text.partition(f"### [ambiguity_nb.{module}]")[2])[0]
        listed = re.findall(r"(?m)^\| \[?`(\w+)`", part)
        offered = ast.literal_eval(re.search(r"(?ms)^__all__ = (\[.*?\])", source)[1])
        assert sorted(listed) == sorted(offered), f"run nbs/api.ipynb again: {module}"


def test_the_reference_lists_every_flag_of_every_command():
    from ambiguity_nb.jobs.cli import COMMANDS, make_parser

    text = stored("commands.ipynb")
    assert re.findall(r"(?m)^## (\S+)", text) == list(COMMANDS), "run nbs/commands.ipynb again"
    for name in COMMANDS:
        part = text.partition(f"## {name} ")[2].partition("\n## ")[0]
        flags = {flag for action in make_parser(name)._actions for flag in action.option_strings[-1:]}
        missing = sorted(flag for flag in flags if flag not in part)
        assert not missing, f"run nbs/commands.ipynb again: {name} has {missing}"
