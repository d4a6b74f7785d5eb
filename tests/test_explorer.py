"""The explorer in a real JupyterLab, in headless Chromium: run the notebook, click and lasso, see what changes.

Both maps, our own canvas and the WebGL scatter of jupyter-scatter, take the same real mouse events; Chromium draws
WebGL in software.
"""
import json
import time

import pytest
from browser import needs, notebook_in_lab, wait

from ambiguity_nb.patterns import _pattern_colors

MAPS = ("widgets", "jscatter")  # in the order of the notebook's cells
CELL = """
import json
import numpy as np
from ambiguity_nb.explorer import PatternExplorer
from ambiguity_nb.sources import load_samples
from ambiguity_nb.study import RealSamples
inputs = load_samples("digits", "all").subset(slice(0, 60))
at = np.stack([np.arange(60) % 10, np.arange(60) // 10], 1).astype(np.float32)
real = RealSamples(inputs, inputs.x.reshape(60, -1), np.eye(10)[inputs.y], {"aum": np.linspace(0, 1, 60)})
explorer = PatternExplorer(at, np.arange(60) // 20, inputs, inputs.x.reshape(60, -1), np.linspace(0, 1, 60),
                           {"test": real}, prototypes=(4, 34, 54), others=(at[:50] + .5, inputs.subset(slice(0, 50))),
                           scatter="MAP")
calls = []
explorer.on_select(lambda s: (calls.append(s.tolist()), open("MAP.json", "w").write(json.dumps(calls))))
explorer
"""
AUDIT = """
import json
import numpy as np
from ambiguity_nb.explorer import explore
from ambiguity_nb.jobs.audit import AuditOptions, audit
from ambiguity_nb.sources import load_samples
digits = load_samples("digits", "all").subset(slice(0, 200))
probs = np.full((200, 10), .01)
probs[np.arange(200), np.where(np.arange(200) < 24, (digits.y + 1) % 10, digits.y)] = .91
explorer = explore(audit(digits, probs, AuditOptions(boundary=False)), scatter="widgets")
def said(s):
    open("audit.json", "w").write(json.dumps([explorer.inputs.ids[s].tolist(), digits.y[:24].tolist()]))
explorer.on_select(said)
explorer
"""
# The cell's own part of the page, and where point i is in the window: the canvas keeps its places, the scatter has a
# method for it (its first 50 points are the real samples).
PAGE = """
const cell = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[%d];
const map = cell?.querySelector('canvas.ambiguity-map');
const scatter = map ? null : [...(cell?.querySelectorAll('.jp-OutputArea div') ?? [])].find(d => d.api)?.api;
const drawn = () => map ? map.points.length > 0 : !!scatter && scatter.get('isPointsDrawn');
const canvas = () => map ?? scatter.get('canvas');
const place = i => {
  const r = canvas().getBoundingClientRect(), [x, y] = map ? map.points[i] : scatter.getScreenPosition(50 + i);
  return [r.left + x, r.top + y]; };
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    needs("jupyterlab", "jscatter")
    cells = {name: CELL.replace("MAP", name) for name in MAPS}
    flags = ("--enable-unsafe-swiftshader", "--window-size=1400,1000")
    with notebook_in_lab(tmp_path_factory.mktemp("lab"), cells, *flags) as page: yield page


@pytest.fixture(params=MAPS)
def explorer(page, request):
    "One of the two explorers, in view and drawn."
    shown = Explorer(page, request.param)
    wait(lambda: shown.js("drawn()"), 120, f"drawing the map of {request.param}")
    shown.js("canvas().scrollIntoView({block: 'center'})")
    time.sleep(1)
    return shown


class Explorer:
    "What a person sees of an explorer, what they do, and what Python hears of it."

    def __init__(self, page, name): self.page, self.name = page, name

    def js(self, value):
        cell = MAPS.index(self.name) if self.name in MAPS else 0
        return self.page.js(f"(() => {{ {PAGE % cell}; return {value}; }})()")

    def point(self, i): return json.loads(self.js(f"JSON.stringify(place({i}))"))

    @property
    def text(self): return self.js("cell.querySelector('.ambiguity-info')?.textContent") or ""

    @property
    def picture(self): return self.js("cell.querySelector('.ambiguity-inputs img')?.src")

    @property
    def calls(self):
        path = self.page.folder / f"{self.name}.json"
        return json.loads(path.read_text()) if path.exists() else [None]

    def type_position(self, i):
        "Write the position of an input into its field."
        field = "cell.querySelector('.widget-text input[type=number]')"
        self.js(f"{field}.focus()")
        self.js(f"(f => {{ f.value = '{i}'; f.dispatchEvent(new Event('change', {{bubbles: true}})); }})({field})")

    def drag(self, *path, shift=False):
        "Press at the first place, move through the others, release at the last; a click when there is one place."
        keys = {"modifiers": 8 if shift else 0}
        self.page.mouse("mouseMoved", path[0], buttons=0, **keys)
        time.sleep(.2)  # the scatter looks for the point under the mouse at its next frame
        self.page.mouse("mousePressed", path[0], **keys)
        for at in path[1:]:
            self.page.mouse("mouseMoved", at, **keys)
            self.page.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            time.sleep(.05)  # it leaves out moves that follow within 10 ms, and a busy page takes them in one go
        self.page.mouse("mouseReleased", path[-1], buttons=0, **keys)


def around(low, high):
    "A path around two places, 10 pixels away, with stops on the way as a hand makes them."
    (left, right), (top, bottom) = (sorted(v) for v in zip(low, high, strict=True))
    corners = [(left - 10, top - 10), (right + 10, top - 10), (right + 10, bottom + 10), (left - 10, bottom + 10),
               (left - 10, top)]  # ending where it began would be a click too
    sides = zip(corners[:-1], corners[1:], strict=True)
    stop = lambda a, b, t: (a[0] + (b[0] - a[0]) * t / 4, a[1] + (b[1] - a[1]) * t / 4)
    return [stop(a, b, t) for a, b in sides for t in range(4)] + corners[-1:]


@pytest.mark.slow
def test_click_shows_the_image_and_reaches_python(page, explorer):
    seen = []
    for i in (23, 41):
        explorer.drag(explorer.point(i))
        wait(lambda i=i: f"input {i} " in explorer.text, 20, f"showing input {i}")
        wait(lambda i=i: explorer.calls[-1] == [i], 10, "the callback")
        seen.append(explorer.picture)
    assert seen[0] != seen[1] and seen[0].startswith("blob:") | seen[0].startswith("data:")
    assert "nearest test: " in explorer.js("cell.querySelector('.jp-OutputArea').textContent")
    page.screenshot(f"click-{explorer.name}.png")


@pytest.mark.slow
def test_lasso_selects_a_group_and_shift_adds(page, explorer):
    # points 0-2, 10-12 and 20-22: a 3 by 3 corner, with 4 to 9 real samples between them
    explorer.drag(*around(explorer.point(20), explorer.point(2)))
    corner = [0, 1, 2, 10, 11, 12, 20, 21, 22]
    wait(lambda: explorer.calls[-1] == corner, 20, "the lasso's selection")
    wait(lambda: "9 inputs" in explorer.text, 10, "the panel")
    page.screenshot(f"lasso-{explorer.name}.png")
    explorer.drag(explorer.point(57), shift=True)
    wait(lambda: explorer.calls[-1] == [*corner, 57], 20, "adding a point")


@pytest.mark.slow
def test_keyboard_does_the_same(explorer):
    explorer.type_position(5)
    wait(lambda: "input 5 " in explorer.text, 20, "showing input 5")
    assert explorer.calls[-1] == [5]
    if explorer.name == "jscatter":
        wait(lambda: explorer.js("[...scatter.get('selectedPoints')]") == [55], 10, "the map's own selection")


@pytest.mark.slow
def test_arrow_keys_go_from_point_to_point_on_the_canvas(page):
    shown = Explorer(page, "widgets")
    shown.js("canvas().scrollIntoView({block: 'center'})")
    time.sleep(1)
    shown.drag(shown.point(23))
    wait(lambda: shown.calls[-1] == [23], 20, "choosing input 23")
    keys = ("ArrowRight", 0, [24]), ("ArrowUp", 0, [34]), ("ArrowLeft", 8, [33, 34]), ("Escape", 0, [])
    for key, modifiers, want in keys:
        page("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, modifiers=modifiers)
        wait(lambda want=want: shown.calls[-1] == want, 20, f"{want} after {key}")
    page.screenshot("keys-widgets.png")


@pytest.mark.slow
def test_python_chooses_and_the_canvas_draws_a_color_per_pattern(page):
    shown = Explorer(page, "widgets")
    shown.js("canvas().scrollIntoView({block: 'center'})")
    shown.type_position(7)
    wait(lambda: shown.calls[-1] == [7], 20, "choosing input 7 in Python")
    pixel = ("(i => { const k = map.width / parseFloat(map.style.width); "
             "const [x, y] = map.points[i].map(v => Math.round(v * k)); "
             "return [...map.getContext('2d').getImageData(x, y, 1, 1).data]; })")
    wait(lambda: shown.js(f"{pixel}(7)")[0] < 40, 10, "drawing the chosen point in full color")
    for i, color in zip((7, 27, 47), _pattern_colors(3), strict=True):
        got, strength = shown.js(f"{pixel}({i})"), .9 if i == 7 else .35
        want = [round(255 + (int(color[j:j + 2], 16) - 255) * strength) for j in (1, 3, 5)]
        assert all(abs(a - b) <= 6 for a, b in zip(got, want, strict=False)), (i, got, want)


@pytest.mark.slow
def test_the_scatter_is_drawn_in_webgl_with_a_color_per_pattern(page):
    shown = Explorer(page, "jscatter")
    assert shown.js("window.jupyterScatter.renderer.canvas.getContext('webgl') instanceof WebGLRenderingContext")
    colors = shown.js("(() => { const c = canvas(), k = c.width / c.getBoundingClientRect().width; "
                      "const g = document.createElement('canvas').getContext('2d'); g.canvas.width = c.width; "
                      "g.canvas.height = c.height; g.drawImage(c, 0, 0); "
                      "return [16, 36, 56].map(i => { const [x, y] = scatter.getScreenPosition(50 + i); "
                      "return [...g.getImageData(Math.round(x * k), Math.round(y * k), 1, 1).data]; }); })()")
    for got, want in zip(colors, _pattern_colors(3), strict=True):
        near = all(abs(v - int(want[i:i + 2], 16)) <= 3 for v, i in zip(got, (1, 3, 5), strict=False))
        assert near and got[3] > 50, (colors, want)


@pytest.mark.slow
def test_findings_of_an_audit_are_filtered_clicked_and_lassoed(tmp_path):
    needs("jupyterlab")
    with notebook_in_lab(tmp_path, {"audit": AUDIT}, "--window-size=1400,1000") as page: use_findings(page)


def use_findings(page):
    "What a person does with the map of an audit."
    shown = Explorer(page, "audit")
    wait(lambda: shown.js("!!map && drawn()"), 180, "drawing the map of an audit")
    shown.js("canvas().scrollIntoView({block: 'center'})")
    time.sleep(1)
    heard = lambda: json.loads((page.folder / "audit.json").read_text())
    def choose(name, i):
        shown.js("[...cell.querySelectorAll('.widget-dropdown')].filter(d => d.querySelector('label').textContent == "
                 f"'{name}').forEach(d => {{ const s = d.querySelector('select'); s.selectedIndex = {i}; "
                 "s.dispatchEvent(new Event('change', {bubbles: true})); })")
    choose("given", 1)                                                             # the label that most findings have
    chosen, labels = wait(heard, 20, "choosing a label")
    assert len(chosen) > 1 and len({labels[i] for i in chosen}) == 1
    choose("given", 0)
    wait(lambda: heard()[0] == [], 20, "choosing all again")
    shown.drag(shown.point(5))
    wait(lambda: heard()[0] and "mean prediction" in shown.text and "mislabeled" in shown.text, 20, "a click's reason")
    assert shown.picture.startswith("blob:") or shown.picture.startswith("data:")
    xs, ys = zip(*(shown.point(i) for i in range(24)), strict=True)
    left, right, top, bottom = min(xs) - 9, max(xs) + 9, min(ys) - 9, max(ys) + 9
    box = [(left, top), (right, top), (right, bottom), (left, bottom)]
    shown.drag(*box, box[0])
    wait(lambda: len(heard()[0]) == 24, 20, "a lasso around everything")
    page.screenshot("explorer-audit.png")
