"""Real results as pages of the site: writes nbs/reports/{demo,photographs,explorer}.html and a picture of each.

    python tools/make_reports.py [NAME ...] [--photographs FILE]

`demo` is the page of `ambiguity demo`. `photographs` is the page of `ambiguity audit` over 1,500 color photographs, the
first of FILE, an .npz of `x` uint8 [N, 3, 32, 32], `y` and `classes` (made from CIFAR-10); it is left as it is without
FILE. `explorer` is a map of the images that a search found at a classifier's boundary, with the pictures behind the
points. Each page is one file that asks for nothing: pictures lie in it, as WebP, and there is no server. The pictures
of the pages are taken by Chromium; they are left as they are where there is none.
"""
import argparse
import base64
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

root = Path(__file__).resolve().parent.parent
reports = root / "nbs" / "reports"
most = 900_000  # bytes of a page


def ambiguity(*words: str) -> None:
    "Run a command of the package."
    subprocess.run([sys.executable, "-m", "ambiguity_nb", *words], check=True, cwd=root)


def the_page(folder: Path) -> str:
    "The page that a command left in its run folder."
    pages = sorted(folder.rglob("*.html"), key=lambda p: (p.name != "report.html", len(p.parts)))
    if not pages: raise FileNotFoundError(f"no page in {folder}")
    return pages[0].read_text(encoding="utf-8")


def demo() -> str:
    "The page of `ambiguity demo`."
    with tempfile.TemporaryDirectory() as folder:
        ambiguity("demo", "--run_folder", folder, "--progress", "false")
        return with_way_back(the_page(Path(folder)), "<code>ambiguity demo</code>, without any other word,")


def photographs(file: Path, n: int = 1500) -> str:
    "The page of an audit of color photographs."
    with tempfile.TemporaryDirectory() as folder, np.load(file) as held:
        path = Path(folder) / "photographs.npz"
        np.savez(path, x=held["x"][:n], y=held["y"][:n], classes=held["classes"])
        ambiguity("audit", str(path), "--run_folder", str(Path(folder) / "runs"), "--shown", "60",
                  "--progress", "false")
        text = the_page(Path(folder) / "runs").replace(f"{folder}/", "")
    made = f"<code>ambiguity audit photographs.npz --shown 60</code>, on {n:,} photographs of CIFAR-10,"
    return with_way_back(text, made)


def with_way_back(page: str, made: str) -> str:
    "A page that says what made it and where it is shown, above all else."
    look = "margin:0;max-width:none;padding:.5rem 1rem;background:#20435c;color:#fff;font:14px/1.4 system-ui,sans-serif"
    bar = (f'<p style="{look}">A real result: the page that {made} writes. '
           '<a style="color:#fff" href="../try_it.html">Back to the site</a></p>')
    return re.sub(r"(<body[^>]*>)", lambda m: f"{m[1]}\n{bar}", page, count=1)


def smaller(page: str, quality: int = 85) -> str:
    "A page whose PNG pictures are WebP where that is smaller."
    from PIL import Image

    def convert(match):
        picture, buffer = Image.open(io.BytesIO(base64.b64decode(match[1]))), io.BytesIO()
        picture.convert("RGB" if picture.mode != "RGBA" else "RGBA").save(buffer, "WEBP", quality=quality, method=6)
        text = base64.b64encode(buffer.getvalue()).decode()
        return f"data:image/webp;base64,{text}" if len(text) < len(match[1]) else match[0]
    return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=]+)", convert, page)


def explorer(n: int = 500, n_real: int = 400) -> str:
    "The page of the map."
    from ambiguity_nb.explorer import explore
    from ambiguity_nb.latent_search import _fit_autoencoder, search_boundary
    from ambiguity_nb.models import build_model
    from ambiguity_nb.patterns import Clustering
    from ambiguity_nb.sources import load_samples
    from ambiguity_nb.study import StudyOptions, study_patterns
    from ambiguity_nb.training import Training, fit

    everything, rest = load_samples("mnist-5k", "all").split((.8, .2), seed=0)
    train, test = everything.binary("5", "3"), rest.binary("5", "3")
    model = build_model("cnn", train, seed=0, nf=2)
    fit(model, train, Training(n_epochs=20), seed=0)
    found = search_boundary(model, _fit_autoencoder(train, 600, seed=0), n=n, samples=train, seed=0)
    study = study_patterns(model, found, train, test, Clustering(n_clusters=5), StudyOptions(explainer=None), judges=(),
                           seed=0)
    view = explore(study, max_others=n_real, scatter="widgets")
    title = "What lies between a 5 and a 3?"
    lead = (f"{len(study.inputs)} images that a small classifier of handwritten digits cannot decide on, found by a "
            "search between the codes of real digits, and grouped by how the classifier sees them.")
    return with_way_back(page_of(view, title, lead), "<code>python tools/make_reports.py explorer</code>")


