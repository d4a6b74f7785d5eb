"""What image files and tables become: the values, what is said, what is kept, and what stays together."""
import io
import json
import os
import sys
import threading
import types

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ambiguity_nb import image_files
from ambiguity_nb.data import from_arrays
from ambiguity_nb.sources import Source, from_csv, from_dataframe, from_folder, open_samples, read_samples, save_samples

rng = np.random.default_rng(0)


def put(path, values, **options):
    "An image file of given values."
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(np.asarray(values))
    image.save(path, **options)
    return path


@pytest.fixture
def two(tmp_path):
    "A folder of two classes with one good image each."
    put(tmp_path / "set" / "a" / "1.png", np.full((6, 8, 3), 200, np.uint8))
    put(tmp_path / "set" / "b" / "1.png", np.full((6, 8, 3), 20, np.uint8))
    return tmp_path / "set"


# ------------------------------------------------------------------------------------------------ images
def test_color_and_size_are_kept_and_said(two, caplog):
    caplog.set_level("INFO", "ambiguity_nb")
    put(two / "a" / "2.png", picture := rng.integers(0, 256, (6, 8, 3), np.uint8))
    samples = from_folder(two)
    assert samples.shape == (3, 6, 8) and (samples.x[1] == picture.transpose(2, 0, 1)).all()
    assert "3 images, all 6x8 (height x width), kept, in color" in caplog.text
    put(two / "b" / "3.png", np.zeros((300, 500, 3), np.uint8))
    assert from_folder(two).shape == (3, 6, 8)                       # the median, not the largest
    assert "from 6x8 to 300x500 (height x width), resized to 6x8" in caplog.text
    assert from_folder(two, size=(9, 4), channels=1).shape == (1, 9, 4)


def test_photographs_are_brought_down_unless_a_size_is_given(tmp_path):
    for k in "ab": put(tmp_path / k / "1.jpg", np.full((480, 640, 3), 90, np.uint8))
    assert from_folder(tmp_path).shape == (3, 168, 224)
    assert from_folder(tmp_path, size=300).shape == (3, 300, 300)


def test_gray_files_stay_gray(tmp_path):
    for k, mode in (("a", "L"), ("b", "P"), ("c", "1"), ("d", "LA")):
        put(tmp_path / k / "1.png", Image.new("L", (5, 5), 255).convert(mode))
    assert from_folder(tmp_path).shape == (1, 5, 5)
    assert (from_folder(tmp_path).x == 255).all()


@pytest.mark.parametrize("kind", ["png", "tif", "pgm"])
def test_16_bits_are_scaled_and_not_saturated(tmp_path, kind):
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    if kind == "pgm":                                                 # the values of this format are big-endian
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "1.pgm").write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
    else: put(tmp_path / "a" / f"1.{kind}", values)
    read = from_folder(tmp_path).x[0, 0]
    assert np.array_equal(read, (values / 257).round().astype(np.uint8)) and len(np.unique(read)) == 64


def test_floats_are_scaled_by_the_range_that_their_file_states(tmp_path):
    values = np.linspace(-1, 3, 16, dtype=np.float32).reshape(4, 4)
    put(tmp_path / "a" / "1.tif", values, tiffinfo={340: -1., 341: 3.})
    assert np.array_equal(from_folder(tmp_path).x[0, 0], ((values + 1) * 63.75).round().astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_images_stand_upright(tmp_path, kind, orientation):
    "A picture with four different corners, stored in each of the eight ways that EXIF knows."
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12], upright[:8, 12:], upright[8:, :12] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    flips = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
             5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1),
             7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
             8: lambda a: np.rot90(a, -1)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    put(tmp_path / "a" / f"1.{kind}", np.ascontiguousarray(flips[orientation](upright)), exif=exif, **lossless)
    read = from_folder(tmp_path, size=(16, 24)).x[0].transpose(1, 2, 0)
    assert np.abs(read.astype(int) - upright).max() < 12
    if kind != "png": assert from_folder(tmp_path).shape == (3, 16, 24)        # the header tells it as well


