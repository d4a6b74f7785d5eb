"""Bad input, case by case: what a person brings, and words that the answer must hold.

Every case ends in a `ValueError` or `OSError` of one paragraph (commands: exit code 2 and no traceback), before long
work, and leaves the files as they were.
"""
import gzip
import io
import pickle
import shutil
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ambiguity_nb.data import Samples, from_arrays
from ambiguity_nb.jobs.cli import main
from ambiguity_nb.sources import Source, from_csv, from_dataframe, from_folder, from_torch, open_samples, read_samples

rng = np.random.default_rng(0)


# ------------------------------------------------------------------------------------------------ what files hold
def png(mode="RGB", size=(8, 6), color=None, kind="png", **options) -> bytes:
    "An image file."
    file = io.BytesIO()
    Image.new(mode, size, color or 0).save(file, kind, **options)
    return file.getvalue()


def array_image(values, kind="tiff", **options) -> bytes:
    "An image file of given values."
    file = io.BytesIO()
    Image.fromarray(np.asarray(values)).save(file, kind, **options)
    return file.getvalue()


def huge_png(side=60_000) -> bytes:
    "A PNG that says it is large, and holds next to nothing."
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def npz(**arrays) -> bytes:
    "A .npz file."
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def bomb(shape=(10**9, 28, 28)) -> bytes:
    "A .npz file whose header promises 800 GB."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, of in {"x": shape, "y": shape[:1]}.items():
            with archive.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": of})
    return file.getvalue()


def zeros_bomb(n=9 * 2**30) -> bytes:
    "A .npz file of a few megabytes that really holds 9 GiB of zeros."
    head, file = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (n,)})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", array_bytes(np.zeros(3, int)))
        archive.writestr("x.npy", head.getvalue() + bytes(1000))
        info = archive.getinfo("x.npy")
        info.file_size = n
    return file.getvalue()


def array_bytes(array) -> bytes:
    "A .npy file."
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def members(**files) -> bytes:
    "A zip file named .npz with members of any content."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items(): archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def flipped(content: bytes, at: int) -> bytes: return content[:at] + bytes([content[at] ^ 255]) + content[at + 1:]


def parquet(frame) -> bytes:
    "A Parquet file."
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def many(**columns) -> str:
    "A CSV table of 40 rows with two good columns, and others."
    frame = pd.DataFrame({"a": rng.normal(size=40).round(3), "b": rng.choice(["u", "v", "w"], 40),
                          "label": ["p", "q"] * 20})
    return frame.assign(**columns).to_csv(index=False)


def people() -> pd.DataFrame: return pd.read_csv(io.StringIO(many()))


GOOD, DARK = png(color=(200, 30, 30)), png(color=(10, 10, 10))
TWO = {"set/a/1.png": GOOD, "set/b/1.png": DARK}             # a folder of two classes
LIST = {"a/1.png": GOOD, "b/1.png": DARK}
ALIKE = {f"set/a/{i}.png": png(color=(i, 9, 9)) for i in range(40)}                       # a folder of one class
ints = np.arange(40)


