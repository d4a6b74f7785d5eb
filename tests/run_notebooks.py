"""Runs notebooks top to bottom as JupyterLab's Run All does, stores outputs, exports modules, cleans, writes README.md.

Without arguments: all of them; else the paths given.
"""
import os
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent


def main() -> int:
    from nbdev.doclinks import nbglob

    notebooks = [Path(p).resolve() for p in sys.argv[1:]] or sorted(nbglob(root / "nbs"))
    env = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONHASHSEED": "0"}
    subprocess.run(["nbdev_export"], cwd=root, check=True)
    subprocess.run([sys.executable, str(root / "tests" / "write_help.py")], check=True)
    for notebook in notebooks:
        print(notebook.relative_to(root), flush=True)
        # the state of widgets would hold their JavaScript, megabytes of it
        options = ["--log-level", "WARN", "--ExecutePreprocessor.timeout=1800",
                   "--ExecutePreprocessor.store_widget_state=False"]
        command = ["jupyter", "nbconvert", "--to", "notebook", "--execute", "--inplace", *options, str(notebook)]
        subprocess.run(command, cwd=root, env=env, check=True)
    subprocess.run(["nbdev_clean"], cwd=root, check=True)
    return subprocess.run([sys.executable, str(root / "tests" / "readme.py")]).returncode


if __name__ == "__main__":
    sys.exit(main())
