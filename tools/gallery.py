"""Cards of the site's figures, made from the outputs that notebooks hold: a picture, what it is, a link to its cell.

`cards("Hardness scores")` is what `nbs/gallery.ipynb` shows; the build of the site (tools/pages.py) makes the cards
again, from the outputs that are there then, and puts an anchor in front of each cell that a card leads to.
"""
import base64
import html
import io
import json
import re
from functools import lru_cache
from pathlib import Path

root = Path(__file__).resolve().parent.parent

# section -> (kind of figure, notebook below nbs, id of the cell that draws it)
KINDS = {
    "Data and hardness types": [
        ("Samples with words above and frames", "00_data.ipynb", "8c0b0cb0"),
        ("Labels made wrong on purpose", "01_hardness_types.ipynb", "941163a8"),
        ("Every hardness type, three severities", "01_hardness_types.ipynb", "372d1c10"),
        ("Hardness types on color photographs", "01_hardness_types.ipynb", "a1731cb2"),
        ("Accuracy over a training", "02_models.ipynb", "42eae258"),
    ],
    "Hardness scores": [
        ("Data map", "04c_score_plots.ipynb", "5de15f8b"),
        ("Data map with its distributions", "04c_score_plots.ipynb", "9a516d0c"),
        ("Hardest samples of each class", "04c_score_plots.ipynb", "1906b1ee"),
        ("Most ambiguous samples", "04c_score_plots.ipynb", "c255da47"),
        ("One sample over the epochs", "04c_score_plots.ipynb", "a3d19c24"),
        ("Which scores agree", "04c_score_plots.ipynb", "0f2525ae"),
        ("When a score settles", "04c_score_plots.ipynb", "3aa459e9"),
        ("What a committee of scores finds", "04_scores.ipynb", "a105fecd"),
        ("Curves of a learned detector", "04e_detector.ipynb", "deaded9f"),
    ],
    "Verdicts and audit": [
        ("Given and suggested labels", "04f_verdicts.ipynb", "d0c26b1b"),
        ("Self-test of the verdicts", "04f_verdicts.ipynb", "9b3b2546"),
        ("Calibration", "04f_verdicts.ipynb", "8bb1a4c7"),
        ("Estimated number of wrong labels", "04f_verdicts.ipynb", "4ba5770c"),
        ("Findings of an audit", "jobs/audit.ipynb", "783b35c8"),
        ("Findings by class", "jobs/audit.ipynb", "1f14480d"),
        ("Copies, pair by pair", "08e_duplicates.ipynb", "e416b467"),
    ],
    "Generators and the boundary": [
        ("Ambiguous images in order of p", "06_gasten.ipynb", "2f0a5ca8"),
        ("From one class to the other", "06b_latent_search.ipynb", "lat00105"),
        ("Between three classes", "06b_latent_search.ipynb", "lat00133"),
        ("Measures over the epochs of step 2", "06_gasten.ipynb", "44a0c61b"),
        ("Realism against doubt, with the front", "06c_choosing_epochs.ipynb", "91aa1ffb"),
        ("The same noise through epochs", "06c_choosing_epochs.ipynb", "5644c20e"),
        ("Fréchet distances with intervals", "05_fid.ipynb", "3ade4961"),
        ("Density and coverage", "05c_generator_measures.ipynb", "ccc655ee"),
    ],
    "Patterns, reasons and prototypes": [
        ("Patterns in the plane", "07_patterns.ipynb", "b667964c"),
        ("Settings of a search", "07b_pattern_search.ipynb", "74661e71"),
        ("Islands, or one continuum", "07c_islands.ipynb", "c7762f42"),
        ("Reasons for doubt, part by part", "07d_parts.ipynb", "f8868747"),
        ("Patterns and their prototypes", "08_prototypes.ipynb", "3e8ec07b"),
        ("Map with prototypes around", "08_prototypes.ipynb", "1050eec3"),
        ("What speaks for each class", "08b_explanations.ipynb", "8d8c2037"),
        ("Pattern card", "08c_study.ipynb", "4af2874b"),
        ("Explorer", "08d_explorer.ipynb", "b798fb63"),
    ],
    "Benchmarks": [
        ("Heat map: which score finds what", "09b_benchmark_figures.ipynb", "a9d86567"),
        ("Ranks that can be told apart", "09b_benchmark_figures.ipynb", "019c1974"),
        ("AUROC against share", "09b_benchmark_figures.ipynb", "9ee5bcb9"),
        ("AUROC against severity", "09b_benchmark_figures.ipynb", "sever002"),
        ("AUROC against epochs", "09b_benchmark_figures.ipynb", "epochs02"),
        ("What a score costs", "09b_benchmark_figures.ipynb", "cost0002"),
        ("Stability between seeds", "09b_benchmark_figures.ipynb", "e4033b0d"),
        ("Ours beside other tools", "comparison.ipynb", "figure00"),
    ],
}


@lru_cache(64)
def _cells(path: str) -> dict[str, dict]:
    "The cells of a notebook by id."
    return {c["id"]: c for c in json.loads((root / "nbs" / path).read_text(encoding="utf-8"))["cells"]}


def targets() -> set[tuple[str, str]]:
    "Notebook and cell of every card."
    return {(path, cell) for kinds in KINDS.values() for _, path, cell in kinds}


def missing() -> list[str]:
    "Cards whose cell is not there, or holds no figure."
    return [f"{path} {cell}: {kind}" for kinds in KINDS.values() for kind, path, cell in kinds
            if _png(path, cell) is None]


def _png(path: str, cell: str) -> bytes | None:
    "The first figure of a cell."
    found = [o["data"]["image/png"] for o in _cells(path).get(cell, {}).get("outputs", [])
             if "image/png" in o.get("data", {})]
    return base64.b64decode("".join(found[0])) if found else None


def _mark(path: str, cell: str, name: str) -> str:
    "What a directive of a cell says."
    found = re.search(rf'(?m)^#\| *{name}: *"?(.*?)"? *$', "".join(_cells(path)[cell]["source"]))
    return found[1] if found else ""


def thumbnail(png: bytes, width: int = 320, height: int = 200) -> str:
    "A picture that fits so many pixels, as an address."
    from PIL import Image

    picture, buffer = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    picture.thumbnail((width, height), Image.LANCZOS)
    picture.save(buffer, "WEBP", quality=72, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _card(kind: str, path: str, cell: str) -> str:
    "One card."
    words, alt = _mark(path, cell, "fig-cap"), _mark(path, cell, "fig-alt")
    picture = (f'<img src="{thumbnail(_png(path, cell))}" alt="{html.escape(alt or kind)}" '
               'style="width:100%;height:130px;object-fit:contain;background:#fff">')
    return ('<figure style="margin:0;border:1px solid #dfe4e9;border-radius:8px;padding:.6rem">'
            f'<a href="{path}#figure-{cell}">{picture}<br><b>{html.escape(kind)}</b></a>'
            f'<figcaption style="font-size:.85rem">{html.escape(words)}</figcaption></figure>')


def cards(section: str) -> str:
    "The cards of a section as HTML, without those whose figure is not there."
    made = [_card(*kind) for kind in KINDS[section] if _png(*kind[1:]) is not None]
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:.8rem;align-items:start"
    return f'<div style="{grid}">{"".join(made)}</div>'