# ------------------------------------------------------------------------------------------------ reading files
# name, files (the first is read unless `data` says otherwise), options of `read_samples`, words of the answer
READ = [
    # tables: how they are written
    ("csv, empty", {"t.csv": ""}, {}, "'t.csv' is empty"),
    ("csv, blank lines only", {"t.csv": "\n \n\n"}, {}, "is empty"),
    ("csv, byte order mark only", {"t.csv": b"\xef\xbb\xbf"}, {}, "is empty"),
    ("csv, header only", {"t.csv": "a,label\n"}, {}, "a header and no rows"),
    ("csv, one column", {"t.csv": "label\np\nq\n"}, {}, "has one column, 'label'"),
    ("csv, separated by spaces", {"t.csv": "a label\n1 p\n2 q\n"}, {}, "commas, semicolons, tabs"),
    ("csv, no header", {"t.csv": "1.5,2,0\n2.5,3,1\n"}, {}, "expected the names of the columns"),
    ("csv, a row too long", {"t.csv": "a,label\n1,p\n2,q,r\n"}, {}, "line 3 has 3 fields and 2 are named"),
    ("csv, a row too short", {"t.csv": "a,b,label\n1,2,p\n2,q\n"}, {}, "line 3 has 2 fields and 3 are named"),
    ("csv, a short row cannot be dropped", {"t.csv": "a,b,label\n1,2,p\n2,q\n"}, {"missing": "drop"}, "line 3 has 2"),
    ("csv, all rows too long", {"t.csv": "a,label\n1,2,p\n2,3,q\n"}, {}, "its rows have more fields"),
    ("csv, open quotation mark", {"t.csv": 'a,label\n1,"p\n2,q\n'}, {}, "never closed"),
    ("csv, a name twice", {"t.csv": "a,a,label\n1,2,p\n"}, {}, "several columns with the name 'a'"),
    ("csv, label twice", {"t.csv": "label,a,label\np,2,p\n"}, {}, "several columns with the name 'label'"),
    ("csv, semicolons and no label", {"t.csv": "a;kind\n1,5;p\n2,5;q\n"}, {}, "no column 'label'"),
    ("csv, is Excel", {"t.csv": b"PK\x03\x04" + bytes(99)}, {}, "an Excel or zip file"),
    ("csv, is old Excel", {"t.csv": b"\xd0\xcf\x11\xe0" + bytes(99)}, {}, "an old Excel file"),
    ("csv, is gzip", {"t.csv": gzip.compress(many().encode())}, {}, "a gzip file"),
    ("csv, is Parquet", {"t.csv": parquet(people())}, {}, "a Parquet file"),
    ("csv, is a pickle", {"t.csv": pickle.dumps(people())}, {}, "a pickle"),
    ("csv, is an image", {"t.csv": GOOD}, {}, "an image"),
    ("csv, zero bytes inside", {"t.csv": b"a,label\n1\0\0,p\n"}, {}, "is no text"),
    ("csv, is a folder", {"t.csv/x.txt": "a"}, {"data": "t.csv"}, "no image"),
    ("csv, not there", {"t.csv": ""}, {"data": "u.csv"}, "no file"),
    ("tsv, header only", {"t.tsv": "a\tlabel\n"}, {}, "a header and no rows"),
    ("utf-16, header only", {"t.csv": "a,label\n".encode("utf-16")}, {}, "a header and no rows"),
    ("latin-1, no such label", {"t.csv": "größe,art\n1,p\n2,q\n".encode("latin-1")}, {},
     "the frame has ['größe', 'art']"),
    # tables: columns
    ("no label column", {"t.csv": many().replace("label", "Label")}, {}, "did you mean 'Label'?"),
    ("no id column", {"t.csv": many()}, {"id": "name"}, "no column 'name'"),
    ("no column to split by", {"t.csv": many()}, {"split_by": "patient"}, "no column 'patient'"),
    ("no column to drop", {"t.csv": many()}, {"drop": ["c"]}, "no column 'c'"),
    ("all columns dropped", {"t.csv": many()}, {"drop": ["a", "b"]}, "no column is left"),
    ("label dropped", {"t.csv": many()}, {"drop": ["label"]}, "'label' is used and cannot be dropped"),
    ("ids repeat", {"t.csv": many(name=["x", "y"] * 20)}, {"id": "name"}, "holds 'x' more than once"),
    ("index column without name", {"t.csv": people().to_csv()}, {}, "'Unnamed: 0' counts the rows"),
    ("index column with name", {"t.csv": many(number=ints + 1)}, {}, "'number' counts the rows"),
    ("ids as a feature", {"t.csv": many(customer_id=rng.permutation(9999)[:40])}, {}, "as an id is"),
    ("ids in camel case", {"t.csv": many(customerId=rng.permutation(9999)[:40])}, {}, "as an id is"),
    ("uuid", {"t.csv": many(uuid=[f"{i:08x}-aa" for i in ints])}, {}, "40 different texts in 40 rows"),
    ("unique text", {"t.csv": many(remark=[f"text {i}" for i in ints])}, {}, "40 different texts in 40 rows"),
    ("nearly unique text", {"t.csv": many(remark=[f"text {i % 30}" for i in ints])}, {}, "30 different texts"),
    ("image files in a table", {"t.csv": many(path=[f"i/{i}.png" for i in ints])}, {}, "images=True, --images true"),
    ("numbers with a question mark", {"t.csv": many(age=[*map(str, ints[:-1] % 7), "?"])}, {}, "text such as '?'"),
    ("numbers with units", {"t.csv": many(weight=[f"{i} kg" for i in ints])}, {}, "different texts"),
    ("thousands", {"t.csv": many(price=[f"1,{i:03d}" for i in ints])}, {}, "different texts"),
    ("dates", {"t.csv": many(seen=[f"2024-03-{i % 28 + 1:02d}" for i in ints])}, {}, "'seen' holds dates"),
    ("times", {"t.csv": many(seen=[f"2024-03-01T10:{i:02d}:00" for i in ints])}, {}, "'seen' holds dates"),
    ("German dates", {"t.csv": many(seen=[f"{i % 28 + 1}.3.2024" for i in ints])}, {}, "'seen' holds dates"),
    ("American dates", {"t.csv": many(seen=[f"3/{i % 28 + 1}/24" for i in ints])}, {}, "'seen' holds dates"),
    ("a second label, by value", {"t.csv": many(code=[7, 3] * 20)}, {}, "'code' says the label 'label' again"),
    ("a second label, as text", {"t.csv": many(kind=["yes", "no"] * 20)}, {}, "says the label 'label' again"),
    ("a second label, noisy", {"t.csv": many(first=["p", "q", "q", "q"] * 10)}, {}, "the same names as the label"),
    ("a second label, by name", {"t.csv": many(true_label=[0, 1, 1, 0] * 10)}, {}, "is called a label"),
    ("several at once", {"t.csv": many(id=ints, seen=["2024-01-01"] * 40)}, {}, "drop=['id', 'seen']"),
    # tables: labels
    ("a real-valued target", {"t.csv": many(label=rng.normal(size=40))}, {}, "a quantity, and expected are classes"),
    ("a price as a target", {"t.csv": many(label=rng.permutation(9999)[:40])}, {}, "40 different values in 40 rows"),
    ("names as a target", {"t.csv": many(label=[f"n{i}" for i in ints])}, {}, "40 different values in 40 rows"),
    ("half values as a target", {"t.csv": many(label=[.5, 1.] * 20)}, {}, "numbers with decimals"),
    ("labels are missing", {"t.csv": many(label=["p", None] * 20)}, {}, "'label' has 20 missing"),
    ("missing labels are not filled", {"t.csv": many(label=["p", None] * 20)}, {"missing": "impute"}, "'label' has 20"),
    # tables: values
    ("missing values", {"t.csv": many(c=[1, None] * 20)}, {}, "'c' has 20 missing values of 40"),
    ("missing text", {"t.csv": many(c=["u", None] * 20)}, {}, "--missing impute"),
    ("a gap in every row", {"t.csv": many(c=None)}, {"missing": "drop"}, "'c' has 40 missing values of 40"),
    ("nothing to fill from", {"t.csv": many(c=None)}, {"missing": "impute"}, "has no value"),
    ("unknown way with gaps", {"t.csv": many()}, {"missing": "guess"}, "choose from ['refuse', 'drop', 'impute']"),
    ("infinity", {"t.csv": many(c=[1., np.inf] * 20)}, {}, "column 'c' holds inf (row 1)"),
    ("too large for float32", {"t.csv": many(c=[1., 1e39] * 20)}, {}, "column 'c' holds 1e+39"),
    # Parquet
    ("parquet, empty file", {"t.parquet": b""}, {}, "no whole Parquet file"),
    ("parquet, text", {"t.parquet": many()}, {}, "no whole Parquet file"),
    ("parquet, cut off", {"t.parquet": parquet(people())[:500]}, {}, "no whole Parquet file"),
    ("parquet, no rows", {"t.parquet": parquet(people()[:0])}, {}, "holds no rows"),
    ("parquet, lists inside", {"t.parquet": parquet(people().assign(c=[[1, 2]] * 40))}, {}, "values of type"),
    ("parquet, bytes inside", {"t.parquet": parquet(people().assign(c=[b"a"] * 40))}, {}, "values of type bytes"),
    ("parquet, dates", {"t.parquet": parquet(people().assign(c=pd.date_range("2024", periods=40)))}, {}, "holds dates"),
    ("parquet, no label", {"t.parquet": parquet(people()[["a", "b"]])}, {}, "no column 'label'"),
    # lists of images
    ("list, no path column", {"t.csv": many(), **LIST}, {"images": True}, "no column 'path'"),
    ("list, leads out", {"t.csv": "path,label\n../x.png,p\na/1.png,q\n", **LIST}, {"images": True}, "'../x.png'"),
    ("list, leads out inside", {"t.csv": "path,label\na/../../x.png,p\n", **LIST}, {"images": True}, "lie outside"),
    ("list, absolute path", {"t.csv": "path,label\n/etc/passwd,p\na/1.png,q\n", **LIST}, {"images": True},
     "allow_outside"),
    ("list, web address", {"t.csv": "path,label\nhttps://a.b/c.png,p\n", **LIST}, {"images": True},
     "addresses of the web"),
    ("list, no file", {"t.csv": "path,label\na/2.png,p\nb/1.png,q\n", **LIST}, {"images": True},
     "1 of 2 image files are not"),
    ("list, empty path", {"t.csv": "path,label\n ,p\nb/1.png,q\n", **LIST}, {"images": True}, "is no name of a file"),
    ("list, a path twice", {"t.csv": "path,label\na/1.png,p\na/1.png,q\n", **LIST}, {"images": True}, "more than once"),
    ("list, a folder", {"t.csv": "path,label\na,p\nb/1.png,q\n", **LIST}, {"images": True}, "are not there"),
    ("list, text files", {"t.csv": "path,label\nt.csv,p\na/1.png,q\n", **LIST}, {"images": True},
     "no image of a known kind"),
    ("list, path column by default", {"t.csv": "path,label\n" + "".join(f"a/{i}.png,{i % 2}\n" for i in range(12))}, {},
     "images=True, --images true"),
    # folders of images
    ("folder, not there", {}, {"data": "nowhere"}, "openml:NUMBER"),
    ("folder, empty", {"set/.keep": ""}, {"data": "set"}, "folder/<class>/<image>"),
    ("folder, empty classes", {"set/a/.keep": "", "set/b/.keep": ""}, {"data": "set"}, "2 sub-folders and no image"),
    ("folder, loose images", {"set/1.png": GOOD, "set/2.png": DARK}, {"data": "set"},
     "in no sub-folder, so of no class"),
    ("folder, text only", {"set/a/1.txt": "a"}, {"data": "set"}, "1 .txt ('a/1.txt')"),
    ("folder, HEIC only", {"set/a/1.HEIC": b"heic"}, {"data": "set"}, "pip install pillow-heif"),
    ("folder, parts", {"set/train/a/1.png": GOOD, "set/test/a/1.png": DARK}, {"data": "set"}, "parts, not classes"),
    ("image, empty", {**TWO, "set/a/bad.png": b""}, {"data": "set"}, "'a/bad.png': it is empty, or no image"),
    ("image, text", {**TWO, "set/a/bad.png": b"not an image"}, {"data": "set"}, "no image of a known kind"),
    ("image, cut off", {**TWO, "set/a/bad.jpg": png(size=(99, 99), kind="jpeg")[:700]}, {"data": "set"}, "'a/bad.jpg'"),
    ("image, cut off PNG", {**TWO, "set/a/bad.png": array_image(rng.integers(0, 255, (64, 64), np.uint8), "png")[:900]},
     {"data": "set"}, "'a/bad.png'"),
    ("image, header only", {**TWO, "set/a/bad.png": GOOD[:33]}, {"data": "set"}, "1 of 3 image files cannot be read"),
    ("images, all bad", {"set/a/1.png": b"x"}, {"data": "set", "skip_unreadable": True}, "1 of 1 image files"),
    ("image, too large", {**TWO, "set/a/bad.png": huge_png()}, {"data": "set"}, "3,600,000,000 pixels"),
    ("image, too large, size given", {**TWO, "set/a/bad.png": huge_png()}, {"data": "set", "size": 8, "channels": 1},
     "--allow_large true"),
    ("image, floats", {**TWO, "set/a/bad.tif": array_image(np.eye(8, dtype=np.float32))}, {"data": "set"},
     "it holds floats"),
    ("image, 32-bit numbers", {**TWO, "set/a/bad.tif": array_image(np.eye(8, dtype=np.int32))}, {"data": "set"},
     "32-bit numbers"),
    ("image, floats outside their range", {**TWO, "set/a/bad.tif": array_image(
        np.full((8, 8), 9, np.float32), tiffinfo={340: 0., 341: 1.})}, {"data": "set"}, "it says 0 to 1"),
    ("image, NaN", {**TWO, "set/a/bad.tif": array_image(np.full((8, 8), np.nan, "f4"), tiffinfo={340: 0., 341: 1.})},
     {"data": "set"}, "NaN or infinity"),
    ("size zero", TWO, {"data": "set", "size": 0}, "size is 0"),
    ("size negative", TWO, {"data": "set", "size": -3}, "size is -3"),
    ("size huge", TWO, {"data": "set", "size": 10**6}, "from 1 to 10000 pixels"),
    ("size half", TWO, {"data": "set", "size": 2.5}, "size is 2.5"),
    ("channels four", TWO, {"data": "set", "channels": 4}, "1 (gray) or 3 (color)"),
    ("background unknown", TWO, {"data": "set", "background": "whitish"}, "is no color"),
    ("folder and split_by", TWO, {"data": "set", "split_by": "patient"}, "has no columns"),
    # arrays
    ("npz, empty", {"a.npz": b""}, {}, "no whole .npz file"),
    ("npz, text", {"a.npz": "text"}, {}, "no whole .npz file"),
    ("npz, is .npy", {"a.npz": array_bytes(np.zeros(3))}, {}, "no whole .npz file"),
    ("npz, is a pickle", {"a.npz": pickle.dumps({"x": 1})}, {}, "no whole .npz file"),
    ("npz, cut off", {"a.npz": npz(x=np.zeros((99, 3)), y=np.zeros(99, int))[:900]}, {}, "no whole .npz file"),
    ("npz, a flipped byte", {"a.npz": flipped(npz(x=np.zeros((99, 3)), y=np.zeros(99, int)), 700)}, {},
     "no whole .npz file"),
    ("npz, no members", {"a.npz": members()}, {}, "lacks ['x', 'y']"),
    ("npz, other names", {"a.npz": npz(images=np.zeros((3, 2)), labels=np.zeros(3))}, {}, "holds ['images', 'labels']"),
    ("npz, only x", {"a.npz": npz(x=np.zeros((3, 2)))}, {}, "lacks ['y']"),
    ("npz, members of text", {"a.npz": members(x="text", y="text")}, {}, "no array of NumPy"),
    ("npz, members empty", {"a.npz": members(x="", y="")}, {}, "no array of NumPy"),
    ("npz, member cut off",
     {"a.npz": members(x=array_bytes(np.zeros((9, 9)))[:200], y=array_bytes(np.zeros(9, int)))}, {},
     "no whole .npz file"),
    ("npz, objects", {"a.npz": npz(x=np.zeros((2, 3)), y=np.array([{}, 1], object))}, {}, "they could run code"),
    ("npz, objects as ids", {"a.npz": npz(x=np.zeros((2, 3)), y=[0, 1], ids=np.array([{}, 1], object))}, {},
     "'ids' in"),
    ("npz, bomb in the header", {"a.npz": bomb()}, {}, "GiB, more than 8; if it is meant"),
    ("npz, bomb of zeros", {"a.npz": zeros_bomb()}, {}, "more than 8"),
    ("npz, lengths differ", {"a.npz": npz(x=np.zeros((3, 2)), y=[0, 1])}, {}, "3 rows and `y` has 2 labels"),
    ("npz, nothing inside", {"a.npz": npz(x=np.zeros((0, 2)), y=np.zeros(0, int))}, {}, "no rows"),
    ("npz, channels last", {"a.npz": npz(x=np.zeros((3, 9, 9, 3), np.uint8), y=[0, 1, 0])}, {},
     "x.transpose(0, 3, 1, 2)"),
    ("npz, 16-bit images", {"a.npz": npz(x=np.full((3, 1, 9, 9), 4000, np.uint16), y=[0, 1, 0])}, {},
     "expected 0..255"),
    ("npz, floats of 0..255", {"a.npz": npz(x=np.full((3, 1, 9, 9), 200.), y=[0, 1, 0])}, {}, "expected [0, 1]"),
    ("npz, normalized images", {"a.npz": npz(x=-np.ones((3, 1, 9, 9)), y=[0, 1, 0])}, {}, "Undo the normalization"),
    ("npz, text as x", {"a.npz": npz(x=np.full((3, 2), "a"), y=[0, 1, 0])}, {}, "expected numbers"),
    ("npz, complex x", {"a.npz": npz(x=np.full((3, 2), 1j), y=[0, 1, 0])}, {}, "expected numbers"),
    ("npz, dates as x", {"a.npz": npz(x=np.full((3, 2), "2024", "M8[D]"), y=[0, 1, 0])}, {}, "expected numbers"),
    ("npz, x of one axis", {"a.npz": npz(x=np.zeros(3), y=[0, 1, 0])}, {}, "expected an array [N, C, H, W]"),
    ("npz, x a number", {"a.npz": npz(x=3., y=[0, 1, 0])}, {}, "expected an array"),
    ("npz, y a number", {"a.npz": npz(x=np.zeros((3, 2)), y=0)}, {}, "expected an array"),
    ("npz, x of five axes", {"a.npz": npz(x=np.zeros((3, 1, 2, 2, 2)), y=[0, 1, 0])}, {},
     "expected an array [N, C, H, W]"),
    ("npz, NaN", {"a.npz": npz(x=[[0.], [np.nan]], y=[0, 1])}, {}, "first in row 1"),
    ("npz, one-hot labels", {"a.npz": npz(x=np.zeros((3, 2)), y=np.eye(3, dtype=int))}, {}, "y.argmax(1)"),
    ("npz, labels as a column", {"a.npz": npz(x=np.zeros((3, 2)), y=[[0], [1], [0]])}, {}, "y.ravel()"),
    ("npz, real labels", {"a.npz": npz(x=np.zeros((3, 2)), y=[.1, .2, .3])}, {}, "expected whole numbers or names"),
    ("npz, dates as labels", {"a.npz": npz(x=np.zeros((2, 2)), y=np.array(["2024", "2025"], "M8[Y]"))}, {},
     "whole numbers"),
    ("npz, ids repeat", {"a.npz": npz(x=np.zeros((2, 2)), y=[0, 1], ids=["a", "a"])}, {}, "`ids` repeat"),
    ("npz, ids too few", {"a.npz": npz(x=np.zeros((2, 2)), y=[0, 1], ids=["a"])}, {}, "one id per sample"),
    ("npz, label without class", {"a.npz": npz(x=np.zeros((2, 2)), y=[0, 7], classes=["a", "b"])}, {}, "expected 0..1"),
    ("npz, classes repeat", {"a.npz": npz(x=np.zeros((2, 2)), y=[0, 1], classes=["a", "a"])}, {}, "have the same name"),
    ("npz, no groups", {"a.npz": npz(x=np.zeros((2, 2)), y=[0, 1])}, {"split_by": "patient"}, "no array 'patient'"),
    # words
    ("a word that means nothing", {}, {"data": "!minst"}, "give a name of ['mnist-5k'"),
    ("no such module", {}, {"data": "!no_such_module:data"}, "was not found"),
    ("no such part", {"t.csv": many()}, {"part": "tset"}, "choose from ['train', 'test', 'all']"),
    ("pos without neg", {"t.csv": many()}, {"pos": "p"}, "give both, or neither"),
    ("no such class", {"t.csv": many()}, {"pos": "p", "neg": "r"}, "choose from ['p', 'q']"),
    ("the same class twice", {"t.csv": many()}, {"pos": "p", "neg": "p"}, "choose two classes"),
    ("no word", {}, {"data": "!"}, "expected a word"),
    ("OpenML, no number", {}, {"data": "!openml:abc"}, "openml:NUMBER"),
    ("spreadsheet", {"t.xlsx": b"PK"}, {}, "Save the sheet as CSV"),
    ("pickle", {"t.pkl": pickle.dumps([1])}, {}, "it could run code"),
    ("weights as data", {"t.pt": b"x"}, {}, "it could run code"),
    ("an archive", {"t.zip": b"PK"}, {}, "Unpack it first"),
    ("one image", {"t.png": GOOD}, {}, "one sub-folder of images per class"),
    ("JSON", {"t.json": "{}"}, {}, "from_dataframe"),
    ("saved samples, no JSON", {"set/samples.json": "{", "set/x.npy": b""}, {"data": "set"},
     "no whole folder of samples"),
    ("saved samples, nothing inside", {"set/samples.json": "{}"}, {"data": "set"}, "no whole folder of samples"),
    ("saved samples, a list", {"set/samples.json": "[]"}, {"data": "set"}, "no whole folder of samples"),
    # a test part of one's own
    ("test, not there", {"t.csv": many()}, {"test": "u.csv"}, "u.csv"),
    ("test, other columns", {"t.csv": many(), "u.csv": many(c=ints / 7)}, {"test": "u.csv"}, "has ['c'] besides"),
    ("test, a class more", {"t.csv": many(), "u.csv": many(label=["p", "r"] * 20)}, {"test": "u.csv"},
     "has classes ['r']"),
    ("test, all of it", {"t.csv": many(), "u.csv": many()}, {"test": "u.csv", "part": "all"}, "choose train or test"),
]