def test_transparency_lies_on_the_background(two):
    half = np.zeros((6, 8, 4), np.uint8)
    half[:, :4, 3] = 255                                               # black on the left, nothing on the right
    put(two / "a" / "2.png", half)
    white, blue = from_folder(two).x[1], from_folder(two, background="#0000ff").x[1]
    assert (white[:, :, :4] == 0).all() and (white[:, :, 4:] == 255).all()
    assert (blue[:, :, :4] == 0).all() and (blue[:2, :, 4:] == 0).all() and (blue[2, :, 4:] == 255).all()
    palette = Image.fromarray(half).convert("RGBA").quantize(4)
    put(two / "a" / "3.gif", palette, transparency=palette.getpixel((7, 0)))
    assert (from_folder(two).x[2, :, :, 4:] == 255).all()


def test_animated_files_give_their_first_picture_and_are_named(two, caplog):
    caplog.set_level("INFO", "ambiguity_nb")
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime")]
    frames[0].save(two / "a" / "2.gif", save_all=True, append_images=frames[1:])
    frames[0].save(two / "b" / "3.tif", save_all=True, append_images=frames[1:])
    samples = from_folder(two)
    assert (samples.x[1, 0] == 255).all() and (samples.x[1, 1] == 0).all()
    assert "of 2 files with several pictures the first was taken: 'a/2.gif', 'b/3.tif'" in caplog.text


def test_print_colors_become_screen_colors(two):
    put(two / "a" / "2.jpg", Image.new("RGB", (8, 6), (250, 0, 0)).convert("CMYK"), quality=100)
    assert np.abs(from_folder(two).x[1].astype(int)[:, 0, 0] - [250, 0, 0]).max() < 10


def test_unreadable_files_are_listed_or_left_out(two, caplog):
    for i in range(12): (two / "a" / f"bad{i:02d}.png").write_bytes(b"bad")
    listed = r"12 of 14 image files cannot be read: 'a/bad00.png'.*bad09.*; \.\.\.\. Remove"
    with pytest.raises(ValueError, match=listed): from_folder(two)
    samples = from_folder(two, skip_unreadable=True)
    assert list(samples.ids) == ["a/1.png", "b/1.png"] and list(samples.y) == [0, 1]
    assert "left out, 12 of 14 image files" in caplog.text


def test_a_file_found_bad_only_when_decoded_is_left_out_too(two):
    whole = put(two / "a" / "2.png", rng.integers(0, 256, (64, 64, 3), np.uint8))
    whole.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"1 of 3 image files cannot be read: 'a/2.png'"): from_folder(two)
    assert list(from_folder(two, skip_unreadable=True).ids) == ["a/1.png", "b/1.png"]


def test_files_of_other_kinds_are_skipped_and_named(two, caplog):
    for name in ("a/IMG_1.HEIC", "a/IMG_2.heic", "b/notes.txt", "c.png", "a/.hidden.png"):
        (two / name).write_bytes(b"x")
    assert len(from_folder(two)) == 2
    assert "skipped 4 files" in caplog.text and "2 .heic ('a/IMG_1.HEIC': pip install pillow-heif)" in caplog.text
    assert "1 .png ('c.png'; it is in no sub-folder, so of no class)" in caplog.text and "1 .txt" in caplog.text


def test_heic_is_read_where_its_decoder_is_installed(two, monkeypatch):
    registered = []
    module = types.SimpleNamespace(register_heif_opener=lambda: registered.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    put(two / "a" / "2.png", Image.new("RGB", (8, 6), "red")).rename(two / "a" / "2.heic")   # Pillow looks inside
    assert len(from_folder(two)) == 3 and registered


def test_large_images_are_read_when_allowed(two, monkeypatch):
    monkeypatch.setattr(image_files, "_most_pixels", 100)
    put(two / "a" / "2.png", np.zeros((20, 20, 3), np.uint8))
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match="it has 400 pixels, more than 100"): from_folder(two)
    assert from_folder(two, allow_large=True).shape == (3, 6, 8) and Image.MAX_IMAGE_PIXELS == limit


