"""The explorer in a real JupyterLab, in headless Chromium: run the notebook, click and lasso, see image and Python change."""
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

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
ROOT = Path(__file__).parent.parent

CELL = """
import json
import numpy as np
from ambiguity_nb.data import load_samples
from ambiguity_nb.explorer import PatternExplorer
inputs = load_samples("digits", "all").subset(slice(0, 60))
at = np.stack([np.arange(60) % 10, np.arange(60) // 10], 1).astype(np.float32)
explorer = PatternExplorer(at, np.arange(60) // 20, inputs, inputs.x.reshape(60, -1), np.linspace(0, 1, 60), {"test": (inputs, inputs.x.reshape(60, -1))})
explorer.on_select(lambda s: open("selected.json", "w").write(json.dumps(s.tolist())))
explorer
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

    def js(self, code): return self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True).get("result", {}).get("value")

    def mouse(self, kind, at): self("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", buttons=0 if kind == "mouseReleased" else 1, clickCount=1)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if CHROMIUM is None: pytest.skip("no Chromium on this machine (apt-get install chromium)")
    pytest.importorskip("jupyterlab")
    pytest.importorskip("websocket")
    folder = tmp_path_factory.mktemp("lab")
    cell = {"cell_type": "code", "id": "explore", "metadata": {}, "source": CELL, "outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    (folder / "explore.ipynb").write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    port, debug = free_port(), free_port()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws")}
    log = open(folder / "lab.log", "w")
    lab = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
                            "--expose-app-in-browser", f"--notebook-dir={folder}"], cwd=folder, env=env, stdout=log, stderr=log)
    browser = None
    try:
        wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).status == 200, 90, "JupyterLab's start")
        browser = subprocess.Popen([CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", f"--remote-debugging-port={debug}",
                                    f"--user-data-dir={folder / 'profile'}", f"http://127.0.0.1:{port}/lab/tree/explore.ipynb"], stdout=log, stderr=log)
        targets = wait(lambda: [t for t in json.loads(urllib.request.urlopen(f"http://127.0.0.1:{debug}/json", timeout=5).read()) if t["type"] == "page"], 60, "Chromium's start")
        page = Page(targets[0]["webSocketDebuggerUrl"])
        page.folder = folder
        wait(lambda: page.js("!!(window.jupyterapp && document.querySelector('.jp-Notebook .jp-Cell'))"), 120, "opening the notebook")
        wait(lambda: page.js("(window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status) === 'idle'"), 120, "the kernel's start")
        page.js("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        wait(lambda: page.js("(document.querySelector('canvas.ambiguity-map')?.points || []).length") == 60, 120, "drawing the map")
        page.js("document.querySelector('canvas.ambiguity-map').scrollIntoView({block: 'center'})")
        time.sleep(1)
        yield page
    finally:
        for process in (browser, lab):
            if process is not None:
                process.terminate()
                try: process.wait(20)
                except subprocess.TimeoutExpired: process.kill()
        log.close()


def point(page, i):
    "Where point i is in the window."
    return json.loads(page.js(f"(() => {{ const c = document.querySelector('canvas.ambiguity-map'), r = c.getBoundingClientRect(); return JSON.stringify([r.left + c.points[{i}][0], r.top + c.points[{i}][1]]) }})()"))


def state(page):
    "The text and the picture that the explorer shows."
    return page.js("(() => [document.querySelector('.ambiguity-info')?.textContent, document.querySelector('.ambiguity-inputs img')?.src])()")


def selected(page):
    path = page.folder / "selected.json"
    return json.loads(path.read_text()) if path.exists() else None


def screenshot(page, name):
    "Kept only where a folder is named, for people to look at."
    if folder := os.environ.get("AMBIGUITY_SCREENSHOTS"):
        Path(folder, name).write_bytes(base64.b64decode(page("Page.captureScreenshot", format="png")["data"]))


@pytest.mark.slow
def test_click_shows_the_image_and_reaches_python(page):
    seen = []
    for i in (23, 41):
        for kind in ("mousePressed", "mouseReleased"): page.mouse(kind, point(page, i))
        wait(lambda i=i: f"input {i} " in (state(page)[0] or ""), 20, f"showing input {i}")
        wait(lambda i=i: selected(page) == [i], 10, "the callback")
        seen.append(state(page)[1])
    assert seen[0] != seen[1] and seen[0].startswith("blob:") | seen[0].startswith("data:")
    screenshot(page, "click.png")


@pytest.mark.slow
def test_lasso_selects_a_group(page):
    (left, top), (right, bottom) = point(page, 20), point(page, 2)  # points 0-2, 10-12 and 20-22: a 3 by 3 corner
    left, right, top, bottom = left - 10, right + 10, top - 10, bottom + 10
    path = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 1)]
    page.mouse("mousePressed", path[0])
    for at in path[1:]: page.mouse("mouseMoved", at)
    page.mouse("mouseReleased", path[-1])
    wait(lambda: selected(page) == [0, 1, 2, 10, 11, 12, 20, 21, 22], 20, "the lasso's selection")
    assert "9 inputs" in state(page)[0]
    screenshot(page, "lasso.png")


@pytest.mark.slow
def test_keyboard_does_the_same(page):
    page.js("document.querySelector('.widget-text input[type=number]').focus()")
    page.js("(() => { const i = document.querySelector('.widget-text input[type=number]'); i.value = '5'; i.dispatchEvent(new Event('change', {bubbles: true})); })()")
    wait(lambda: "input 5 " in (state(page)[0] or ""), 20, "showing input 5")
    assert selected(page) == [5]