def write(files: dict, folder: Path) -> None:
    "Files by name, of text or bytes."
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def contents(folder: Path) -> dict: return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def check_words(said: str, words: str) -> None:
    "One paragraph that holds the words, and nothing of the machinery."
    assert words in said, said
    assert "\n\n" not in said and len(said) < 1200, said
    assert "Traceback" not in said and "site-packages" not in said, said


def test_there_are_150_cases():
    names = [name for name, *_ in READ] + [name for name, *_ in CALLS] + [name for name, *_ in COMMANDS]
    assert len(names) == len(set(names)) and len(names) >= 150, len(names)


@pytest.mark.parametrize(("files", "options", "words"), [c[1:] for c in READ], ids=[c[0] for c in READ])
def test_what_cannot_be_read_is_refused_with_the_remedy(tmp_path, files, options, words):
    write(files, tmp_path)
    options = dict(options)
    data = options.pop("data", next(iter(files), ""))
    data = data[1:] if data.startswith("!") else str(tmp_path / data)
    if "test" in options: options["test"] = str(tmp_path / options["test"])
    before, start = contents(tmp_path), time.process_time()
    with pytest.raises((ValueError, FileNotFoundError)) as error: read_samples(data, **options)
    check_words(str(error.value), words)
    assert contents(tmp_path) == before, "a file was changed"
    assert time.process_time() - start < 20