def test_links_that_lead_out_are_refused_unless_allowed(two, tmp_path):
    secret = put(tmp_path / "elsewhere" / "secret.png", np.zeros((6, 8, 3), np.uint8))
    (two / "a" / "link.png").symlink_to(secret)
    said = r"1 of 3 files lie outside of .*'a/link.png'.*--allow_outside true"
    with pytest.raises(ValueError, match=said): from_folder(two)
    assert len(from_folder(two, allow_outside=True)) == 3
    (two / "a" / "link.png").unlink()
    (two / "c").symlink_to(tmp_path / "elsewhere")                    # a class that is a link
    with pytest.raises(ValueError, match="'c/secret.png'"): from_folder(two)
    (two / "c").unlink()
    (two / "b" / "same.png").symlink_to(two / "a" / "1.png")          # inside: nothing to say against it
    assert len(from_folder(two)) == 3


def test_a_link_in_the_way_to_the_folder_is_no_matter(two, tmp_path):
    (tmp_path / "short").symlink_to(two)
    assert len(from_folder(tmp_path / "short")) == 2


def test_a_list_may_lead_out_when_allowed(two, tmp_path):
    (two / "list.csv").write_text("path,label\n../out.png,p\na/1.png,q\n")
    put(tmp_path / "out.png", np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="'../out.png'"): from_csv(two / "list.csv")
    assert len(from_csv(two / "list.csv", allow_outside=True)) == 2


# ------------------------------------------------------------------------------------------------ kept arrays
@pytest.fixture
def many(tmp_path, monkeypatch):
    "A folder with files enough to be kept (here 20)."
    monkeypatch.setattr(image_files, "_worth_keeping", 20)
    monkeypatch.setenv("AMBIGUITY_NB_CACHE", str(tmp_path / "cache"))
    for i in range(24): put(tmp_path / "set" / "ab"[i % 2] / f"{i:02d}.png", np.full((4, 4, 3), 10 * i, np.uint8))
    return tmp_path / "set"


def test_arrays_are_kept_outside_the_data_and_memory_mapped(many, tmp_path, caplog):
    caplog.set_level("INFO", "ambiguity_nb")
    before = {p: p.stat().st_mtime_ns for p in sorted(many.rglob("*"))}
    first, again, memory = from_folder(many), from_folder(many), from_folder(many, cache="no")
    assert isinstance(first.x, np.memmap) and isinstance(again.x, np.memmap) and not isinstance(memory.x, np.memmap)
    assert np.array_equal(first.x, memory.x) and np.array_equal(again.x, memory.x)
    assert list(again.ids) == list(first.ids)
    assert {p: p.stat().st_mtime_ns for p in sorted(many.rglob("*"))} == before
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".json", ".npy"]
    assert caplog.text.count("24 images, all 4x4 (height x width), kept, in color") == 3        # said each time
    assert caplog.text.count(f"the array (0 MiB) is kept in {tmp_path / 'cache'}") == 1         # said when it is made
    with pytest.raises(ValueError, match="inside the data"): from_folder(many, cache=many / "cache")


@pytest.mark.parametrize("change", ["content", "name", "time", "gone", "size", "channels", "background"])
def test_what_changes_is_read_again(many, tmp_path, change):
    first, options = from_folder(many), {}
    file = many / "a" / "02.png"
    if change == "content": put(file, np.full((4, 4, 3), 255, np.uint8))
    elif change == "name": file.rename(many / "a" / "03.png")
    elif change == "time": os.utime(file, (1, 1))
    elif change == "gone": file.unlink()
    else: options = {change: {"size": 2, "channels": 1, "background": "black"}[change]}
    again = from_folder(many, **options)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2
    assert np.array_equal(again.x, from_folder(many, cache="no", **options).x)
    assert np.array_equal(first.x[0], np.zeros((3, 4, 4)))            # the first array is as it was


def test_a_damaged_kept_array_is_made_anew(many, tmp_path):
    first = np.array(from_folder(many).x)
    kept = next((tmp_path / "cache").glob("*.npy"))
    kept.write_bytes(kept.read_bytes()[:300])
    assert np.array_equal(from_folder(many).x, first)
    kept.with_suffix(".json").write_text("[")
    assert np.array_equal(from_folder(many).x, first)


