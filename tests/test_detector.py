"""The learned score: what its weights learned from, and where its results are marked as in domain."""
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from ambiguity_nb.data import from_arrays
from ambiguity_nb.detector import _lessons, _make_detector, _synthetic_curves
from ambiguity_nb.score_gallery import _learned_there, load_detector
from ambiguity_nb.scores import SCORES, characterize
from ambiguity_nb.training import Training

BENCHMARKS = sorted((Path(__file__).parents[1] / "experiments" / "benchmark").glob("*.yml"))
BUNDLED = ("mnist-5k", "mnist", "digits", "breast-cancer", "wine", "two-gaussians", "cifar10")


def table(name, n=40):
    "Two groups of rows."
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    return from_arrays((rng.normal(size=(n, 3)) + 3 * y[:, None]).astype(np.float32), y, name=name)


def caught(call):
    "Messages of the warnings about data that weights learned from."
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in seen if "in domain" in str(w.message)]


def judged_data():
    "Names of data sets in the benchmark's settings."
    names = set()
    for path in BENCHMARKS:
        settings = yaml.safe_load(path.read_text())
        names |= set((settings.get("grid") or settings).get("datasets", ()))
    return sorted(names)


def test_weights_say_what_they_learned_from():
    provenance = load_detector()[1]
    assert provenance["learned_from"] == ["fashion-mnist", "fashionmnist", "fashion_mnist"]
    lessons = pd.DataFrame(provenance["lessons"])
    assert len(lessons) == 12 and set(lessons["model"]) == {"lenet", "cnn", "mlp"}
    assert lessons[["prop", "lr", "batch_size"]].nunique().min() >= 4 and lessons["kind"].nunique() == 5
    pd.testing.assert_frame_equal(lessons, _lessons)
    assert SCORES["detector"]().learned_from == tuple(provenance["learned_from"])


def test_benchmarks_judge_data_that_the_weights_have_not_met_or_are_marked():
    learned = SCORES["detector"]().learned_from
    assert learned and judged_data()
    for name in {*judged_data(), *BUNDLED}:
        marked = name in learned                                        # what a benchmark's `in_domain` goes by
        assert _learned_there(name, learned) == marked, name
        assert bool(caught(lambda name=name: SCORES["detector"]().check(None, table(name)))) == marked, name
    assert not {*BUNDLED} & {*learned}


its_names = ["fashion-mnist", "FashionMNIST", "fashionmnist", "fashion_mnist", "fashion-mnist-5v7"]


@pytest.mark.parametrize("name", its_names)
def test_in_domain_use_warns_once_before_training(name):
    messages = caught(lambda: characterize("tabular_mlp", table(name), ["detector", "loss"], Training(n_epochs=3)))
    assert len(messages) == 1 and re.search("fitted on 'fashion-mnist'.*says nothing about other data", messages[0])
    assert not caught(lambda: characterize("tabular_mlp", table(name), "loss", Training(n_epochs=1)))


def test_weights_of_somebody_without_provenance_learned_from_nowhere(tmp_path):
    from ambiguity_nb.models import save_model

    path = save_model(tmp_path / "own.safetensors", load_detector()[0])
    score = SCORES["detector"](path)
    assert score.learned_from == () and not caught(lambda: score.check(None, table("fashion-mnist")))


def test_the_same_lessons_give_the_same_weights(tmp_path):
    "Whatever the number of threads, which is left as it was."
    lessons = pd.DataFrame([("tabular_mlp", 0, "uniform", .2, 1e-2, 8)], columns=_lessons.columns)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(_make_detector(table("rows", 160), tmp_path / f"{threads}.safetensors", lessons, 40, 3, 2, 5))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*(network.state_dict().values() for network in made), strict=True): assert torch.equal(a, b)
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()
    assert load_detector(tmp_path / "1.safetensors")[1]["learned_from"] == ["rows"]


def test_synthetic_curves_are_probabilities_that_go_up_for_right_labels():
    for seed in range(6):
        curves, flags = _synthetic_curves(800, 30, seed)
        assert curves.shape == (800, 30) and curves.dtype == np.float32 and 0 <= curves.min() and curves.max() <= 1
        right = curves[~flags].mean(0)
        assert right[-1] > right[0] + .1 and curves[flags].mean() < curves[~flags].mean()
        np.testing.assert_array_equal(curves, _synthetic_curves(800, 30, seed)[0])
