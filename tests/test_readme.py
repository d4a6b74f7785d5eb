"""What tests/readme.py makes of a notebook."""
import json

import pytest
from readme import render

png = "iVBORw0KGgo="  # the first bytes of any
head = "<!-- Written from nbs/index.ipynb by `make readme`: edit that notebook, not this file. -->\n\n"
table = """<div><style scoped>.dataframe { color: red }</style><p>2 rows &amp; more</p><table border="1">
<thead><tr style="text-align: right;"><th></th><th>a</th></tr><tr><th>id</th><th></th></tr></thead>
<tbody><tr><th>x|y</th><td>1</td></tr><tr><th>z</th><td>&lt;2&gt;</td></tr></tbody></table></div>"""


def made(tmp_path, *cells) -> tuple[str, dict[str, bytes]]:
    "The README of a notebook with these cells: Markdown, or code and its outputs."
    cells = [c if isinstance(c, tuple) else (c, None) for c in cells]
    cells = [{"cell_type": "markdown" if o is None else "code", "source": s} | ({} if o is None else {"outputs": o})
             for s, o in cells]
    (tmp_path / "index.ipynb").write_text(json.dumps({"cells": cells}))
    return render(tmp_path / "index.ipynb")


def data(**kinds) -> list[dict]: return [{"data": {kind.replace("_", "/"): text for kind, text in kinds.items()}}]


def test_links_are_seen_from_the_root(tmp_path):
    text, _ = made(tmp_path, "[a](how-to/a.ipynb) [b](https://b.org) ![c](images/c.png) [d](#d)", ("x = f[0](y)", []))
    assert text == (head + "[a](nbs/how-to/a.ipynb) [b](https://b.org) ![c](nbs/images/c.png) [d](#d)\n\n"
                    "```python\nx = f[0](y)\n```\n")


def test_outputs_are_text_and_tables(tmp_path):
    value, said = data(text_plain="'a'"), [{"text": "b\nc\n"}]
    shown = data(text_html=table, text_plain="-")
    text, _ = made(tmp_path, ("import a", []), ("a", value), ("print()", said), ("t", shown),
                   ("m", data(text_markdown="**m**", text_plain="-")))
    assert text == (head + "```python\nimport a\n\na\n```\n\n    'a'\n\n```python\nprint()\n```\n\n    b\n    c\n\n"
                    "```python\nt\n```\n\n2 rows & more\n\n| id | a |\n| --- | --- |\n| x\\|y | 1 |\n| z | <2> |\n\n"
                    "```python\nm\n```\n\n**m**\n")


def test_directives_and_hidden_cells_are_left_out(tmp_path):
    one, two = data(text_plain="1"), data(text_plain="2")
    text, images = made(tmp_path, ("#| hide\nsecret = 1", one), ("#| echo: false\nquiet", two),
                        ("#| slow\n#| hide\n#| label: top\n#| fig-alt: \"t\"\ndraw()", data(image_png=png)))
    assert text == head + "    2\n" and list(images) == ["top.png"]


def test_a_figure_is_a_file_with_words(tmp_path):
    cell = "#| label: map\n#| fig-cap: \"A map.\"\n#| fig-alt: \"Dots.\"\ndraw()"
    text, images = made(tmp_path, (cell, data(image_png=png, text_plain="<Figure>")))
    assert text == head + "```python\ndraw()\n```\n\n![Dots.](nbs/images/map.png)\n\n*A map.*\n"
    assert images == {"map.png": b"\x89PNG\r\n\x1a\n"}
    with pytest.raises(ValueError, match="cell 0 draws a figure; give it `#| label:`".replace("|", r"\|")):
        made(tmp_path, ("draw()", data(image_png=png)))
