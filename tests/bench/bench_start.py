"""How long a person waits for nothing: `import ambiguity_nb`, and the help of a command, in seconds of processor."""
import resource
import statistics
import subprocess
import sys


def seconds(*words: str) -> float:
    "Median of five runs of Python with some words."
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(took)


def main() -> None:
    python = seconds("-c", "pass")
    print(f"Python alone {python:.3f} s")
    package = seconds("-c", "import ambiguity_nb") - python
    print(f"= import ambiguity_nb, without Python itself: seconds | {package:.3f} | .05")
    print(f"= ambiguity hardness --help: seconds | {seconds('-m', 'ambiguity_nb', 'hardness', '--help'):.2f} | .5")


if __name__ == "__main__": main()
