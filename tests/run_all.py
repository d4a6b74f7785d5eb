"""Runs what `make test` promises: every notebook, then pytest with the hygiene checks, then one closing line.

The closing line counts notebooks and tests together: `N passed, N failed, N skipped`.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

root = Path(__file__).resolve().parent.parent


def environment() -> dict:
    "Two processes at a time share the cores; no display, no network account."
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    return os.environ | {"MPLBACKEND": "Agg", "WANDB_MODE": "offline", "WANDB_SILENT": "true", "PYTHONHASHSEED": "0",
                         "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def run_notebooks(slow: bool) -> tuple[int, int]:
    "Passed and failed notebooks under `nbdev_test`."
    from nbdev.doclinks import nbglob

    names = [Path(p).name for p in nbglob(root / "nbs")]
    words = ["nbdev_test", "--n_workers", "2", "--timing", "--do_print"] + (["--flags", "slow"] if slow else [])
    print(f"== {len(names)} notebooks: {' '.join(words)}", flush=True)
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    process = subprocess.Popen(command, cwd=root, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        print(line, end="", flush=True)
    if process.wait() == 0: return len(names), 0
    tail = "".join(lines).partition("Failed On The Following Notebooks")[2]
    failed = {name for name in names if re.search(rf"\b{re.escape(name)}\b", tail)}
    return len(names) - max(1, len(failed)), max(1, len(failed))


def run_pytest(slow: bool) -> tuple[int, int, int]:
    "Passed, failed and skipped tests under pytest, the files of tests shared out over two processes."
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "--durations=8",
                   f"--junitxml={report}"]
        command += [] if slow else ["-m", "not slow"]
        print(f"== {' '.join(command[1:-1] if slow else command[1:])}", flush=True)
        code = subprocess.run(command, cwd=root, env=environment()).returncode
        if not report.exists(): return 0, 1, 0
        suite = ElementTree.parse(report).getroot().find("testsuite")
        total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
        failed = int(suite.get("failures")) + int(suite.get("errors"))
        if code and not failed: failed = 1  # pytest failed for a reason that is no test's
        return total - failed - skipped, failed, skipped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slow", action="store_true", help="also cells and tests marked slow")
    slow = parser.parse_args().slow
    start = time.time()
    notebooks_passed, notebooks_failed = run_notebooks(slow)
    passed, failed, skipped = run_pytest(slow)
    print(f"== {time.time() - start:.0f} s: notebooks {notebooks_passed} passed, {notebooks_failed} failed; "
          f"pytest {passed} passed, {failed} failed, {skipped} skipped")
    passed, failed = passed + notebooks_passed, failed + notebooks_failed
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
