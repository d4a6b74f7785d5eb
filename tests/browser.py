"""Chromium without a window, and JupyterLab in it, for tests of what a person sees and clicks."""
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
                None)


def needs(*packages):
    "Skip, with the reason, where there is no Chromium or a package is missing."
    if CHROMIUM is None: pytest.skip("no Chromium on this machine (apt-get install chromium)")
    for package in ("websocket", *packages): pytest.importorskip(package)


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
    "A page in Chromium by the DevTools protocol; events are kept."

    def __init__(self, url):
        import websocket

        self.socket, self.count, self.events = websocket.create_connection(url, timeout=30, suppress_origin=True), 0, []

    def __call__(self, method, **params):
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.count: return answer.get("result", answer)
            self.events.append(answer)

    def js(self, code):
        "The value of an expression; None where it fails, as it may while a page opens."
        answer = self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        return answer.get("result", {}).get("value")

    def run(self, code):
        "The value that some lines return; they must not fail."
        answer = self("Runtime.evaluate", expression=f"(() => {{ {code} }})()", returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def mouse(self, kind, at, buttons=1, modifiers=0):
        button = "none" if kind == "mouseMoved" and not buttons else "left"
        self("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button=button, buttons=buttons, clickCount=1,
             modifiers=modifiers)

    def screenshot(self, name, **options):
        "Kept only where a folder is named, for people to look at."
        if folder := os.environ.get("AMBIGUITY_SCREENSHOTS"):
            shot = self("Page.captureScreenshot", format="png", **options)
            Path(folder, name).write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def stopped(process):
    "A process that ends with the block."
    try: yield process
    finally:
        process.terminate()
        try: process.wait(20)
        except subprocess.TimeoutExpired: process.kill()


@contextmanager
def chromium(profile, url="about:blank", *flags):
    "A page of a Chromium of its own."
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0", *flags]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with stopped(subprocess.Popen([CHROMIUM, *words, f"--user-data-dir={profile}", url], **quiet)):
        there = Path(profile) / "DevToolsActivePort"
        wait(lambda: there.exists() and there.read_text(), 90, "Chromium's start")
        address = f"http://127.0.0.1:{there.read_text().splitlines()[0]}/json"
        read = lambda: json.loads(urllib.request.urlopen(address, timeout=20).read())
        targets = wait(lambda: [t for t in read() if t["type"] == "page"], 60, "Chromium's first page")
        yield Page(targets[0]["webSocketDebuggerUrl"])


def free_port()->int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def notebook_in_lab(folder, cells, *flags):
    "The page of a real JupyterLab that runs a notebook of some cells (name to source)."
    parts = [{"cell_type": "code", "id": name, "metadata": {}, "source": source, "outputs": [], "execution_count": None}
             for name, source in cells.items()]
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    notebook = {"cells": parts, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "notebook.ipynb").write_text(json.dumps(notebook))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(folder / "config"),
           "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "ws")}
    port = free_port()
    words = ["--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1", "--IdentityProvider.token=",
             "--ServerApp.disable_check_xsrf=True", "--expose-app-in-browser", f"--notebook-dir={folder}"]
    with (open(folder / "lab.log", "w") as log,
          stopped(subprocess.Popen([sys.executable, "-m", "jupyterlab", *words], cwd=folder, env=env, stdout=log,
                                   stderr=log))):
        wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).status == 200, 120,
             "JupyterLab's start")
        with chromium(folder / "profile", f"http://127.0.0.1:{port}/lab/tree/notebook.ipynb", *flags) as page:
            opened = "!!(window.jupyterapp && document.querySelector('.jp-Notebook .jp-Cell'))"
            wait(lambda: page.js(opened), 180, "opening the notebook")
            status = "(window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status)"
            wait(lambda: page.js(f"{status} === 'idle'"), 180, "the kernel's start")
            page.js("window.jupyterapp.commands.execute('notebook:run-all-cells')")
            page.folder = folder
            yield page
