"""Builds the site in `_docs`: nbdev processes the notebooks, Quarto renders them, then every page is checked.

`python tools/build_docs.py --process` ends after the first step, which needs no Quarto. README.md is never written
here (`make readme` does that).
"""
import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pages
import site_check

quarto_version = "1.7.34"  # the one that the site was looked at with; .github/workflows/docs.yml installs it


def quarto() -> str:
    "The path of Quarto, or an error that says what to install."
    found = shutil.which("quarto")
    if found is None:
        sys.exit(f"`quarto` is not on the PATH, and nothing here installs it; the site is made with version "
                 f"{quarto_version}: https://github.com/quarto-dev/quarto-cli/releases/tag/v{quarto_version}")
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout.strip()
    if version != quarto_version: print(f"this is Quarto {version}; the site is made with {quarto_version}", flush=True)
    return found


def fill_in(folder: Path) -> None:
    "Write the version into the copy of `_quarto.yml`: settings.ini is the only place that holds it."
    config = folder / "_quarto.yml"
    text = config.read_text(encoding="utf-8").replace("@version@", pages.settings()["version"])
    config.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", action="store_true", help="only nbdev's step, into `_proc`")
    only = parser.parse_args().process
    program = None if only else quarto()
    folder = pages.process(0 if only else 2)  # one process imports torch once
    fill_in(folder)
    if only: return 0
    if subprocess.run([program, "render", "--no-cache"], cwd=folder).returncode: return 1
    target = pages.root / "_docs"
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(folder / "_docs", target)
    return site_check.report(target)


if __name__ == "__main__":
    sys.exit(main())