# ------------------------------------------------------------------------------------------------ Python
frame = pd.DataFrame({"a": [1., 2.], "label": ["p", "q"]})
square = np.zeros((2, 1, 4, 4), np.uint8)


class Ragged(torch.utils.data.Dataset):
    "Items of different sizes."
    def __len__(self): return 2

    def __getitem__(self, i): return torch.zeros(1, 3 + i, 3), i


class Endless(torch.utils.data.IterableDataset):
    "No length."
    def __iter__(self): yield torch.zeros(1, 3, 3), 0


class Items(torch.utils.data.Dataset):
    "Given items."
    def __init__(self, *items): self.items = items

    def __len__(self): return len(self.items)

    def __getitem__(self, i): return self.items[i]


CALLS = [  # name, call, words of the answer
    ("x is None", lambda: from_arrays(None, [0]), "expected an array"),
    ("x is a word", lambda: from_arrays("x", [0]), "expected an array"),
    ("x is a dictionary", lambda: from_arrays({"a": 1}, [0]), "expected an array"),
    ("x is ragged", lambda: from_arrays([[1, 2], [3]], [0, 1]), "differ in length"),
    ("x is a sparse matrix", lambda: from_arrays(scipy.sparse.eye(2).tocsr(), [0, 1]), "x.toarray()"),
    ("x is a frame with text", lambda: from_arrays(pd.DataFrame({"a": ["u", "v"]}), [0, 1]), "from_dataframe"),
    ("x is masked", lambda: from_arrays(np.ma.masked_less([[1.], [2.]], 2), [0, 1]), "masked values"),
    ("x holds objects", lambda: from_arrays(np.array([[{}], [{}]]), [0, 1]), "expected numbers"),
    ("x is empty", lambda: from_arrays([], []), "no rows"),
    ("x has no features", lambda: from_arrays(np.zeros((2, 0)), [0, 1]), "nothing in it"),
    ("images without height", lambda: from_arrays(np.zeros((2, 1, 0, 4)), [0, 1]), "nothing in it"),
    ("five channels", lambda: from_arrays(np.zeros((2, 5, 4, 4), np.uint8), [0, 1]), "channels first"),
    ("negative pixels", lambda: from_arrays(np.full((2, 1, 4, 4), -1), [0, 1]), "expected 0..255"),
    ("overflowing numbers", lambda: from_arrays(np.full((2, 1), 1e300), [0, 1]), "numbers over 3e38"),
    ("y is None", lambda: from_arrays(square, None), "expected an array"),
    ("y is too short", lambda: from_arrays(square, [0]), "one label per row"),
    ("labels of None", lambda: from_arrays(square, ["a", None]), "1 of 2 labels are missing"),
    ("labels of NaN", lambda: from_arrays(square, np.array(["a", np.nan], object)), "labels are missing"),
    ("labels of floats", lambda: from_arrays(square, [0., 1.]), "y.astype(int)"),
    ("labels below 0", lambda: from_arrays(square, [-1, 0]), "go from -1 to 0"),
    ("labels {0, 7}", lambda: from_arrays(square, [0, 7]), "leave out 6 of the numbers"),
    ("huge labels", lambda: from_arrays(square, [0, 10**12]), "leave out"),
    ("complex labels", lambda: from_arrays(square, [1j, 0]), "whole numbers or names"),
    ("an unknown class", lambda: from_arrays(square, ["a", "c"], ["a", "b"]), "add it to `classes`"),
    ("classes of the same name", lambda: from_arrays(square, [0, 1], ["a", "a"]), "the same name"),
    ("ids of the wrong length", lambda: from_arrays(square, [0, 1], ids=["a"]), "one id per sample"),
    ("features of the wrong length", lambda: from_arrays(np.zeros((2, 2)), [0, 1], features=["a"]), "1 feature names"),
    ("groups of the wrong length", lambda: from_arrays(square, [0, 1]).replace(groups=[1]), "one per sample"),
    ("one group", lambda: from_arrays(square, [0, 1]).replace(groups=[1, 1]).split((.5, .5)), "of 1 groups"),
    ("Samples of a list", lambda: Samples([[1.]], np.zeros(1, np.int64), ("a",)), "`from_arrays` accepts more"),
    ("Samples of float64", lambda: Samples(np.zeros((1, 2)), np.zeros(1, np.int64), ("a",)),
     "expected uint8 or float32"),
    ("Samples with labels of int32", lambda: Samples(square, np.zeros(2, np.int32), ("a",)), "expected int64"),
    ("batch size 0", lambda: from_arrays(square, [0, 1]).batches(0), "expected at least 1"),
    ("shares of more than all", lambda: from_arrays(square, [0, 1]).split((.9, .9)), "sum to 1"),
    ("rows of images", lambda: from_arrays(square, [0, 1]).rows(), "which have no rows"),
    ("frame without label", lambda: from_dataframe(frame, "kind"), "no column 'kind'"),
    ("frame, index repeats", lambda: from_dataframe(pd.concat([frame, frame]), "label"), "reset_index"),
    ("frame, column twice", lambda: from_dataframe(pd.concat([frame, frame[["a"]]], axis=1), "label"),
     "several columns"),
    ("frame without rows", lambda: from_dataframe(frame[:0], "label"), "no rows"),
    ("frame without features", lambda: from_dataframe(frame[["label"]], "label"), "no column is left"),
    ("frame of complex numbers", lambda: from_dataframe(frame.assign(a=[1j, 2j]), "label"),
     "'a' holds complex numbers"),
    ("torch, empty", lambda: from_torch(Items(), progress=False), "is empty"),
    ("torch, without length", lambda: from_torch(Endless(), progress=False), "has no length"),
    ("torch, sizes differ", lambda: from_torch(Ragged(), progress=False), "resize to one size"),
    ("torch, no label", lambda: from_torch(Items(torch.zeros(1, 3, 3)), progress=False),
     "expected (image or row, label)"),
    ("torch, real label", lambda: from_torch(Items((torch.zeros(2), .5)), progress=False), "label 0.5 of item 0"),
    ("torch, several labels", lambda: from_torch(Items((torch.zeros(2), torch.ones(2))), progress=False), "of item 0"),
    ("folder that is none", lambda: from_folder("nowhere"), "no folder 'nowhere'"),
    ("list that is none", lambda: from_csv("nowhere.csv"), "no file 'nowhere.csv'"),
    ("no samples saved", lambda: open_samples("nowhere"), "written by `save_samples`"),
    ("data of another type", lambda: Source(3), "expected a word"),
]