def test_files_left_out_are_left_out_of_the_kept_array(many, tmp_path):
    whole = put(many / "a" / "04.png", rng.integers(0, 256, (64, 64, 3), np.uint8))
    whole.write_bytes(whole.read_bytes()[:3000])                      # the header is fine
    with pytest.raises(ValueError, match="'a/04.png'"): from_folder(many)
    assert not list((tmp_path / "cache").iterdir())                   # a failed reading keeps nothing
    for _ in range(2):
        samples = from_folder(many, skip_unreadable=True)
        assert len(samples) == 23 and isinstance(samples.x, np.memmap) and "a/04.png" not in set(samples.ids)
        assert all((x == 10 * int(i[2:4])).all() for x, i in zip(samples.x, samples.ids, strict=True))


def test_a_full_disk_says_what_to_free(many, monkeypatch, tmp_path):
    def full(*args): raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_files, "_write_head", full)
    with pytest.raises(OSError, match=r"No space left on device while images are kept in .*cache.*free some space"):
        from_folder(many)
    assert not list((tmp_path / "cache").iterdir())


def test_blocks_of_any_size_give_the_same(many, monkeypatch):
    one = from_folder(many, cache="no").x
    for step in (1, 7, 24, 100):
        monkeypatch.setattr(image_files, "_per_block", lambda size, channels, step=step: step)
        assert np.array_equal(from_folder(many, cache="no").x, one)


def test_several_files_are_decoded_at_once(two, monkeypatch):
    "As many threads meet in the decoder as there are cores (here: said to be three)."
    meet, decode = threading.Barrier(3), image_files._decode

    def together(*args, **options):
        meet.wait(20)                                                 # breaks unless three threads come
        return decode(*args, **options)

    for i in range(4): put(two / "a" / f"m{i}.png", np.full((6, 8, 3), i, np.uint8))
    monkeypatch.setattr(image_files, "_decode", together)
    monkeypatch.setattr(image_files.joblib, "cpu_count", lambda: 3)
    assert len(from_folder(two)) == 6


# ------------------------------------------------------------------------------------------------ tables
people = pd.DataFrame({"größe": [1.5, 2.25, 3.5, 4.75], "farbe": ["rot", "blau", "rot", "grün"],
                       "label": list("abab")})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_encodings_and_separators_are_found(tmp_path, encoding, separator, ending, caplog):
    decimal = "," if separator == ";" else "."
    text = people.to_csv(sep=separator, index=False, decimal=decimal, lineterminator=ending)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    samples = read_samples(f"{tmp_path}/t.csv")
    assert samples.features == ("größe", "farbe=blau", "farbe=grün", "farbe=rot")
    assert list(samples.x[:, 0]) == list(people["größe"]) and list(samples.y) == [0, 1, 0, 1]
    assert ("not UTF-8" in caplog.text) == (encoding in ("latin-1", "cp1252"))


def test_a_plain_table_is_read_as_pandas_reads_it(tmp_path):
    frame = pd.DataFrame(rng.normal(size=(200, 3)), columns=list("xyz"))
    frame = frame.assign(k=rng.integers(0, 9, 200), label=["u", "v"] * 100)
    frame.to_csv(tmp_path / "t.csv", index=False)
    plain = pd.read_csv(tmp_path / "t.csv")
    assert np.array_equal(read_samples(f"{tmp_path}/t.csv").x, plain[["x", "y", "z", "k"]].to_numpy(np.float32))


def test_none_and_na_may_be_names_of_classes(tmp_path):
    (tmp_path / "t.csv").write_text("a,label\n1,None\n2,NA\n3,None\n")
    assert read_samples(f"{tmp_path}/t.csv").classes == ("NA", "None")


def test_quoted_separators_and_line_ends_are_text(tmp_path):
    (tmp_path / "t.csv").write_text('a,b,label\n1,"x;y;z,w",p\n2,"two\nlines",q\n')
    assert read_samples(f"{tmp_path}/t.csv").rows()["b"].tolist() == ["x;y;z,w", "two\nlines"]