def page_of(view, title: str, lead: str, k: int = 5) -> str:
    "An explorer of images (`PatternExplorer`) as one file."
    import jinja2

    from ambiguity_nb.explorer import _hex_colors
    from ambiguity_nb.patterns import nearest_rows, unit_rows

    rows, inputs = unit_rows(view.embeddings, view.metric), view.inputs
    real = {part: seen.samples for part, seen in view.real.items()}
    near = {part: nearest_rows(unit_rows(seen.embeddings, view.metric), rows, k=k)[0]
            for part, seen in view.real.items()}
    tiles, words, n, first = [inputs.x], [], len(inputs), len(inputs)
    for part, index in near.items():  # only the real images that are near to one of the inputs
        used, place = np.unique(index, return_inverse=True)
        samples = real[part].subset(used)
        tiles.append(samples.x)
        words += [f"{part}, {samples.classes[c]}" for c in samples.y]
        near[part] = first + place.reshape(index.shape)
        first += len(used)
    others = view.other_points
    both = np.concatenate([view.points, others])
    low, span = both.min(0), np.ptp(both, axis=0)
    scaled = [np.round((v - low) / span, 3).tolist() for v in (view.points, others)]
    same = []
    for i, label in enumerate(view.labels):
        members = np.flatnonzero((view.labels == label) & (np.arange(n) != i))
        same.append(members[np.argsort(-(rows[members] @ rows[i]), kind="stable")[:k]].tolist())
    sheet, columns, count = sprite(np.concatenate(tiles))
    data = {"points": scaled[0], "others": scaled[1], "labels": view.labels.tolist(), "p": np.round(view.p, 3).tolist(),
            "colors": _hex_colors(view.labels), "prototypes": view.prototypes.tolist(), "same": same, "words": words,
            **{part: index.tolist() for part, index in near.items()}, "sheet": sheet, "columns": columns, "rows": count,
            "side": inputs.shape[1], "n": n, "m": len(others), "start": int(view.prototypes[0]),
            "positive": inputs.classes[1]}
    template = jinja2.Environment(autoescape=True).from_string((root / "tools" / "explorer_page.html").read_text())
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    from markupsafe import Markup
    return template.render(title=title, lead=lead, data=data, json=Markup(text))


def sprite(images: np.ndarray, columns: int = 40) -> tuple[str, int, int]:
    "Images [N, C, H, W] as one picture in 16 shades of gray or as WebP: its address, columns and rows."
    from PIL import Image

    n, c, h, w = images.shape
    count = -(-n // columns)
    sheet = np.zeros((count * columns, h, w, c), np.uint8)
    sheet[:n] = images.transpose(0, 2, 3, 1)
    sheet = sheet.reshape(count, columns, h, w, c).transpose(0, 2, 1, 3, 4).reshape(count * h, columns * w, c)
    buffer = io.BytesIO()
    if c == 1: Image.fromarray(sheet[..., 0] & 0xF0).save(buffer, "WEBP", lossless=True, method=6)
    else: Image.fromarray(sheet).save(buffer, "WEBP", quality=85, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", columns, count


def write(name: str, page: str) -> None:
    "Write a page and its picture."
    page = smaller(page)
    size = len(page.encode())
    if size > most: raise ValueError(f"{name}.html has {size:,} bytes; expected at most {most:,}")
    reports.mkdir(exist_ok=True)
    (reports / f"{name}.html").write_text(page, encoding="utf-8")
    photograph(reports / f"{name}.html")
    print(f"nbs/reports/{name}.html: {size:,} bytes", flush=True)


def photograph(page: Path, width: int = 1100, height: int = 760) -> None:
    "A picture of the top of a page beside it, 720 pixels wide."
    from PIL import Image

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None: return
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   f"--user-data-dir={folder}/user", f"--window-size={width},{height}", "--virtual-time-budget=3000",
                   f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        picture = Image.open(shot).convert("RGB")
        picture.resize((720, round(720 * picture.height / picture.width)), Image.LANCZOS).save(
            page.with_suffix(".webp"), "WEBP", quality=80, method=6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="demo, photographs, explorer; all when left out")
    parser.add_argument("--photographs", type=Path, help="the .npz of photographs")
    options = parser.parse_args()
    makers = {"demo": demo, "explorer": explorer}
    if options.photographs: makers["photographs"] = lambda: photographs(options.photographs)
    for name in options.names or makers:
        if name not in makers: parser.error(f"there is no {name!r}; photographs need --photographs FILE")
        write(name, makers[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