@pytest.mark.parametrize(("call", "words"), [c[1:] for c in CALLS], ids=[c[0] for c in CALLS])
def test_what_cannot_be_meant_is_refused_with_the_remedy(call, words):
    with pytest.raises((ValueError, FileNotFoundError)) as error: call()
    check_words(str(error.value), words)


# ------------------------------------------------------------------------------------------------ commands
TABLE = {"t.csv": many()}
SCORE = ["hardness", "--data", "t.csv", "--model", "tabular_mlp", "--n_epochs", "1"]
COMMANDS = [  # name, files, words of the command line, words of the answer
    ("command, none such", {}, ["hardnes"], "choose from"),
    ("command, flag none such", TABLE, [*SCORE, "--epohcs", "3"], "epohcs"),
    ("command, no value", TABLE, [*SCORE, "--lr"], "--lr"),
    ("command, text for a number", TABLE, [*SCORE, "--lr", "fast"], "lr"),
    ("command, data not there", {}, ["hardness", "--data", "none.csv"], "none.csv"),
    ("command, data empty", {"t.csv": ""}, SCORE, "is empty"),
    ("command, npz damaged", {"a.npz": b"PK\x03\x04"}, ["hardness", "--data", "a.npz"], "no whole .npz file"),
    ("command, a quantity", {"t.csv": many(label=rng.normal(size=40))}, SCORE, "--label"),
    ("command, gaps", {"t.csv": many(c=[1, None] * 20)}, SCORE, "--missing drop"),
    ("command, index column", {"t.csv": many(n=ints)}, SCORE, "--drop"),
    ("command, device none such", TABLE, [*SCORE, "--device", "tpu9"], "unknown device 'tpu9'"),
    ("command, device not here", TABLE, [*SCORE, "--device", "cuda:7"], "use device='auto' or 'cpu'"),
    ("command, model none such", TABLE, [*SCORE, "--model", "alexnet"], "unknown model 'alexnet'; choose from"),
    ("command, model module none such", TABLE, [*SCORE, "--model", "no_module:net"], "was not found"),
    ("command, model with arguments", {**TABLE, "nets.py": "def net(depth, width): return None\n"},
     [*SCORE, "--model", "nets:net"], "nets:net"),
    ("command, model gives nothing", {**TABLE, "nets2.py": "def net(samples): return None\n"},
     [*SCORE, "--model", "nets2:net"], "nets2:net"),
    ("command, image model for a table", TABLE, [*SCORE, "--model", "lenet"], "lenet"),
    ("command, score none such", TABLE, [*SCORE, "--scores", "aun"], "unknown score 'aun'"),
    ("command, batch size 0", TABLE, [*SCORE, "--batch_size", "0"], "batch_size is 0"),
    ("command, batch size negative", TABLE, [*SCORE, "--batch_size", "-4"], "batch_size is -4"),
    ("command, epochs 0", TABLE, [*SCORE, "--n_epochs", "0"], "n_epochs is 0"),
    ("command, epochs negative", TABLE, [*SCORE, "--n_epochs", "-1"], "n_epochs is -1"),
    ("command, learning rate 0", TABLE, [*SCORE, "--lr", "0"], "lr is 0"),
    ("command, learning rate nan", TABLE, [*SCORE, "--lr", "nan"], "Got value: nan"),
    ("command, divergence", TABLE, [*SCORE, "--lr", "1e30", "--n_epochs", "3"], "lower"),
    ("command, optimizer none such", TABLE, [*SCORE, "--optimizer", "adamm"], "choose from"),
    ("command, one class", {"t.csv": many(label="p")}, SCORE, "two classes or more"),
    ("command, run name leads out", TABLE, [*SCORE, "--name", "../../x"], "no plain name"),
    ("command, YAML not there", {}, ["hardness", "--config", "none.yml"], "none.yml"),
    ("command, YAML damaged", {"a.yml": "a: [1"}, ["hardness", "--config", "a.yml"], "is no YAML"),
    ("command, YAML a list", {"a.yml": "- 1"}, ["hardness", "--config", "a.yml"], "expected settings"),
    ("command, YAML with tags",
     {"a.yml": "data: !!python/object/apply:os.getcwd []"}, ["hardness", "--config", "a.yml"],
     "is no YAML"),
    ("command, YAML names code", {"a.yml": "model: os:getcwd"}, ["hardness", "--config", "a.yml"], "add --trust"),
    ("command, classes of gasten", TABLE, ["gasten", "--data", "t.csv", "--pos", "p", "--neg", "q"], "is a table"),
    ("audit, gaps", {"t.csv": many(c=[1, None] * 20)}, ["audit", "--data", "t.csv"], "--missing drop"),
    ("audit, a quantity", {"t.csv": many(label=rng.normal(size=40))}, ["audit", "--data", "t.csv"], "a quantity"),
    ("audit, images of floats", {**TWO, "set/a/bad.tif": array_image(np.eye(8, dtype=np.float32))},
     ["audit", "--data", "set"], "'a/bad.tif': it holds floats"),
    ("audit, image cut off", {**TWO, "set/a/bad.jpg": png(size=(99, 99), kind="jpeg")[:700]},
     ["audit", "--data", "set"], "skip_unreadable"),
    ("audit, a path that leads out", {"t.csv": "path,label\n../x.png,p\na/1.png,q\n", **LIST},
     ["audit", "--data", "t.csv", "--images", "true"], "'../x.png'"),
    ("audit, a bomb", {"a.npz": bomb()}, ["audit", "--data", "a.npz"], "more than 8"),
    ("audit, a pickle", {"t.pkl": pickle.dumps([1])}, ["audit", "--data", "t.pkl"], "it could run code"),
    ("audit, test not there", TABLE, ["audit", "--data", "t.csv", "--test", "u.csv"], "no file 'u.csv'"),
    ("audit, test of other columns", {**TABLE, "u.csv": many(c=ints / 7)},
     ["audit", "--data", "t.csv", "--test", "u.csv"], "has ['c'] besides"),
    ("audit, no column to split by", TABLE, ["audit", "--data", "t.csv", "--split_by", "patient"], "column 'patient'"),
    ("audit, one class", TABLE, ["audit", "--data", "t.csv", "--classes", "p"], "at least two"),
    ("audit, probabilities not there", TABLE, ["audit", "--data", "t.csv", "--probs", "p.npy"], "p.npy"),
    ("audit, probabilities that are objects",
     {**TABLE, "p.npy": array_bytes(np.array([{}, 1], object))}, ["audit", "--data", "t.csv", "--probs", "p.npy"],
     "Python objects"),
    ("audit, weights not there", TABLE, ["audit", "--data", "t.csv", "--weights", "w.safetensors"], "w.safetensors"),
    ("audit, weights that are text", {**TABLE, "w.safetensors": "text"},
     ["audit", "--data", "t.csv", "--model", "tabular_mlp", "--weights", "w.safetensors"], "w.safetensors"),
    ("audit, epochs 0", TABLE, ["audit", "--data", "t.csv", "--n_epochs", "0"], "n_epochs is 0"),
    ("audit, one class in a folder", ALIKE, ["audit", "--data", "set", "--n_epochs", "1"], "has one class"),
    ("hardness, one class in a folder", ALIKE,
     ["hardness", "--data", "set", "--n_epochs", "1", "--size", "28", "--model", "cnn"], "two classes"),
    ("command, part none such", TABLE, [*SCORE, "--part", "tset"], "choose from ['train', 'test', 'all']"),
    ("command, only pos", TABLE, [*SCORE, "--pos", "p"], "give both"),
]