def test_gaps_are_filled_or_dropped_when_asked_and_said(tmp_path, caplog):
    frame = pd.DataFrame({"a": [1., None, 3., 10.], "b": ["u", "v", None, "u"], "label": list("pqpq")})
    frame.to_csv(tmp_path / "t.csv", index=False)
    kept = read_samples(f"{tmp_path}/t.csv", missing="drop")
    assert list(kept.x[:, 0]) == [1, 10] and list(kept.ids) == [0, 3] and "dropped 2 of 4 rows" in caplog.text
    full = read_samples(f"{tmp_path}/t.csv", missing="impute")
    assert list(full.rows()["a"]) == [1, 3, 3, 10] and list(full.rows()["b"]) == ["u", "v", "missing", "u"]
    assert "filled 1 gaps of column 'a' with its median, 3" in caplog.text
    assert "column 'b' with 'missing'" in caplog.text


def test_columns_may_be_allowed_or_dropped(tmp_path):
    frame = pd.DataFrame({"a": rng.normal(size=30), "n": range(30),
                          "day": ["2024-01-01", "2024-01-02", "2024-01-03"] * 10,
                          "label": list("pq") * 15})
    with pytest.raises(ValueError, match=r"2 of 3 columns .*'n' counts the rows; 'day' holds dates"):
        from_dataframe(frame, "label")
    assert from_dataframe(frame, "label", drop=["n", "day"]).features == ("a",)
    assert from_dataframe(frame, "label", allow_columns=["n"], drop=["day"]).features == ("a", "n")
    assert len(from_dataframe(frame, "label", allow_columns=["*"]).features) == 5
    assert from_dataframe(frame, "label", id="n", drop=["day"]).features == ("a",)


def test_features_that_only_look_odd_are_kept():
    n = 60
    frame = pd.DataFrame({"label": ["p", "q"] * 30, "year": 1990 + np.arange(n) % 9,
                          "zip code": 10115 + rng.integers(0, 9, n),
                          "paid": rng.permutation(900)[:n], "time": np.arange(n) / 7, "good": rng.random(n) < .5,
                          "class": rng.choice(["first", "second", "third"], n), "grade": rng.choice(["A", "B"], n),
                          "target size": np.linspace(0, 1, n)})
    assert len(from_dataframe(frame, "label").rows().columns) == 8


def test_whole_numbers_with_gaps_stay_whole(tmp_path, caplog):
    caplog.set_level("INFO", "ambiguity_nb")
    (tmp_path / "t.csv").write_text("a,label\n1,7\n2,0\n3,\n4,7\n")
    assert read_samples(f"{tmp_path}/t.csv", missing="drop").classes == ("0", "7")
    assert "labels are numbers that leave some out: 2 classes, [0, 7]" in caplog.text


def test_classes_that_differ_in_spaces_are_named(caplog):
    from_dataframe(pd.DataFrame({"a": [1., 2., 3.], "label": ["cat", "Cat ", "dog"]}), "label")
    assert "the classes ['cat', 'Cat '] differ only in spaces or capitals" in caplog.text


def test_a_path_column_is_a_column_unless_images_are_asked_for(two):
    rows = "".join(f"{'ab'[i % 2]}/1.png,{i % 2},u{i}\n" for i in range(2))
    (two / "list.csv").write_text("path,label,name\n" + rows)
    table = read_samples(f"{two}/list.csv", id="name")
    assert table.features == ("path=a/1.png", "path=b/1.png") and not table.is_image
    images = read_samples(f"{two}/list.csv", images=True)
    assert images.shape == (3, 6, 8) and list(images.ids) == ["a/1.png", "b/1.png"]
    assert list(read_samples(f"{two}/list.csv", images=True, id="name").ids) == ["u0", "u1"]
    pd.read_csv(two / "list.csv").to_parquet(two / "list.parquet")
    assert np.array_equal(read_samples(f"{two}/list.parquet", images=True).x, images.x)


