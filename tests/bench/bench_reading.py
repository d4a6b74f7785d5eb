"""Reading a folder of photographs against the usual loop over files, and again from the kept array.

The plain way opens, converts and resizes one JPEG after the other with Pillow. Ours looks at all headers first, then
does the same with as many threads as there are cores. The two are interleaved in one process.
"""
import argparse
import statistics
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
from PIL import Image

from ambiguity_nb.sources import from_folder


def photographs(folder: Path, n: int, width: int, height: int) -> None:
    "JPEG files of smooth noise, in two classes."
    rng = np.random.default_rng(0)
    for k in "ab": (folder / k).mkdir(parents=True)
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(folder / "ab"[i % 2] / f"{i}.jpg", quality=90)


def plain(folder: Path, size: int, cache: Path) -> None:
    "One file after the other."
    files = sorted(folder.rglob("*.jpg"))
    x = np.empty((len(files), 3, size, size), np.uint8)
    for i, path in enumerate(files):
        with Image.open(path) as image:
            image = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        x[i] = np.asarray(image).transpose(2, 0, 1)


def ours(folder: Path, size: int, cache: Path) -> None: from_folder(folder, size, cache="no", progress=False)


def keeping(folder: Path, size: int, cache: Path) -> None:
    "The first reading, which writes the array."
    for file in cache.iterdir(): file.unlink()
    from_folder(folder, size, cache=cache, progress=False)


def kept(folder: Path, size: int, cache: Path) -> None: from_folder(folder, size, cache=cache, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1200, help="files")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--size", type=int, default=64, help="side that they are resized to")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    ways = {"Pillow, one after the other": plain, "from_folder": ours, "from_folder, array written": keeping,
            "from_folder, array found": kept}
    wall, cpu = {name: [] for name in ways}, {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as temporary:
        folder, cache = Path(temporary) / "photographs", Path(temporary) / "cache"
        cache.mkdir()
        photographs(folder, args.n, args.width, args.height)
        for _ in range(args.rounds + 1):
            for name, way in ways.items():
                start, started = time.perf_counter(), time.process_time()
                way(folder, args.size, cache)
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - started)
    print(f"{args.n} JPEG files of {args.width} x {args.height} to {args.size} x {args.size}, "
          f"{joblib.cpu_count()} cores; median of {args.rounds} interleaved rounds after one warm-up")
    base = statistics.median(wall["Pillow, one after the other"][1:])
    for name in ways:
        seconds, busy = statistics.median(wall[name][1:]), statistics.median(cpu[name][1:])
        print(f"  {name:28s} {seconds:7.2f} s ({seconds / base:.2f} of the plain way), {busy:.2f} s of CPU, "
              f"{busy / seconds:.2f} cores at work")


if __name__ == "__main__": main()