@pytest.mark.parametrize(("files", "line", "words"),
                         [pytest.param(*c[1:4], marks=c[4:], id=c[0]) for c in COMMANDS])
def test_commands_say_what_to_mend_and_leave_with_2(tmp_path, monkeypatch, capfd, files, line, words):
    write(files, tmp_path)
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    try: code = main(line)
    except SystemExit as stop: code = stop.code
    said = capfd.readouterr().err
    assert code == 2, said[-2000:]
    assert "Traceback" not in said, said[-2000:]
    lines = said.replace("\r", "\n").strip().splitlines()
    first = max([i for i, line in enumerate(lines) if line.startswith(("ambiguity", "error:"))], default=0)
    check_words("\n".join(lines[first:]), words)
    after = contents(tmp_path)
    assert {p: after.get(p) for p in before} == before, "a file was changed"


# ------------------------------------------------------------------------------------------------ anything at all
def whole_files() -> dict[str, bytes]:
    "Good files, to be damaged."
    frame = people()
    return {"t.csv": many().encode(), "u.csv": many().replace(",", ";").encode("utf-16"),
            "v.tsv": b"a\tlabel\n1\tp\n2\tq\n",
            "t.parquet": parquet(frame), "a.npz": npz(x=np.zeros((9, 1, 8, 8), np.uint8), y=np.arange(9) % 3),
            "b.npz": npz(x=rng.normal(size=(9, 2)), y=list("abc") * 3, ids=np.arange(9), classes=["a", "b", "c"]),
            "set/a/1.png": GOOD, "set/a/2.jpg": png(kind="jpeg"), "set/a/3.gif": png("P", kind="gif"),
            "set/a/4.tif": array_image(np.full((6, 8), 900, np.uint16)), "set/a/5.webp": png("RGBA", kind="webp"),
            "set/a/6.bmp": png(kind="bmp"), "set/a/7.pgm": png("L", kind="ppm")}