# ------------------------------------------------------------------------------------------------ groups and parts
@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_shares_are_kept(seed):
    draw = np.random.default_rng(seed)
    groups = draw.integers(0, 300, 3000)
    samples = from_arrays(draw.normal(size=(3000, 2)), draw.choice(4, 3000, p=[.5, .3, .15, .05]))
    samples = samples.replace(groups=groups)
    parts = samples.split((.6, .2, .2), seed=seed)
    held = [set(part.groups.tolist()) for part in parts]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    assert sum(map(len, parts)) == 3000
    for part, share in zip(parts, (.6, .2, .2), strict=True):
        assert np.abs(part.counts() / samples.counts() - share).max() < .06, part.counts()
    again = samples.split((.6, .2, .2), seed=seed)
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(parts, again, strict=True))
    alone = samples.replace(groups=None).split((.6, .2, .2), seed=seed)           # the control
    assert set(groups[alone[0].ids]) & set(groups[alone[1].ids])


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz", "list"])
def test_split_by_reads_the_groups_of_every_file(tmp_path, kind):
    n = 40
    frame = pd.DataFrame({"a": rng.normal(size=n), "patient": np.arange(n) // 4 + 100, "label": ["p", "q"] * 20})
    options, data = {"split_by": "patient"}, tmp_path / f"t.{kind}"
    if kind == "csv": frame.to_csv(data, index=False)
    if kind == "parquet": frame.to_parquet(data)
    if kind == "npz": np.savez(data, x=frame[["a"]], y=frame["label"].to_numpy(str), patient=frame["patient"])
    if kind == "list":
        data, options["images"] = tmp_path / "t.csv", True
        for i in range(n): put(tmp_path / f"{i}.png", np.full((4, 4), i, np.uint8))
        frame.assign(path=[f"{i}.png" for i in range(n)]).to_csv(data, index=False)
    train, test = Source(str(data), **options).train_and_test()
    assert not set(train.groups) & set(test.groups) and len(train) + len(test) == n and len(test) == 8
    assert train.features in (("a",), None)                           # the patient is no feature
    assert list(Source(str(data), part="test", **options).read().ids) == list(test.ids)


def test_groups_survive_saving_and_are_dropped_with_other_rows(tmp_path):
    samples = from_arrays(np.zeros((4, 2)), [0, 1, 0, 1]).replace(groups=list("aabb"))
    assert list(open_samples(save_samples(samples, tmp_path)).groups) == list("aabb")
    assert open_samples(save_samples(samples.replace(groups=None), tmp_path)).groups is None
    assert list(samples.subset([3, 0]).groups) == ["b", "a"]
    assert samples.replace(x=np.zeros((2, 2), np.float32), y=samples.y[:2], ids=None).groups is None
    assert samples.replace(name="same rows").groups is not None


def test_a_test_part_of_its_own_is_brought_to_the_training_part(tmp_path, two, caplog):
    frame = pd.DataFrame({"a": [1., 2., 3.], "c": ["u", "v", "w"], "label": ["p", "q", "r"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"c": ["v", "z"], "a": [5., 6.], "label": ["r", "q"]}).to_csv(tmp_path / "u.csv", index=False)
    source = Source(f"{tmp_path}/t.csv", test=f"{tmp_path}/u.csv")
    train, test = source.train_and_test()
    assert test.features == train.features == ("a", "c=u", "c=v", "c=w") and test.classes == train.classes
    assert test.x.tolist() == [[5, 0, 1, 0], [6, 0, 0, 0]] and list(test.y) == [2, 1]
    assert np.array_equal(test.scale, train.scale) and np.array_equal(test.shift, train.shift)
    assert "'c=z' are not in the training part" in caplog.text
    assert [len(source.read(part)) for part in (None, "train", "test")] == [3, 3, 2]
    train, test = Source(source.data, test=source.test, classes=["r", "q"]).train_and_test()       # of both parts
    assert train.classes == test.classes == ("q", "r") and (len(train), len(test)) == (2, 2)
    put(tmp_path / "other" / "b" / "1.png", np.full((30, 40), 9, np.uint8))
    train, test = Source(str(two), test=str(tmp_path / "other")).train_and_test()
    assert test.shape == train.shape == (3, 6, 8) and test.classes == ("a", "b") and list(test.y) == [1]


def test_a_test_part_may_share_no_groups_unsaid(tmp_path, caplog):
    frame = pd.DataFrame({"a": rng.normal(size=4), "who": list("xxyz"), "label": list("pqpq")})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame[2:].to_csv(tmp_path / "u.csv", index=False)
    Source(f"{tmp_path}/t.csv", test=f"{tmp_path}/u.csv", split_by="who").train_and_test()
    assert "training and test part share 2 groups of 'who': 'y', 'z'" in caplog.text


def test_named_sets_are_what_they_were():
    "The default of `Source` reads bundled data as it did: gray digits of 28 x 28."
    samples = Source().read()
    assert (samples.shape, len(samples), samples.groups) == ((1, 28, 28), 4000, None)


# ------------------------------------------------------------------------------------------------ strangers
def test_nothing_is_unpickled(tmp_path, monkeypatch):
    "An object that would write a file when it is unpickled, in every place where an array may be."
    class Code:
        def __reduce__(self): return os.mkdir, (str(tmp_path / "ran"),)

    evil = np.array([Code(), 1], object)
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 2)), y=evil)
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 2)), y=[0, 1], ids=evil)
    np.savez(tmp_path / "c.npz", x=np.zeros((2, 2)), y=[0, 1], classes=evil)
    save_samples(from_arrays(np.zeros((2, 2)), [0, 1]), tmp_path / "saved")
    np.save(tmp_path / "saved" / "ids.npy", evil)
    for name in ("a.npz", "b.npz", "c.npz", "saved"):
        with pytest.raises(ValueError, match="could run code"): read_samples(f"{tmp_path}/{name}")
    pd.DataFrame({"a": [1.]}).to_pickle(tmp_path / "t.pkl")
    with pytest.raises(ValueError, match="could run code"): read_samples(f"{tmp_path}/t.pkl")
    assert not (tmp_path / "ran").exists()
    np.load(tmp_path / "a.npz", allow_pickle=True)["y"]               # the control: this is what it would have done
    assert (tmp_path / "ran").exists()


