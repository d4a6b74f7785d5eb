"""Review in a real JupyterLab, in headless Chromium: keys and clicks decide, and the file holds it."""
import json
import os
import subprocess
import sys
import urllib.request

import pandas as pd
import pytest
from test_explorer import CHROMIUM, ROOT, Page, free_port, screenshot, wait

CELL = """
import numpy as np
from ambiguity_nb.jobs.audit import AuditOptions, audit
from ambiguity_nb.reviewing import review
from ambiguity_nb.sources import load_samples
digits = load_samples("digits", "all").subset(slice(0, 200))
probs = np.full((200, 10), .01)
probs[np.arange(200), np.where(np.arange(200) < 12, (digits.y + 1) % 10, digits.y)] = .91
reviewer = review(audit(digits, probs, AuditOptions(boundary=False)))
reviewer
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    "A notebook with a review, run."
    if CHROMIUM is None: pytest.skip("no Chromium on this machine (apt-get install chromium)")
    for package in ("jupyterlab", "websocket"): pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("lab")
    cell = {"cell_type": "code", "id": "review", "metadata": {}, "source": CELL, "outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "review.ipynb").write_text(json.dumps(notebook))
    port, debug = free_port(), free_port()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(folder / "config"),
           "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws")}
    words = ["--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=",
             "--ServerApp.disable_check_xsrf=True", "--expose-app-in-browser", f"--notebook-dir={folder}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    lab = subprocess.Popen([sys.executable, "-m", "jupyterlab", *words], cwd=folder, env=env, **quiet)
    browser = None
    try:
        wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).status == 200, 120, "JupyterLab")
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1000",
                 f"--remote-debugging-port={debug}", f"--user-data-dir={folder / 'profile'}"]
        url = f"http://127.0.0.1:{port}/lab/tree/review.ipynb"
        browser = subprocess.Popen([CHROMIUM, *flags, url], **quiet)
        read = lambda: json.loads(urllib.request.urlopen(f"http://127.0.0.1:{debug}/json", timeout=5).read())
        targets = wait(lambda: [t for t in read() if t["type"] == "page"], 90, "Chromium's start")
        page = Page(targets[0]["webSocketDebuggerUrl"])
        page.folder = folder
        opened = "!!(window.jupyterapp && document.querySelector('.jp-Notebook .jp-Cell'))"
        wait(lambda: page.js(opened), 180, "opening")
        status = "(window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status)"
        wait(lambda: page.js(f"{status} === 'idle'"), 180, "the kernel's start")
        page.js("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        wait(lambda: page.js("!!document.querySelector('.ambiguity-review h4')"), 180, "the first finding")
        yield page
    finally:
        for process in (browser, lab):
            if process is None: continue
            process.terminate()
            try: process.wait(20)
            except subprocess.TimeoutExpired: process.kill()


def progress(page): return page.js("document.querySelector('.ambiguity-review .ambiguity-progress').textContent") or ""


def press(page, key, code=None):
    page.js("document.querySelector('.ambiguity-review').focus()")
    for kind in ("keyDown", "keyUp"):
        page("Input.dispatchKeyEvent", type=kind, key=key, code=code or f"Key{key.upper()}")


def made(page):
    path = page.folder / "decisions.csv"
    return pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else pd.DataFrame()


@pytest.mark.slow
def test_keys_and_clicks_decide_and_the_file_holds_it(page):
    n = int(progress(page).split(" of ")[1].split(";")[0])
    assert n == 12 and page.js("[...document.querySelectorAll('.ambiguity-review img')].every(i => i.naturalWidth > 0)")
    screenshot(page, "review.png")
    for i, key in enumerate("akud", 1):
        press(page, key)
        wait(lambda i=i: len(made(page)) == i and progress(page).startswith(f"{i + 1} of"), 30, f"decision {i}")
    assert made(page)["decision"].tolist() == ["accept", "keep", "unsure", "drop"]
    assert made(page)["label"].tolist() == [made(page)["suggested"][0], *made(page)["given"][1:3], ""]
    page.js("(s => { s.value = s.options[3].value; s.dispatchEvent(new Event('change')); })"
            "(document.querySelector('.ambiguity-review select'))")
    wait(lambda: len(made(page)) == 5, 30, "another label")
    assert made(page)["decision"][4] == "other" and made(page)["label"][4] not in ("", made(page)["given"][4])
    press(page, "ArrowLeft", "ArrowLeft")
    wait(lambda: progress(page).startswith("5 of"), 30, "going back")
    assert page.js("document.querySelector('.ambiguity-review select').value") == made(page)["label"][4]
    page.js("document.querySelector('.ambiguity-review [data-decision=keep]').click()")
    wait(lambda: made(page)["decision"][4] == "keep", 30, "deciding again")
    assert len(made(page)) == 5


@pytest.mark.slow
def test_a_new_widget_goes_on_where_the_last_ended(page):
    done = len(made(page))
    page.js("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    wait(lambda: progress(page).startswith(f"{done + 1} of 12; {done} decided"), 60, "taking up the review")