WHOLE = whole_files()
signs = [b",", b"\n", b'"', b"\0", b";", b"nan", b"1e999", b"\xff\xfe", b"PK"]
pieces = st.one_of(st.binary(max_size=30), st.sampled_from(signs))
accident = st.sampled_from(["flip", "cut", "insert", "drop", "repeat"])
damage = st.lists(st.tuples(accident, st.floats(0, 1), pieces), max_size=4)
cells = st.one_of(st.integers(), st.floats(), st.text(max_size=8), st.none(), st.booleans(), st.dates())
tables = st.builds(
    lambda columns, n, separator, encoding: pd.DataFrame({k: (v * n)[:n] for k, v in columns.items()}).to_csv(
        sep=separator, index=False).encode(encoding, "replace"),
    st.dictionaries(st.one_of(st.just("label"), st.text(max_size=6)), st.lists(cells, min_size=1, max_size=40),
                    min_size=1, max_size=5),
    st.integers(0, 40), st.sampled_from(list(",;\t|")), st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-16-le"]))
inputs = st.one_of(
    st.tuples(st.sampled_from(sorted(WHOLE)), damage).map(lambda case: (case[0], damaged(WHOLE[case[0]], case[1]))),
    st.tuples(st.sampled_from(["r.csv", "r.tsv"]), tables),
    st.tuples(st.sampled_from(["r.csv", "r.npz", "r.parquet", "set/a/r.png"]), st.binary(max_size=400)))
ways = st.fixed_dictionaries({}, optional={
    "missing": st.sampled_from(["refuse", "drop", "impute"]), "allow_columns": st.just(["*"]), "images": st.booleans(),
    "channels": st.sampled_from([1, 3]), "size": st.integers(1, 20), "skip_unreadable": st.booleans(),
    "part": st.sampled_from(["all", "train", "test"])})


def damaged(content: bytes, changes: list) -> bytes:
    "A file after some accidents."
    for kind, where, piece in changes:
        at = int(where * max(0, len(content) - 1))
        if kind == "flip" and content: content = flipped(content, at)
        if kind == "cut": content = content[:at]
        if kind == "insert": content = content[:at] + piece + content[at:]
        if kind == "drop": content = content[:at] + content[at + len(piece) + 1:]
        if kind == "repeat": content = content[:at] + content[:at]
    return content


def fuzz(n: int, folder: Path) -> dict[str, int]:
    "Read n inputs of every kind; how many of them were read, and how many refused in words."
    counts = {"read": 0, "refused": 0}

    @settings(max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=inputs, options=ways)
    def one(case, options):
        name, content = case
        place = folder / f"{sum(counts.values())}"
        write({name: content} | ({"set/b/good.png": DARK} if name.startswith("set/") else {}), place)
        before = contents(place)
        try:
            samples = read_samples(str(place / name.split("/")[0]), **options)
            assert np.isfinite(samples.x[:2000]).all() and pd.Index(samples.ids).is_unique and len(samples) >= 1
            counts["read"] += 1
        except (ValueError, FileNotFoundError) as error:
            assert type(error) in (ValueError, FileNotFoundError), repr(error)
            assert str(error) and len(str(error)) < 3000, str(error)
            counts["refused"] += 1
        assert contents(place) == before
        shutil.rmtree(place)

    one()
    return counts


def test_damaged_files_of_every_kind_are_read_or_refused(tmp_path):
    counts = fuzz(60, tmp_path)
    assert min(counts.values()) > 5, counts


@pytest.mark.slow
def test_a_thousand_damaged_files_are_read_or_refused(tmp_path, capsys):
    counts = fuzz(1000, tmp_path)
    with capsys.disabled(): print(f"\nread_samples on {sum(counts.values())} made-up inputs: {counts}")
    assert sum(counts.values()) >= 1000 and min(counts.values()) > 100, counts