def test_limits_on_unfolded_files_can_be_lifted(tmp_path, monkeypatch):
    from ambiguity_nb import sources

    monkeypatch.setattr(sources, "_most_bytes", 1000)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((200, 3)), y=np.arange(200) % 2)
    frame = pd.DataFrame({"a": np.zeros(2000), "b": np.zeros(2000), "label": ["p", "q"] * 1000})
    frame.to_parquet(tmp_path / "t.parquet")
    for name, n in (("a.npz", 200), ("t.parquet", 2000)):
        with pytest.raises(ValueError, match="unfolds to .*if it is meant"): read_samples(f"{tmp_path}/{name}")
        assert len(read_samples(f"{tmp_path}/{name}", allow_large=True)) == n


def test_members_of_an_archive_are_never_unpacked_to_files(tmp_path):
    import zipfile

    def member(array):
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "a.npz", "w") as archive:
        archive.writestr("x.npy", member(np.zeros((2, 2))))
        archive.writestr("y.npy", member(np.arange(2)))
        archive.writestr("../../escaped.npy", member(np.arange(2)))
        archive.writestr("/etc/escaped.npy", member(np.arange(2)))
    assert len(read_samples(f"{tmp_path}/in/a.npz")) == 2
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.npz", "in"]


def test_names_of_classes_are_only_words(tmp_path):
    "Names with `..`, slashes or HTML are data; nothing is opened or written by them."
    names = ["../../up", "<script>alert(1)</script>", "/etc/passwd", "a b;c"]
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 1, 4, 4), np.uint8), y=np.array(names))
    samples = read_samples(f"{tmp_path}/a.npz")
    assert set(samples.classes) == set(names) and "<script>" not in samples._repr_html_()
    back = open_samples(save_samples(samples, tmp_path / "saved"))
    assert back.classes == samples.classes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "saved"]
    assert json.loads((tmp_path / "saved" / "samples.json").read_text())["classes"] == sorted(names)
