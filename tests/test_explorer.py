"""The explorer in a real JupyterLab, in headless Chromium: run the notebook, click and lasso, see what changes.

Both maps, our own canvas and the WebGL scatter of jupyter-scatter, take the same real mouse events; Chromium draws
WebGL in software.
"""
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ambiguity_nb.patterns import _pattern_colors

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
ROOT = Path(__file__).parent.parent

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
# The cell's own part of the page, and where point i is in the window: the canvas keeps its places, the scatter has a
# method for it (its first 50 points are the real samples).
PAGE = """
const cell = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[%d];
const map = cell?.querySelector('canvas.ambiguity-map');
const scatter = map ? null : [...(cell?.querySelectorAll('.jp-OutputArea div') ?? [])].find(d => d.api)?.api;
const drawn = () => map ? map.points.length == 60 : !!scatter && scatter.get('isPointsDrawn');
const canvas = () => map ?? scatter.get('canvas');
const place = i => {
  const r = canvas().getBoundingClientRect(), [x, y] = map ? map.points[i] : scatter.getScreenPosition(50 + i);
  return [r.left + x, r.top + y]; };
"""


def free_port()->int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(check, seconds, what):
    "Poll until `check()` is truthy; fail with `what` when it never is."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := check(): return value
        except (OSError, ValueError): pass
        time.sleep(.3)
    pytest.fail(f"{what} did not happen within {seconds} s")


class Page:
    "Chromium's DevTools protocol, as much of it as a click needs."

    def __init__(self, url):
        import websocket

        self.socket, self.count = websocket.create_connection(url, timeout=30, suppress_origin=True), 0

    def __call__(self, method, **params):
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.count: return answer.get("result", answer)

    def js(self, code):
        answer = self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        return answer.get("result", {}).get("value")

    def mouse(self, kind, at, buttons=1, modifiers=0):
        button = "none" if kind == "mouseMoved" and not buttons else "left"
        self("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button=button, buttons=buttons, clickCount=1,
             modifiers=modifiers)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if CHROMIUM is None: pytest.skip("no Chromium on this machine (apt-get install chromium)")
    pytest.importorskip("jupyterlab")
    pytest.importorskip("websocket")
    folder = tmp_path_factory.mktemp("lab")
    pytest.importorskip("jscatter")
    cells = [{"cell_type": "code", "id": name, "metadata": {}, "source": CELL.replace("MAP", name), "outputs": [],
              "execution_count": None} for name in MAPS]
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "explore.ipynb").write_text(json.dumps(notebook))
    port, debug = free_port(), free_port()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(folder / "config"),
           "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws")}
    log = open(folder / "lab.log", "w")
    lab = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
                            "--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
                            "--expose-app-in-browser", f"--notebook-dir={folder}"],
                           cwd=folder, env=env, stdout=log, stderr=log)
    browser = None
    try:
        wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).status == 200, 90,
             "JupyterLab's start")
        browser = subprocess.Popen([CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu",
                                    "--enable-unsafe-swiftshader", "--window-size=1400,1000",
                                    f"--remote-debugging-port={debug}",
                                    f"--user-data-dir={folder / 'profile'}",
                                    f"http://127.0.0.1:{port}/lab/tree/explore.ipynb"], stdout=log, stderr=log)
        read = lambda: json.loads(urllib.request.urlopen(f"http://127.0.0.1:{debug}/json", timeout=5).read())
        targets = wait(lambda: [t for t in read() if t["type"] == "page"], 60, "Chromium's start")
        page = Page(targets[0]["webSocketDebuggerUrl"])
        page.folder = folder
        wait(lambda: page.js("!!(window.jupyterapp && document.querySelector('.jp-Notebook .jp-Cell'))"), 120,
             "opening the notebook")
        status = "(window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status)"
        wait(lambda: page.js(f"{status} === 'idle'"), 120, "the kernel's start")
        page.js("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        yield page
    finally:
        for process in (browser, lab):
            if process is not None:
                process.terminate()
                try: process.wait(20)
                except subprocess.TimeoutExpired: process.kill()
        log.close()


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

    def js(self, value): return self.page.js(f"(() => {{ {PAGE % MAPS.index(self.name)}; return {value}; }})()")

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


def screenshot(page, name):
    "Kept only where a folder is named, for people to look at."
    if folder := os.environ.get("AMBIGUITY_SCREENSHOTS"):
        Path(folder, name).write_bytes(base64.b64decode(page("Page.captureScreenshot", format="png")["data"]))


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
    screenshot(page, f"click-{explorer.name}.png")


@pytest.mark.slow
def test_lasso_selects_a_group_and_shift_adds(page, explorer):
    # points 0-2, 10-12 and 20-22: a 3 by 3 corner, with 4 to 9 real samples between them
    explorer.drag(*around(explorer.point(20), explorer.point(2)))
    corner = [0, 1, 2, 10, 11, 12, 20, 21, 22]
    wait(lambda: explorer.calls[-1] == corner, 20, "the lasso's selection")
    wait(lambda: "9 inputs" in explorer.text, 10, "the panel")
    screenshot(page, f"lasso-{explorer.name}.png")
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
    screenshot(page, "keys-widgets.png")


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
