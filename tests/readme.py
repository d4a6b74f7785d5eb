"""README.md and nbs/images from nbs/index.ipynb: text and code as they are, outputs as tables, text and pictures;
and llms.txt from titles and summaries of all pages.

Directives are not shown, hidden cells are left out. A figure's file has the name of its cell's `#| label:` (also where
the cell is hidden, so that the text can show the picture elsewhere), its words are those of `#| fig-alt:` and
`#| fig-cap:`.
"""
import base64
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import measure_notebooks as measured

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "tools"))
import pages  # noqa: E402


class Tables(HTMLParser):
    "Reads HTML of paragraphs and plain tables; `rows` of the head and of the body, the text outside in `words`."

    def __init__(self):
        super().__init__()
        self.words, self.head, self.body, self.cell, self.part = "", [], [], None, None
        self.style = False

    def handle_starttag(self, tag, attrs):
        if tag in ("thead", "tbody"): self.part = self.head if tag == "thead" else self.body
        if tag == "tr": self.part.append([])
        if tag in ("td", "th"): self.cell = ""
        if tag == "style": self.style = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.part[-1].append(self.cell.strip().replace("|", "\\|"))
            self.cell = None
        if tag in ("thead", "tbody"): self.part = None
        if tag == "style": self.style = False

    def handle_data(self, data):
        if self.cell is not None: self.cell += data
        elif self.part is None and not self.style: self.words += data


def table_of(html: str) -> str:
    "The Markdown of an output of pandas: what it says before the table, and the table."
    reader = Tables()
    reader.feed(html)
    # the index has its name below
    names = [" ".join(filter(None, column)) for column in zip(*reader.head, strict=True)]
    rows = [names, ["---"] * len(names), *reader.body]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n\n".join(filter(None, [" ".join(reader.words.split()), "\n".join(lines)]))


def shown(output: dict) -> str:
    "The Markdown of an output that is no picture."
    data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
    if "<table" in data.get("text/html", ""): return table_of(data["text/html"])
    if "text/markdown" in data: return data["text/markdown"]
    text = "".join(output.get("text", data.get("text/plain", "")))
    return "\n".join("    " + line for line in text.rstrip().splitlines())


def picture(cell: measured.Cell) -> str:
    "The Markdown of a cell's figure."
    if not {"label", "fig-alt"} <= cell.marks.keys():
        raise ValueError(f"cell {cell.index} draws a figure; give it `#| label:` (its file's name) and `#| fig-alt:`")
    text = f"![{cell.marks['fig-alt']}](nbs/images/{cell.marks['label']}.png)"
    return f"{text}\n\n*{cell.marks['fig-cap']}*" if "fig-cap" in cell.marks else text


def blocks_of(cell: measured.Cell, images: dict[str, bytes]) -> list[str]:
    "What a cell becomes; its figure is added to `images`, by name of the file."
    if cell.kind == "markdown":                                                                   # links from the root
        return [re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", r"](nbs/\1)", cell.source)]
    code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("#|")).strip()
    blocks = [] if cell.marks.get("echo") == "false" else [f"```python\n{code}\n```"]
    for output in cell.outputs:
        png = output.get("data", {}).get("image/png")
        blocks.append(picture(cell) if png else shown(output))
        if png: images[f"{cell.marks['label']}.png"] = base64.b64decode("".join(png))
    return [] if "hide" in cell.marks else [block for block in blocks if block]


def render(notebook: Path) -> tuple[str, dict[str, bytes]]:
    "The Markdown of a notebook, and the files of its figures by name."
    blocks, images = ["<!-- Written from nbs/index.ipynb by `make readme`: edit that notebook, not this file. -->"], {}
    for cell in measured.cells_of(notebook): blocks += blocks_of(cell, images)
    text = "\n\n".join(blocks) + "\n"
    return text.replace("\n```\n\n```python\n", "\n\n"), images  # imports and what follows are one block


def main() -> int:
    text, images = render(root / "nbs" / "index.ipynb")
    (root / "README.md").write_text(text, encoding="utf-8")
    (root / "llms.txt").write_text(pages.llms(), encoding="utf-8")
    folder = root / "nbs" / "images"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        if old.name not in images: old.unlink()
    for name, png in images.items(): (folder / name).write_bytes(png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
