"""Runs the benchmarks in tests/bench one after the other, each ours against the plain way in one process.

Arguments choose by name: `python tests/run_bench.py training scores`.
"""
import subprocess
import sys
from pathlib import Path

bench = Path(__file__).resolve().parent / "bench"


def main() -> int:
    scripts = sorted(bench.glob("bench_*.py"))
    chosen = [s for s in scripts if not sys.argv[1:] or s.stem.removeprefix("bench_") in sys.argv[1:]]
    if not chosen:
        print(f"no such benchmark: {sys.argv[1:]}; choose from {[s.stem.removeprefix('bench_') for s in scripts]}")
        return 2
    failed = 0
    for script in chosen:
        print(f"\n== {script.stem}", flush=True)
        failed += subprocess.run([sys.executable, str(script)]).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
