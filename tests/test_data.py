"""Sources that lie outside: torchvision's files, OpenML's server, folders; and the readers of wrong ones."""
import gzip
import hashlib
import json
import pickle
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ambiguity_nb.data import Samples, from_arrays
from ambiguity_nb.sources import from_openml, load_samples

arff = b"""@RELATION tiny
@ATTRIBUTE size REAL
@ATTRIBUTE color {red,blue}
@ATTRIBUTE class {good,bad}
@DATA
1.5,red,good
2.5,blue,bad
3.5,red,good
%s
"""


def idx(array: np.ndarray) -> bytes:
    "An array in MNIST's IDX format."
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_torchvision_files_are_read_as_they_lie(tmp_path, name, folder):
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = {part: rng.integers(0, 256, (n, 28, 28)) for part, n in (("train", 12), ("t10k", 5))}
    for part, x in images.items():
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(x))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(len(x)) % 10))
    train, test, both = (load_samples(name, part, data_folder=tmp_path) for part in ("train", "test", "all"))
    assert (train.shape, len(train), len(test), len(both)) == ((1, 28, 28), 12, 5, 17)
    assert (train.x[:, 0] == images["train"]).all() and (both.y[12:] == np.arange(5)).all()
    assert train.classes[1] == ("1" if name == "mnist" else "Trouser")


def test_cifar10_files_are_read_as_they_lie(tmp_path, monkeypatch):
    import torchvision

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    x = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)

    def write(name, value):
        (folder / name).write_bytes(pickle.dumps(value))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    batch = {"data": x.reshape(4, -1), "labels": [0, 1, 2, 9]}
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [write("data_batch_1", batch)])
    monkeypatch.setattr(kind, "test_list", [write("test_batch", batch)])
    meta = write("batches.meta", {"label_names": [f"c{i}" for i in range(10)]})
    monkeypatch.setattr(kind, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    samples = load_samples("cifar10", data_folder=tmp_path)
    assert (samples.x == x).all() and list(samples.y) == [0, 1, 2, 9] and samples.classes[9] == "c9"


def test_missing_files_and_no_network_say_what_to_put_where(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"MNIST/raw/.*AMBIGUITY_NB_DATA.*download=True"):
        load_samples("mnist", data_folder=tmp_path)
    monkeypatch.setenv("AMBIGUITY_NB_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"): load_samples("mnist")


@pytest.fixture
def openml(monkeypatch):
    "A local server that answers as openml.org does, and the rows that it serves."
    from sklearn.datasets import _openml

    body = {"arff": arff % b"4.5,blue,bad"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            base = f"http://127.0.0.1:{self.server.server_port}"
            data = body["arff"]
            rest = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
            features = [{"index": str(i), "name": name, "data_type": kind, "is_target": target, **rest}
                        for i, (name, kind, target) in enumerate((("size", "numeric", "false"),
                                                                  ("color", "nominal", "false"),
                                                                  ("class", "nominal", "true")))]
            description = {"id": "7", "name": "tiny", "version": "1", "status": "active", "format": "ARFF",
                           "description": "", "url": f"{base}/file.arff", "md5_checksum": hashlib.md5(data).hexdigest()}
            answers = {
                "/data/7": {"data_set_description": description},
                "/data/features/7": {"data_features": {"feature": features}},
                "/data/qualities/7": {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "4"}]}}}
            if self.path == "/file.arff": answer = data
            elif self.path in answers: answer = json.dumps(answers[self.path]).encode()
            else:
                self.send_error(404)
                return
            answer = gzip.compress(answer)
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args): "Quiet."

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(_openml, "_DATA_INFO", base + "/data/{}")
    monkeypatch.setattr(_openml, "_DATA_FEATURES", base + "/data/features/{}")
    monkeypatch.setattr(_openml, "_DATA_QUALITIES", base + "/data/qualities/{}")
    yield body
    server.shutdown()
    server.server_close()


def test_openml_table_from_a_server_then_from_the_cache(tmp_path, openml, monkeypatch):
    samples = from_openml(7, cache=tmp_path)
    assert samples.features in (("size", "color=red", "color=blue"), ("size", "color=blue", "color=red"))
    assert (samples.name, samples.classes, list(samples.y)) == ("tiny", ("bad", "good"), [1, 0, 1, 0])
    assert list(samples.x[:, 0]) == [1.5, 2.5, 3.5, 4.5]
    assert len(from_openml(7, max_rows=2, seed=0, cache=tmp_path)) == 2
    from sklearn.datasets import _openml

    def unreachable(*args, **kwargs): raise AssertionError("the cache should have answered")

    monkeypatch.setattr(_openml, "urlopen", unreachable)
    assert len(from_openml(7, cache=tmp_path)) == 4


def test_openml_missing_values_are_named(tmp_path, openml):
    openml["arff"] = arff % b"?,blue,bad"
    with pytest.raises(ValueError, match="'size' has 1 missing"): from_openml(7, cache=tmp_path)
    assert len(from_openml(7, drop_missing=True, cache=tmp_path)) == 3


@pytest.mark.filterwarnings("ignore:A network error occurred")
def test_openml_without_network_says_what_to_copy(tmp_path, monkeypatch):
    from sklearn.datasets import _openml

    monkeypatch.setattr(_openml, "_DATA_INFO", "http://127.0.0.1:9/data/{}")
    with pytest.raises(ConnectionError, match="not in the cache and openml.org was not reached"):
        from_openml(7, cache=tmp_path)


def test_a_class_number_may_be_text():
    "As on a command line; names come first, so that \"1\" of the classes (\"1\", \"0\") is the one called so."
    x, y = np.zeros((4, 1, 2, 2), np.uint8), np.array([0, 0, 1, 1])
    assert Samples(x, y, ("sandal", "sneaker"), "clothes").binary("1", "0").classes == ("sandal", "sneaker")
    assert Samples(x, y, ("1", "0"), "swapped").binary("1", "0").classes == ("0", "1")
    clothes = Samples(x, y, ("sandal", "sneaker"), "clothes")
    with pytest.raises(ValueError, match="no class '2'"): clothes.binary("2", "0")


def test_numbers_with_gaps_are_refused_unless_their_classes_are_named():
    x = np.zeros((4, 3))
    with pytest.raises(ValueError, match=r"\[0, 2, 5\] leave out 3 of the numbers 0..5.*y.astype\(str\)"):
        from_arrays(x, [0, 2, 5, 2])
    with pytest.raises(ValueError, match="leave out 999999999 of the numbers"): from_arrays(x, [0, 10**9, 0, 0])
    with pytest.raises(ValueError, match="go from -1 to 1"): from_arrays(x, [-1, 1, 1, -1])
    assert from_arrays(x, np.array([0, 2, 5, 2]).astype(str)).classes == ("0", "2", "5")
    named = from_arrays(x, [0, 2, 5, 2], list("abcdef"))                     # classes without samples, on purpose
    assert named.n_classes == 6 and list(named.counts()) == [1, 0, 2, 0, 0, 1]
    assert from_arrays(x, [True, True, True, True]).classes == ("0", "1")
