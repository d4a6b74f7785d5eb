"""Parts and labels of files, where the files of named data sets lie, and chest X-rays."""
import random
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from test_data import idx

from ambiguity_nb.jobs.cli import parse
from ambiguity_nb.sources import DATASETS, Source, from_dataframe, from_torch, load_samples, read_samples, save_samples


@pytest.fixture
def files(tmp_path):
    "The same 50 samples of three classes in every kind of file: what to write behind --data, and which column labels."
    from PIL import Image

    y = np.repeat([0, 2, 5], [25, 15, 10])
    x = np.arange(50 * 64).reshape(50, 1, 8, 8) % 251
    names = [f"r{i}" for i in range(50)]
    frame = pd.DataFrame({"a": np.arange(50.), "b": np.arange(50.)[::-1], "label": y, "name": names})
    frame.to_csv(tmp_path / "table.csv", index=False)
    frame.to_parquet(tmp_path / "table.parquet")
    np.savez(tmp_path / "arrays.npz", x=x.astype(np.uint8), y=y, ids=frame["name"].to_numpy(str))
    for label, image, name in zip(y, x, frame["name"], strict=True):
        (tmp_path / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].astype(np.uint8)).save(tmp_path / "images" / str(label) / f"{name}.png")
    save_samples(read_samples(f"{tmp_path}/arrays.npz", part="all"), tmp_path / "saved")
    return tmp_path


every_file = pytest.mark.parametrize("name", ["table.csv", "table.parquet", "arrays.npz", "images", "saved"])


@every_file
def test_a_file_has_the_parts_that_a_bundled_set_has(files, name):
    source = Source(f"{files}/{name}", id="name" if "table" in name else None)
    whole, train, test = (source.read(part) for part in ("all", "train", "test"))
    assert (len(whole), len(train), len(test)) == (50, 40, 10)
    assert not set(train.ids) & set(test.ids) and {*train.ids, *test.ids} == set(whole.ids)
    assert list(test.counts()) == [5, 3, 2]                                   # every class divided in the same shares
    assert len(source.read()) == 50                                           # nothing of a file is left out unasked
    assert len(Source(source.data, "test", id=source.id).read()) == 10
    for a, b in zip(source.train_and_test(), (train, test), strict=True):
        assert list(a.ids) == list(b.ids) and np.array_equal(a.shift, b.shift)
    with pytest.raises(ValueError, match="unknown part 'tset'; choose from"): source.read("tset")


def test_parts_of_a_file_are_drawn_before_two_classes_are_chosen(files):
    source = Source(f"{files}/arrays.npz")
    two = Source(source.data, pos="5", neg="2")
    assert set(two.read("test").ids) <= set(source.read("test").ids)
    assert two.read("test").classes == ("2", "5")


def test_a_name_still_means_its_training_part():
    assert len(Source("wine").read()) == len(load_samples("wine", "train")) == 142
    assert [len(part) for part in Source("wine").train_and_test()] == [142, 36]
    assert parse("hardness", ["--data", "wine"])["source"].read().name == "wine"
    with pytest.raises(ValueError, match="unknown part 'tset'"): Source("wine", "tset")


@every_file
def test_numbers_with_gaps_are_names_of_classes(files, name):
    samples = read_samples(f"{files}/{name}", id="name" if "table" in name else None)
    assert samples.classes == ("0", "2", "5") and list(samples.counts()) == [25, 15, 10]


def test_classes_that_are_numbers_keep_their_order_and_cost_no_memory():
    frame = pd.DataFrame({"a": [1., 2., 3., 4.], "kind": [10, 2, 9, 2]})
    assert from_dataframe(frame, "kind").classes == ("2", "9", "10")          # not "10", "2", "9"
    assert list(from_dataframe(frame, "kind").y) == [2, 0, 1, 0]
    dataset = torch.utils.data.TensorDataset(torch.rand(4, 1, 4, 4), torch.tensor([7, 10**12, 7, -3]))
    assert from_torch(dataset, progress=False).classes == ("-3", "7", str(10**12))
    dataset.classes = ("a", "b")                                              # names of one's own are not dropped
    with pytest.raises(ValueError): from_torch(dataset, progress=False)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_the_environment_names_the_folder(tmp_path, monkeypatch, name, folder):
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 20), ("t10k", 10)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((n, 28, 28))))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    monkeypatch.setenv("AMBIGUITY_NB_DATA", str(tmp_path))
    assert [len(Source(name).read(part)) for part in ("train", "test", "all")] == [20, 10, 30]
    assert [len(part) for part in Source(name).train_and_test()] == [20, 10]


# ------------------------------------------------------------------------------------------------ chest X-rays
def xrays(folder):
    "Small images under the names that torchxrayvision lists; half the brightness of each says which one it is."
    from PIL import Image

    datasets = pytest.importorskip("torchxrayvision.datasets", reason="the extra `xray` is not installed")
    listed = datasets.NIH_Google_Dataset(str(folder)).csv
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(listed["Image Index"]):
        mode = "RGBA" if i % 100 == 7 else "L"                                # as a few of the real ones are
        Image.new("L", (40, 40), i % 200).convert(mode).save(folder / name)
    return listed


def test_xrays_without_images_say_where_these_come_from(tmp_path, monkeypatch):
    assert "xray" in DATASETS
    monkeypatch.setenv("AMBIGUITY_NB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"ChestX-ray14.*academictorrents.*`images-224`"): read_samples("xray")


def test_xrays_without_the_extra_say_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "00000013_008.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ambiguity_nb\[xray\]'"):
        load_samples("xray", data_folder=tmp_path)


def test_xrays_are_labeled_by_the_first_finding(tmp_path, monkeypatch):
    listed = xrays(tmp_path / "images-224")
    monkeypatch.setenv("AMBIGUITY_NB_DATA", str(tmp_path))
    np.random.seed(3)  # noqa: NPY002 the global state is what is looked at
    random.seed(3)
    states = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    samples = load_samples("xray", "all")
    assert (np.random.get_state()[1] == states[0]).all()  # noqa: NPY002
    assert random.getstate() == states[1] and torch.equal(torch.get_rng_state(), states[2])
    assert (samples.shape, samples.x.dtype) == ((1, 32, 32), np.uint8)
    assert samples.classes == ("no Lung Opacity", "Lung Opacity")
    assert list(samples.ids) == list(listed["Image Index"]) and listed["Patient ID"].is_unique
    assert (samples.x == (np.arange(len(listed)) % 200)[:, None, None, None]).all()       # each under its own name
    assert list(samples.y) == list((listed["Airspace opacity"] == "YES").astype(int)) and 0 < samples.y.mean() < .5
    train, test = Source("xray", data_folder=tmp_path).train_and_test()
    assert len(train) + len(test) == len(samples) and not set(train.ids) & set(test.ids)
    assert len(load_samples("xray", "all", tmp_path / "images-224")) == len(samples)      # the folder itself


def test_xrays_that_are_not_all_there_are_counted(tmp_path):
    listed = xrays(tmp_path)
    (tmp_path / listed["Image Index"].iloc[4]).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks 1 of {len(listed)} images, {listed['Image Index'].iloc[4]}"):
        load_samples("xray", data_folder=tmp_path)
