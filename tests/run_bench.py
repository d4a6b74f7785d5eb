"""Runs the benchmarks in tests/bench one after the other, each ours against the plain way in one process.

Arguments choose by name: `python tests/run_bench.py training scores`. A line that starts with "= " holds a measure, its
value and its bar, if there is one; all of them are printed once more at the end, and with `--csv FILE` added to a file.
"""
import argparse
import csv
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

bench = Path(__file__).resolve().parent / "bench"


def run(script: Path) -> tuple[bool, list[list[str]]]:
    "Whether a benchmark ended well, and its measures; its lines are shown as they come."
    measures = []
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("= "): measures.append([part.strip() for part in line[2:].split("|")])
    return process.returncode == 0, measures


def add(path: Path, measures: list[list[str]]) -> None:
    "Put measures into a table; a measure that is there already is replaced."
    with_name = {}
    if path.exists():
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]
        with_name = {row[0]: row for row in rows}
    with_name |= {row[0]: row for row in measures}
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["measure", "value", "bar"], *with_name.values()])


def main() -> int:
    scripts = {s.stem.removeprefix("bench_"): s for s in sorted(bench.glob("bench_*.py"))}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(scripts)}")
    parser.add_argument("--csv", type=Path, help="file to add the measures to")
    args = parser.parse_args()
    if unknown := set(args.names) - set(scripts):
        print(f"no such benchmark: {sorted(unknown)}; choose from {list(scripts)}")
        return 2
    failed, measures = 0, []
    for name in args.names or scripts:
        print(f"\n== {scripts[name].stem}", flush=True)
        fine, found = run(scripts[name])
        failed, measures = failed + (not fine), measures + found
    print("\n== in short")
    for what, value, bar in measures: print(f"  {what:75s} {value:>8s}   {bar and 'bar ' + bar}")
    versions = f"Python {platform.python_version()}, torch {version('torch')}"
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {versions}"
    if args.csv: add(args.csv, [["machine", machine, ""], *measures])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
