"""Scores beyond their notebook: side effects, resuming, tables, odd ids, wrong input, independent implementations."""
import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from ambiguity_nb.data import Samples, from_arrays
from ambiguity_nb.gradients import gradient_norms, label_gradients
from ambiguity_nb.hardness_types import inject
from ambiguity_nb.models import MODELS, build_model, evaluating, lenet
from ambiguity_nb.replay import characterize_trees, replay
from ambiguity_nb.score_gallery import _dropout_members, margin
from ambiguity_nb.scores import SCORES, Running, Score, ScoreSet, _knowledge, characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Hook, HookError, KeepBest, Measure, Patience, Training, evaluate, fit, new_lows


def small() -> nn.Module:
    "Convolution, BatchNorm and dropout for 8x8 images."
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(128, 32), nn.ReLU(), nn.Dropout(.2), nn.Linear(32, 10))


@pytest.fixture(scope="module")
def planted():
    "Digits with string ids, a tenth of them with a wrong label."
    digits = load_samples("digits").subset(np.arange(500))
    return inject(digits.replace(ids=np.array([f"img-{i:03d}" for i in range(500)])), "uniform", .1)


@pytest.fixture(scope="module")
def found(planted):
    "All scores of them."
    return characterize(small, planted.samples, "all", Training(n_epochs=6, lr=5e-3), keep=["settling"])


def test_registry_holds_the_scores_and_the_baselines():
    named = {"aum", "cleanlab", "conf_agree", "data_iq", "data_maps", "grand", "el2n", "forgetting", "loss",
             "prototypicality", "vog", "allsh", "detector"}
    baselines = {name for name, score in SCORES.items() if score.baseline}
    assert {"random", "last_loss", "entropy", "input_norm"} <= baselines and not named & baselines
    assert named <= set(SCORES)


@pytest.mark.parametrize("name", sorted(SCORES))
def test_every_score_is_finite_and_aligned_with_ids(name, planted, found):
    assert found.values(name).shape == found.hardness(name).shape == (500,)
    assert found.values(name).dtype == np.float64
    assert np.isfinite(found.values(name)).all() and np.isfinite(found.hardness(name)).all()
    assert list(found.frame.index) == list(planted.samples.ids)
    order = pd.Series(found.values(name)).rank(), pd.Series(found.hardness(name)).rank()
    assert abs(order[0].corr(order[1])) > .999 or name == "random"  # the same ranking, one way or the other
    if SCORES[name].finds_mislabeled: assert roc_auc_score(planted.flags, found.hardness(name)) > .5


def test_scoring_changes_nothing_in_training(planted):
    model = small()
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 (the global state is what is tested)
    before = copy.deepcopy(model.state_dict())
    scored = characterize(model, planted.samples, "all", Training(n_epochs=2, lr=5e-3))
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    bare = copy.deepcopy(model)
    fit(bare, planted.samples, Training(n_epochs=2, lr=5e-3), device="cpu")
    ours = scored.model.cpu().state_dict()                                     # BatchNorm's buffers are among them
    assert all(torch.equal(v, bare.state_dict()[k]) for k, v in ours.items())
    assert all(p.grad is None or not p.grad.any() for p in scored.model.parameters())


class Interrupt(Hook):
    "Stops a run after some epoch."
    def __init__(self, after): self.after = after

    def after_epoch(self, epoch, model, samples, metrics):
        if epoch == self.after: raise KeyboardInterrupt


@pytest.mark.parametrize("after", [2, 5])
def test_interrupted_run_resumes_to_the_same_scores(after, planted, found, tmp_path):
    options = {"training": Training(n_epochs=6, lr=5e-3), "keep": ["settling"], "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt): characterize(small, planted.samples, hooks=[Interrupt(after)], **options)
    resumed = characterize(small, planted.samples, hooks=[Interrupt(0)], **options)
    for name in found.names: np.testing.assert_array_equal(resumed.values(name), found.values(name), err_msg=name)
    pd.testing.assert_frame_equal(resumed.settling, found.settling)
    with pytest.raises(ValueError, match="another run|holds scores"):
        characterize(small, planted.samples, ["aum", "loss"], hooks=[Interrupt(0)], **options)


@pytest.mark.parametrize("name", ["wine", "breast-cancer", "two-gaussians"])
def test_tables_of_two_and_more_classes(name):
    table = load_samples(name)
    noisy = inject(table.split((.3, .7))[0] if name == "two-gaussians" else table, "uniform", .1)
    scored = characterize("tabular_mlp", noisy.samples, "all", Training(n_epochs=5, lr=5e-3))
    assert np.isfinite(scored.frame.select_dtypes("number")).all(axis=None)
    assert roc_auc_score(noisy.flags, scored.hardness("loss")) > .7


def test_a_class_without_samples_and_a_class_of_one(planted):
    part = planted.samples.subset(planted.samples.y != 3)
    lonely = part.subset(np.r_[np.flatnonzero(part.y != 5), np.flatnonzero(part.y == 5)[:1]])
    scored = characterize(small, lonely, "all", Training(n_epochs=2))
    assert np.isfinite(scored.frame.select_dtypes("number")).all(axis=None)


def test_constant_input_and_three_samples():
    flat = from_arrays(np.full((3, 1, 12, 12), 7, np.uint8), [0, 1, 1])
    scored = characterize("lenet", flat, "all", Training(n_epochs=2, batch_size=1))
    assert np.isfinite(scored.frame.select_dtypes("number")).all(axis=None)


def test_a_perfect_score_is_perfect_and_directions_hold(planted):
    class Oracle(Score):
        "Knows the answer; values are low for wrong labels."
        name, needs, harder = "oracle", (), "low"
        def start(self, n_samples, n_classes, n_epochs): pass
        def values(self): return 1. - planted.flags

    scored = characterize(small, planted.samples, [Oracle], Training(n_epochs=1)).hardness("oracle")
    assert roc_auc_score(planted.flags, scored) == average_precision_score(planted.flags, scored) == 1


def test_wrong_input_is_refused_before_training(planted):
    samples = planted.samples
    with pytest.raises(ValueError, match="unknown score 'aumm'"): characterize(small, samples, ["aumm"])
    with pytest.raises(ValueError, match=r"expected logits \(2, 10\)"):
        characterize(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), samples)
    with pytest.raises(ValueError, match=r"gives \(2, 10, 1\)"):
        characterize(nn.Sequential(small(), nn.Unflatten(1, (10, 1))), samples)
    with pytest.raises(ValueError, match="expected some of 1..3"):
        characterize(small, samples, [SCORES["grand"]([4])], Training(n_epochs=3))
    with pytest.raises(ValueError, match="at least 2 epochs"):
        characterize(small, samples, ["vog"], Training(n_epochs=1))
    with pytest.raises(ValueError, match="noise level"):
        characterize("tabular_mlp", load_samples("wine"), [SCORES["allsh"](noise=0)])
    with pytest.raises(ValueError, match="members='snapshots'"):
        characterize("cnn", load_samples("mnist-5k").subset(range(9)), [SCORES["conf_agree"](members="dropout")])
    with pytest.raises(ValueError, match="need embeddings"):
        characterize(small, samples, ["prototypicality"], dynamics="train")
    with pytest.raises(ValueError, match="runs is 0"): characterize(small, samples, runs=0)
    with pytest.raises(TypeError, match="expected an nn.Module"): characterize(3, samples)
    with pytest.raises(TypeError, match="returned a str"): characterize(lambda: "lenet", samples)
    with pytest.raises(FileNotFoundError):
        characterize(small, samples, [SCORES["detector"]("/nowhere/detector.safetensors")])

    convolutions = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    with pytest.raises(ValueError, match="runs no nn.Linear.*dynamics='train'"):
        characterize(convolutions, samples, ["loss"])
    names = ["loss", "aum", "grand"]
    assert characterize(convolutions, samples, names, Training(n_epochs=1), dynamics="train").names == names

    class Blocks(nn.Module):
        "Lets no gradient through."
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 10)
        def forward(self, x): return self.head(x.detach().flatten(1))

    with pytest.raises(ValueError, match="lets no gradient through"): characterize(Blocks, samples, ["vog"])
    assert characterize(Blocks, samples, ["grand"], Training(n_epochs=1)).values("grand").min() > 0


def test_nan_logits_name_the_samples(planted):
    class Breaks(nn.Module):
        "Fails on bright images, after a while."
        def __init__(self):
            super().__init__()
            self.head, self.steps = nn.Linear(64, 10), 0
        def forward(self, x):
            self.steps += self.training
            logits = self.head(x.flatten(1))
            broken = (x.flatten(1).sum(1) > 0)[:, None] & (self.steps > 3)
            return torch.where(broken, torch.nan, logits) if self.training else logits

    white = np.arange(500)[:, None, None, None] == 77
    bright = planted.samples.replace(x=np.where(white, np.uint8(255), planted.samples.x // 4).astype(np.uint8))
    with pytest.raises(HookError, match="NaN or infinite, ids .'img-077'"): characterize(Breaks, bright, ["aum"])


def test_train_dynamics_cost_no_pass_and_agree(planted):
    names = ["aum", "data_maps", "loss", "cleanlab", "detector"]
    free = characterize(small, planted.samples, names, Training(n_epochs=6, lr=5e-3), dynamics="train")
    assert "evaluation passes" in free.cost.index and free.cost.seconds["evaluation passes"] == 0
    assert min(roc_auc_score(planted.flags, free.hardness(n)) for n in free.names) > .8


def test_early_stopping_leaves_every_score_whole(planted):
    train, validation = planted.samples.split((.8, .2))
    measure = Measure(lambda model: {"val_loss": evaluate(model, validation)["loss"]})
    hooks = [measure, KeepBest(), Patience(2, new_lows)]
    stopped = characterize(small, train, "all", Training(n_epochs=30, lr=2e-2), hooks=hooks)
    assert 3 <= len(stopped.history) < 30
    assert np.isfinite(stopped.frame.select_dtypes("number")).all(axis=None)
    assert stopped.curves.shape == (len(stopped.history), len(train))


def validated(planted):
    "Four fifths to train on, and hooks that stop early by the rest and put the best weights back."
    train, validation = planted.samples.split((.8, .2))
    measure = Measure(lambda model: {"val_loss": evaluate(model, validation)["loss"]})
    return train, [measure, KeepBest(), Patience(2, new_lows)]


class Undo(Hook):
    "Puts first weights back after the second epoch, or when all is over: none of our own hooks."
    def __init__(self, at): self.at = at

    def before_fit(self, model, samples, n_epochs): self.weights = copy.deepcopy(model.state_dict())

    def after_epoch(self, epoch, model, samples, metrics):
        if self.at == "epoch" and epoch == 2: model.load_state_dict(self.weights)

    def after_fit(self, model, samples):
        if self.at == "end": model.load_state_dict(self.weights)


@pytest.mark.parametrize("how", ["none", "best", "epoch", "end"])
def test_scores_of_the_last_epoch_are_those_of_the_model_returned(how, planted, tmp_path):
    train, stopping = validated(planted)
    hooks = {"none": [], "best": stopping, "epoch": [Undo("epoch")], "end": [Undo("end")]}[how]
    training = Training(n_epochs=30 if how == "best" else 2, lr=2e-2)
    late = [name for name, s in SCORES.items() if "last epoch" in s().measured or name in ("allsh", "last_loss")]
    assert {"last_loss", "entropy", "cleanlab", "prototypicality"} <= set(late)
    found = characterize(small, train, late, training, hooks=hooks, folder=tmp_path)
    assert how != "best" or len(found.history) < 30
    again = ScoreSet(late).start(len(train), 10, 1)
    again.evaluate(found.model, train)
    again.after_fit(found.model, train)
    for name in late: np.testing.assert_array_equal(found.values(name), again[name].values(), err_msg=name)
    resumed = characterize(small, train, late, training, hooks=validated(planted)[1] if how == "best" else hooks,
                           folder=tmp_path)                             # from the checkpoint of the last epoch
    for name in late: np.testing.assert_array_equal(resumed.values(name), found.values(name), err_msg=name)


def test_vog_without_a_second_snapshot_is_left_out_and_never_zero(planted):
    train, _ = validated(planted)
    stop = Patience(0, lambda history: [False] * len(history))               # after the first epoch
    with pytest.warns(UserWarning, match="'vog' was left out"):
        found = characterize(small, train, ["aum", SCORES["vog"](stage="early")], Training(n_epochs=9), hooks=[stop])
    assert len(found.history) <= 2 and ("vog" in found.left_out) != ("vog" in found.names)
    if "vog" in found.names: assert found.values("vog").std() > 0


def test_all_scores_of_one_epoch_leave_out_what_cannot_run_and_say_so(planted):
    one = characterize(small, planted.samples, "all", Training(n_epochs=1))
    assert set(one.left_out) == {"vog"} and set(one.names) == set(SCORES) - {"vog"}
    assert "at least 2 epochs" in one.left_out["vog"]
    assert "left out: vog" in repr(one) and "vog was left out" in one._repr_html_()
    with pytest.raises(ValueError, match="at least 2 epochs"):
        characterize(small, planted.samples, ["all", SCORES["vog"]().named("mine")], Training(n_epochs=1))
    trained = characterize(small, planted.samples, "all", Training(n_epochs=2), dynamics="train")
    assert set(trained.left_out) == {"prototypicality"}
    arrays = replay(np.random.default_rng(0).normal(size=(1, 500, 10)), planted.samples)
    assert {"vog", "grand", "allsh", "prototypicality"} <= set(arrays.left_out)
    assert "input_gradients" in arrays.left_out["vog"]


def test_measured_tells_how_the_numbers_came(planted):
    train, eval_ = (characterize(small, planted.samples, ["data_maps", "aum", "last_loss"], Training(n_epochs=2),
                                 dynamics=dynamics).summary().measured for dynamics in ("train", "eval"))
    assert eval_["data_maps"] == "evaluation pass after each epoch"
    assert train["data_maps"] == "training steps of each epoch" and train["last_loss"].startswith("training steps of")
    assert train["aum"] == eval_["aum"] == "training steps, before each update"
    saved = replay(np.zeros((2, 500, 10)), planted.samples, ["data_maps", "aum"]).summary().measured
    assert set(saved) == {"given logits of each epoch"}
    trees = characterize_trees(GradientBoostingClassifier(n_estimators=3), load_samples("wine")).summary().measured
    assert trees["data_maps"] == trees["aum"] == "predictions after each round"
    assert not trees.str.contains("epoch|training step|evaluation").any()
    assert not saved.str.contains("evaluation|before each update").any()


def test_groups_and_issues_agree_with_the_values_beside_them():
    noisy = inject(load_samples("breast-cancer"), "uniform", .2).samples
    found = characterize("tabular_mlp", noisy, ["data_iq", "data_maps", "cleanlab", "forgetting"],
                         Training(n_epochs=5, lr=3e-3), runs=3)
    frame = found.frame
    sure = frame.data_iq_ambiguity <= frame.data_iq_ambiguity.median()
    assert ((frame.data_iq_group == "easy") == (sure & (frame.data_iq_values >= .75))).all()
    assert ((frame.data_iq_group == "hard") == (sure & (frame.data_iq_values <= .25))).all()
    rest = frame[frame.data_maps_group != "ambiguous"]
    assert ((rest.data_maps_group == "easy") == (rest.data_maps_values >= .5)).all()
    least = frame.data_maps_ambiguity[frame.data_maps_group == "ambiguous"].min()
    assert (rest.data_maps_ambiguity <= least).all()
    assert (frame.forgetting_unforgettable == (frame.forgetting_values == 0)).all()
    assert found["data_maps"].columns["correctness"].shape == (len(noisy),)
    clear = frame.cleanlab_values > .9                          # a label that is believed in the mean is no issue
    assert not frame.cleanlab_issue[clear].any() and frame.cleanlab_issue[frame.cleanlab_values < .05].all()


def test_a_sample_that_is_twice_in_a_batch_counts_twice_outside_a_set_too():
    rows, logits = torch.tensor([0, 1, 0, 2, 0]), torch.tensor([[2., 0.], [1., 0.], [0., 4.], [1., 0.], [0., 1.]])
    y = torch.zeros(5, dtype=torch.int64)
    for name in ("aum", "forgetting", "loss", "data_maps", "el2n", "conf_agree"):
        alone, together = SCORES[name](), ScoreSet(name).start(3, 2, 3)
        alone.start(3, 2, 3)
        if "train" in alone.needs:
            alone.train_batch(rows, logits, y)
            together.train_batch(rows, logits, y)
        else:
            alone.eval_batch(rows, logits, y, embeddings=None)
            together.eval_batch(rows, logits, y)
        np.testing.assert_array_equal(alone.values(), together[name].values(), err_msg=name)
    aum = SCORES["aum"]()
    aum.start(3, 2, 1)
    aum.train_batch(rows, logits, y)
    assert list(aum.values()) == [-1, 1, 1]                                  # margins 2, -4 and -1 of sample 0
    running = Running(2)
    running.add(torch.tensor([0, 0]), torch.tensor([1., 3.]))
    assert running.mean()[0] == 2 and running.std()[0] == 1 and list(running.count) == [2, 0]


def test_a_module_that_knows_the_samples_is_told_from_a_fresh_one(planted):
    samples, outside = planted.samples, SCORES["cleanlab"](out_of_sample=True, folds=2)
    trained = small()
    fit(trained, samples, Training(n_epochs=8, lr=5e-3))
    with pytest.warns(UserWarning, match=r"accuracy \d\d\.\d%, and the largest class is 1\d\.\d%") as warned:
        characterize(trained, samples, ["aum", "loss"], Training(n_epochs=1))
    assert len(warned) == 1
    with pytest.raises(ValueError, match=r"\['cleanlab'\] judge each sample.*a function that builds a fresh model"):
        characterize(trained, samples, outside, Training(n_epochs=1), hooks=[Interrupt(1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert characterize(small(), samples, outside, Training(n_epochs=1)).names == ["cleanlab"]


def test_knowledge_is_more_than_the_share_of_a_large_class_and_more_than_luck():
    rng = np.random.default_rng(0)
    y = (rng.random(1000) < .1).astype(np.int64)                             # nine in ten are of class 0
    rare = from_arrays(rng.normal(size=(1000, 5)).astype(np.float32), y)
    always = nn.Linear(5, 2)
    nn.init.zeros_(always.weight)
    with torch.no_grad(): always.bias.copy_(torch.tensor([6., 0.]))          # accuracy .9, and sure of it
    assert _knowledge(always, rare)[0] is False
    two = load_samples("two-gaussians")
    fresh = [build_model("tabular_mlp", two, seed=seed) for seed in range(60)]
    known = [_knowledge(model, two) for model in fresh]
    assert max(accuracy for _, accuracy, _ in known) > .8 and not any(found for found, _, _ in known)
    fit(fresh[0], two, Training(n_epochs=2))
    assert _knowledge(fresh[0], two)[0]


def test_hardness_by_epoch_ends_with_the_hardness(planted, found):
    kept = characterize(small, planted.samples, "all", Training(n_epochs=6, lr=5e-3), keep=["by_epoch", "settling"])
    assert found.by_epoch is None and "aum" in kept.by_epoch and not {"random", "allsh"} & set(kept.by_epoch)
    for name, rows in kept.by_epoch.items():
        assert rows.shape == (6, 500) and rows.dtype == np.float32
        np.testing.assert_allclose(rows[-1], kept.hardness(name), rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.isnan(kept.by_epoch["vog"][0]).all() and np.isfinite(kept.by_epoch["aum"]).all()
    pd.testing.assert_frame_equal(kept.settling, found.settling)
    logits = np.random.default_rng(0).normal(size=(3, 500, 10))
    assert replay(logits, planted.samples, "loss", keep=["by_epoch"]).by_epoch["loss"].shape == (3, 500)


def test_a_score_that_draws_has_the_seed_of_its_run(planted):
    class Draws(Score):
        "Numbers of a seed."
        name, needs, draws, finds_mislabeled, sees_labels = "drawn", (), True, False, False
        learned_from = ("digits",)
        def start(self, n_samples, n_classes, n_epochs): self.n = n_samples
        def values(self): return np.random.default_rng(self.seed or 0).random(self.n) + 1000 * self.batch_size

    fixed = Draws().named("fixed")
    fixed.seed = 7
    found = characterize(small, planted.samples, [Draws, fixed], Training(n_epochs=1, batch_size=32), runs=2, seed=3)
    for run in range(2):
        want = np.random.default_rng(3 + run).random(500) + 32000
        np.testing.assert_array_equal(found["drawn"].values[run], want)
    np.testing.assert_array_equal(found["fixed"].values[0], found["fixed"].values[1])
    assert found["drawn"].sees_labels is False and found["drawn"].learned_from == ("digits",)


def test_names_as_labels_in_replay():
    logits, names = np.random.default_rng(0).normal(size=(2, 4, 3)), np.array(["cat", "ant", "bee", "cat"])
    with pytest.warns(UserWarning, match=r"order of sorted names, \['ant', 'bee', 'cat'\]"):
        found = replay(logits, names, "loss")
    want = replay(logits, np.array([2, 0, 1, 2]), "loss")
    np.testing.assert_array_equal(found.values("loss"), want.values("loss"))
    assert found.samples.classes == ("ant", "bee", "cat")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = replay(logits, names.astype(object), "loss", classes=["cat", "bee", "ant"])
    np.testing.assert_array_equal(told.values("loss"), replay(logits, np.array([0, 2, 1, 0]), "loss").values("loss"))
    with pytest.raises(ValueError, match="name 2 classes.*has 3 columns"): replay(logits, names[[0, 1, 1, 0]], "loss")
    with pytest.raises(ValueError, match="'cat' is not among"): replay(logits, names, "loss", classes=list("abc"))


def test_the_command_says_what_it_left_out_and_scores_boosted_trees(tmp_path):
    from ambiguity_nb.jobs.classifier import UserModel
    from ambiguity_nb.jobs.hardness import hardness
    from ambiguity_nb.jobs.run import RunFolder
    from ambiguity_nb.sources import Source

    brief = hardness(Source("wine"), training=Training(n_epochs=1), run=RunFolder("brief", tmp_path), progress=False)
    assert "Left out: vog" in brief.read_text()
    if "boosted_trees" not in MODELS: pytest.skip("no boosted trees among the models")
    with pytest.raises(ValueError, match="fitted once"): hardness(Source("wine"), UserModel("boosted_trees"), runs=2)
    page = hardness(Source("wine"), UserModel("boosted_trees"), Training(n_epochs=5), RunFolder("trees", tmp_path),
                    progress=False)
    assert "Left out: prototypicality" in page.read_text() and "5 rounds" in page.read_text()


def test_runs_differ_and_average(planted):
    both = characterize(small, planted.samples, ["aum", "data_iq"], Training(n_epochs=2), runs=2)
    assert not np.array_equal(*both.runs("aum"))
    for run in range(2):
        alone = characterize(small, planted.samples, ["aum"], Training(n_epochs=2), seed=run)
        np.testing.assert_array_equal(alone.hardness("aum"), both.runs("aum")[run])


def test_out_of_sample_probabilities_are_out_of_sample():
    # labels are pure chance: in sample a large network knows them by heart, out of sample nobody does
    rng = np.random.default_rng(0)
    noise = from_arrays(rng.normal(size=(300, 20)).astype(np.float32), rng.integers(0, 2, 300))
    both = [SCORES["cleanlab"]().named("inside"), SCORES["cleanlab"](out_of_sample=True).named("outside")]
    scored = characterize(lambda: nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 2)), noise, both,
                          Training(n_epochs=60, lr=1e-2, batch_size=150))
    assert scored.values("inside").mean() > .95 and .35 < scored.values("outside").mean() < .65
    measured = scored.summary().measured
    assert "out of sample" in measured["outside"] and "in sample" in measured["inside"]


def test_memory_mapped_samples_and_logits(planted, tmp_path):
    np.save(tmp_path / "x.npy", planted.samples.x)
    mapped = planted.samples.replace(x=np.load(tmp_path / "x.npy", mmap_mode="r"))
    scored = characterize(small, mapped, ["aum", "allsh", "vog"], Training(n_epochs=2))
    in_memory = characterize(small, planted.samples, ["aum", "allsh", "vog"], Training(n_epochs=2))
    for name in scored.names: np.testing.assert_array_equal(scored.values(name), in_memory.values(name))
    logits = np.random.default_rng(0).normal(size=(3, 500, 10)).astype(np.float32)
    np.save(tmp_path / "logits.npy", logits)
    again = replay(np.load(tmp_path / "logits.npy", mmap_mode="r"), planted.samples)
    y = torch.from_numpy(planted.samples.y)
    margins = np.mean([margin(torch.from_numpy(z), y).numpy() for z in logits], 0)
    np.testing.assert_allclose(again.values("aum"), margins, rtol=1e-5)


class Reads(np.memmap):
    "A mapped array that notes the largest part that anybody takes of it."
    most = 0

    def __getitem__(self, rows):
        part = super().__getitem__(rows)
        if part.ndim == 4: Reads.most = max(Reads.most, len(part))
        return part


def test_large_images_come_in_small_parts(tmp_path):
    n, shape = 300, (3, 64, 64)                                  # rows of 12 kB: sparse on disk, never all in memory
    x = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(n, *shape)).view(Reads)
    x[:20] = np.random.default_rng(0).integers(0, 256, (20, *shape), np.uint8)
    samples = Samples(x, np.arange(n) % 2, ("a", "b"))
    Reads.most = 0
    pooled = lambda: nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 8), nn.Dropout(.1), nn.Linear(8, 2))
    scored = characterize(pooled, samples, ["aum", "loss", "conf_agree", "allsh", "prototypicality", "input_norm",
                                            SCORES["vog"]()], Training(n_epochs=2, batch_size=32))
    assert 0 < Reads.most <= 33 and len(scored.names) == 7       # a megabyte of float32 is 21 of them, a batch 32
    assert np.isfinite(scored.frame.select_dtypes("number").to_numpy()).all()


def test_vog_is_left_out_where_its_gradients_would_not_fit(planted):
    scored = characterize(small, planted.samples, ["aum"], Training(n_epochs=2))
    assert "vog" not in scored.left_out
    little = SCORES["vog"](gigabytes=1e-5)
    with pytest.raises(ValueError, match="would keep 0.000256 GB.*has gigabytes=1e-05; allow more"):
        characterize(small, planted.samples, [little], Training(n_epochs=2))
    little.asked = False                                          # as when it comes with "all"
    scored = characterize(small, planted.samples, ["aum", little], Training(n_epochs=2))
    assert scored.names == ["aum"] and "two numbers for each input element" in scored.left_out["vog"]


def test_parquet_holds_the_frame(found, tmp_path):
    pd.testing.assert_frame_equal(pd.read_parquet(found.to_parquet(tmp_path / "deep" / "scores.parquet")), found.frame)
    assert "aum" in found._repr_html_() and f"{len(SCORES)} scores" in repr(found)


def test_settling_ends_at_one_and_leaves_out_what_needs_no_training(found):
    last = found.settling.loc[6]
    np.testing.assert_allclose(last.to_numpy(), 1)
    assert "aum" in last and not {"random", "input_norm", "allsh"} & set(last.index)


def test_dropout_members_leave_no_trace():
    model = small().train()
    x = torch.randn(6, 1, 8, 8)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, second = _dropout_members(model, x, 5, seed=1), _dropout_members(model, x, 5, seed=1)
    assert torch.equal(first, second) and not torch.equal(first, _dropout_members(model, x, 5, seed=2))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and model.training
    assert torch.equal(torch.get_rng_state(), state) and not any(m._forward_hooks for m in model.modules())
    with evaluating(model), torch.no_grad(): plain = model(x)
    many = _dropout_members(model, x, 3000, seed=0).mean(0)     # linear after the dropout: masks average out
    torch.testing.assert_close(many, plain, rtol=.1, atol=.05)


@pytest.mark.parametrize("options", [
    {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": (3, 2), "groups": 2, "bias": False},
    {"kernel_size": 3, "dilation": 2, "padding": "same"}, {"kernel_size": 1, "groups": 4},
    {"kernel_size": 5, "padding": 2, "padding_mode": "circular"}])
def test_closed_form_of_gradient_norms(options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, **options), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(3)).eval()
    x, y = torch.randn(5, 4, 9, 9), torch.tensor([0, 1, 2, 0, 1])
    model(x)
    np.testing.assert_allclose(gradient_norms(model, x, y, "ghost"), gradient_norms(model, x, y, "loop"), rtol=1e-4)
    np.testing.assert_allclose(gradient_norms(model, x, y, "ghost"), gradient_norms(model, x, y, "func"), rtol=1e-4)


def test_many_classes_and_shuffled_batches_against_numpy():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(4, 50, 101)).astype(np.float32), rng.integers(0, 101, 50)
    scores = ScoreSet([SCORES["aum"](), SCORES["el2n"]([1, 3]), SCORES["conf_agree"](2)]).start(50, 101, 4)
    for epoch in logits:
        for rows in np.array_split(rng.permutation(50), 7):
            index = torch.from_numpy(rows)
            scores.train_batch(index, torch.from_numpy(epoch[rows]), torch.from_numpy(y[rows]))
            scores.eval_batch(index, torch.from_numpy(epoch[rows]), torch.from_numpy(y[rows]))
    probs = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    own, others = np.take_along_axis(logits, y[None, :, None], 2)[..., 0], logits.copy()
    others[:, np.arange(50), y] = -np.inf
    np.testing.assert_allclose(scores["aum"].values(), (own - others.max(2)).mean(0), rtol=1e-4, atol=1e-6)
    errors = np.linalg.norm(probs[[0, 2]] - np.eye(101)[y], axis=2)
    np.testing.assert_allclose(scores["el2n"].values(), errors.mean(0), rtol=1e-5)
    mean = probs[2:].mean(0)
    np.testing.assert_allclose(scores["conf_agree"].values(), mean.max(1), rtol=1e-5)
    def entropy(p): return -(p * np.log(p)).sum(-1)
    want = entropy(mean) - entropy(probs[2:]).mean(0)
    np.testing.assert_allclose(scores["conf_agree"].ambiguity(), want, rtol=1e-3, atol=1e-5)


def test_prototypicality_against_a_plain_computation(planted):
    class Keep(Hook):
        "Embeddings of the last pass."
        def before_fit(self, model, samples, n_epochs): self.embeddings = np.zeros((len(samples), 32))
        def eval_batch(self, index, logits, y, embeddings): self.embeddings[index] = embeddings

    keep = Keep()
    scores = [SCORES["prototypicality"](), SCORES["vog"](2)]
    scored = characterize(small, planted.samples, scores, Training(n_epochs=2), hooks=[keep])
    y, e = planted.samples.y, keep.embeddings
    centers = np.stack([e[y == k].mean(0) for k in range(10)])[y]
    cosine = (e * centers).sum(1) / np.linalg.norm(e, axis=1) / np.linalg.norm(centers, axis=1)
    np.testing.assert_allclose(scored.values("prototypicality"), 1 - cosine, rtol=1e-4, atol=1e-5)
    for k in range(10):
        vog = scored.values("vog")[y == k]
        np.testing.assert_allclose([vog.mean(), vog.std()], [0, 1], atol=1e-6)


def test_last_loss_is_the_loss_of_the_final_model(planted, found):
    x, y = planted.samples.normalize(planted.samples.x), torch.from_numpy(planted.samples.y)
    with evaluating(found.model), torch.no_grad():
        want = F.cross_entropy(found.model(x), y, reduction="none")
    np.testing.assert_allclose(found.values("last_loss"), want, rtol=1e-4, atol=1e-6)
    assert isinstance(found.samples, Samples)


def test_aum_is_that_of_its_authors_package(tmp_path):
    package = pytest.importorskip("aum")
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(5, 40, 7)).astype(np.float32), rng.integers(0, 7, 40)
    theirs, ours = package.AUMCalculator(str(tmp_path), compressed=True), ScoreSet("aum").start(40, 7, 5)
    for epoch in logits:
        for rows in np.array_split(rng.permutation(40), 6):
            batch = torch.from_numpy(epoch[rows]), torch.from_numpy(y[rows])
            theirs.update(*batch, [int(i) for i in rows])
            ours.train_batch(torch.from_numpy(rows), *batch)
    theirs.finalize()
    table = pd.read_csv(tmp_path / "aum_values.csv").set_index("sample_id").sort_index()
    np.testing.assert_allclose(ours["aum"].values(), table.aum, rtol=1e-6)


def test_input_gradients_are_captums():
    from captum.attr import Saliency

    torch.manual_seed(0)
    model, x, y = small().eval(), torch.randn(7, 1, 8, 8), torch.arange(7)
    theirs = Saliency(model).attribute(x.clone().requires_grad_(), target=y, abs=False)
    torch.testing.assert_close(label_gradients(model, x, y), theirs)


@pytest.mark.parametrize("package, name", [("xgboost", "XGBClassifier"), ("lightgbm", "LGBMClassifier")])
def test_other_boosted_trees_if_installed(package, name):
    estimator = getattr(pytest.importorskip(package), name)(n_estimators=20, max_depth=2, n_jobs=1)
    noisy = inject(load_samples("wine"), "uniform", .1)
    scored = characterize_trees(estimator, noisy.samples)
    assert len(scored.curves) == 20 and roc_auc_score(noisy.flags, scored.hardness("loss")) > .9


MINE = '''
import numpy as np
import torch

from ambiguity_nb.scores import Score


class MyScore(Score):
    "One minus the last probability of the label."
    name, needs, harder = "mine", ("eval",), "high"

    def start(self, n_samples, n_classes, n_epochs): self.last = torch.zeros(n_samples)

    def eval_batch(self, index, logits, y, embeddings):
        self.last[index] = 1 - logits.softmax(1).gather(1, y[:, None]).squeeze(1)

    def values(self): return self.last.double().numpy()
'''


def test_a_score_from_a_file_of_the_users_own(planted, found, tmp_path, monkeypatch):
    (tmp_path / "my_scores.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    scored = characterize(small, planted.samples, ["my_scores:MyScore", "aum"], Training(n_epochs=6, lr=5e-3))
    assert scored.names == ["mine", "aum"] and "mine" not in SCORES
    np.testing.assert_allclose(scored.hardness("mine"), 1 - np.exp(-found.values("last_loss")), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(scored.values("aum"), found.values("aum"))

    from my_scores import MyScore                                # the class and an object mean the same
    for given in (MyScore, MyScore(), [MyScore]): assert [s.name for s in ScoreSet(given)] == ["mine"]
    with pytest.raises(ValueError, match="score 'my_scores:Mine' was not found"): ScoreSet("my_scores:Mine")

    from ambiguity_nb.jobs.hardness import hardness              # and so on the command line
    from ambiguity_nb.sources import Source

    hardness(Source("wine"), training=Training(n_epochs=1), scores="my_scores:MyScore,aum", progress=False)
    table = pd.read_parquet(tmp_path / "runs" / "hardness" / "default" / "tables" / "scores.parquet")
    assert {"mine_hardness", "aum_hardness"} <= set(table)


def test_a_registered_score_joins_all_and_fits_where_the_others_do(planted):
    class Constant(Score):
        "Nothing at all."
        name, needs, baseline, finds_mislabeled = "constant", (), True, False
        def start(self, n_samples, n_classes, n_epochs): self.n = n_samples
        def values(self): return np.zeros(self.n)

    SCORES.register()(Constant)
    try:
        assert "constant" in [s.name for s in ScoreSet("all")] and "constant" in [s.name for s in ScoreSet("baselines")]
        scored = characterize(small, planted.samples, ["constant", "random"], Training(n_epochs=1))
        assert scored.names == ["constant", "random"] and scored["constant"].baseline
    finally:
        SCORES._things.pop("constant")


class _Twice(nn.Module):
    "One dropout layer, called twice; what it drops each time can be read off."
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(.5)

    def forward(self, x): return torch.stack([self.drop(x).sum(1), self.drop(x).mul(2 ** torch.arange(8.)).sum(1)], 1)


def test_a_dropout_layer_that_is_called_twice_has_two_masks():
    x = torch.ones(6, 8)
    members = _dropout_members(_Twice(), x, 20)                                           # [S, B, 2]
    kept = members[:, :, 0] / 2
    place = torch.tensor([[float(bin(int(v) // 2).count("1")) for v in row] for row in members[:, :, 1]])
    assert (kept != place).any()                          # the number of units kept differs between the two calls
    for a in (0, 5): assert torch.equal(_dropout_members(_Twice(), x[a:a + 1], 20), members[:, a:a + 1])
    assert (members == members[:, :1]).all()                                              # one mask for every sample


def test_augmentations_are_addressed_by_seed_and_index(planted):
    class Batched(Samples):
        "Comes in batches of 37, whatever is asked for."
        def batches(self, batch_size=64, **options): return Samples.batches(self, 37, **options)

    table = load_samples("wine")
    for samples, name in ((planted.samples, small), (table, "tabular_mlp")):
        model = build_model(name, samples, seed=0)
        other = Batched(**{k: getattr(samples, k) for k in samples.__dataclass_fields__})
        values = {}
        asked = (("a", samples, 3), ("b", other, 3), ("c", samples, 4), ("d", samples, None), ("e", samples, 0))
        for key, part, seed in asked:
            score = SCORES["allsh"](seed=seed)
            score.start(len(part), part.n_classes, 1)
            score.after_fit(model, part)
            values[key] = score.values()
        np.testing.assert_allclose(values["a"], values["b"], rtol=1e-3, atol=1e-7)
        assert not np.allclose(values["a"], values["c"], rtol=1e-3) and np.array_equal(values["d"], values["e"])


def test_two_seeds_of_augmentations_rank_alike():
    samples = load_samples("mnist-5k").subset(slice(0, 4000, 8))
    draws = [SCORES["allsh"](seed=seed).named(f"seed {seed}") for seed in (1, 2)]
    both = characterize("lenet", samples, draws, Training(n_epochs=3, lr=3e-3, batch_size=32))
    ranks = pd.DataFrame({name: both.values(name) for name in both.names}).rank()
    assert ranks.corr().iloc[0, 1] > .8


def test_a_transform_of_ones_own_is_shared_by_all_samples():
    calls = []

    def transform(images):
        calls.append(torch.rand(1).item())
        return images

    samples = load_samples("mnist-5k").subset(range(600))
    score = SCORES["allsh"](3, transform=transform)
    score.start(600, 10, 1)
    score.after_fit(lenet(), samples)
    assert len(calls) == 6 and calls[:3] == calls[3:] and len(set(calls)) == 3            # two batches


def test_early_scores_wait_for_some_hundred_steps(planted):
    from ambiguity_nb.score_gallery import _early_epochs

    for n_epochs, n_steps, want in ((10, 79, [5, 6, 7]), (10, 157, [3, 4, 5]), (10, 938, [1, 2, 3, 4, 5]),
                                    (50, 157, [3, 8, 14, 20, 25]), (1, 10, [1]), (2, 10, [1, 2])):
        assert _early_epochs(n_epochs, n_steps, 5) == want
    assert _early_epochs(10, 8, 3) == [5, 8, 10]                       # 80 steps in all: from the middle to the end
    score = SCORES["el2n"]()
    score.batch_size = 5
    score.start(500, 10, 20)                                                           # 100 steps an epoch
    assert score.chosen.tolist() == [5, 6, 8, 9, 10] and "epochs 5, 6, 8, 9, 10 (mean)" in score.measured


def test_early_scores_are_worth_reading_by_default():
    digits = load_samples("mnist-5k").subset(slice(0, 4000, 4))
    noisy = inject(digits, "uniform", .1)
    first = [SCORES[name]([1]).named(f"{name} at first") for name in ("el2n", "grand")]
    scored = characterize("lenet", noisy.samples, ["el2n", "grand", *first], Training(n_epochs=10, lr=2e-3))
    for name in ("el2n", "grand"):
        now, at_first = (roc_auc_score(noisy.flags, scored.hardness(n)) for n in (name, f"{name} at first"))
        assert now > .93 and now > at_first + .05


class _Stop(Hook):
    "Stops after some epochs, and may put other weights back."
    order = -1
    def __init__(self, after, back_to=None): self.after, self.back_to = after, back_to

    def after_epoch(self, epoch, model, samples, metrics):
        if epoch == self.back_to: self.weights = copy.deepcopy(model.state_dict())

    def after_fit(self, model, samples):
        if self.back_to: model.load_state_dict(self.weights)

    def enough(self, history): return len(history) >= self.after


def test_scores_of_a_training_that_ended_early(planted):
    def stopped(scores, **how):
        watching = ScoreSet(scores)
        fit(small(), planted.samples, Training(n_epochs=30), hooks=[watching, _Stop(**how)], device="cpu")
        return watching

    names = ["el2n", "grand", "vog"]
    found = stopped(names, after=4)
    for name in names:
        assert np.isfinite(found[name].values()).all() and len(np.unique(found[name].values())) > 400
    assert "after epoch 4" in found["el2n"].measured and "ended before epoch" in found["grand"].measured
    assert "2 snapshots" in found["vog"].measured and not found["vog"].left_out
    for how in ({"after": 1}, {"after": 4, "back_to": 1}):          # one snapshot, and twice the same
        vog = stopped(["vog"], **how)["vog"]
        assert np.isnan(vog.values()).all() and "snapshots" in vog.left_out
    early = stopped([SCORES["vog"](3, stage="early")], after=10)["vog"]
    assert early.gradient.count.max() == 3 and "3 snapshots of training" in early.measured


def test_columns_agree_with_the_values_beside_them(planted):
    names = ["data_maps", "data_iq", "forgetting", "cleanlab"]
    both = characterize(small, planted.samples, names, Training(n_epochs=4, lr=5e-3), runs=3)
    maps, c, a = both["data_maps"].columns, both.values("data_iq"), both.ambiguity("data_iq")
    ambiguous = np.argsort(-both.ambiguity("data_maps"), kind="stable")[:500 // 3]
    assert set(np.flatnonzero(maps["group"] == "ambiguous")) == set(ambiguous)
    easy = (c >= .75) & (a <= np.median(a))
    assert ((both["data_iq"].columns["group"] == "easy") == easy).all()
    assert set(np.unique((maps["correctness"] * 12).round(6))) <= set(range(13))           # of 3 runs of 4 epochs
    assert (both["forgetting"].columns["unforgettable"] == (both.values("forgetting") == 0)).all()
    runs = both.runs("cleanlab")
    assert both["cleanlab"].columns["issue"].dtype == bool and len(runs) == 3


def test_what_scores_say_of_themselves(planted):
    blind = {name for name, score in SCORES.items() if not score.sees_labels}
    assert blind == {"allsh", "conf_agree", "entropy", "input_norm", "random"}
    assert not SCORES["prototypicality"]("kmeans").sees_labels and SCORES["prototypicality"]().sees_labels
    assert {name for name, score in SCORES.items() if score.draws} == {"allsh", "conf_agree", "random"}
    ends = {name for name, score in SCORES.items() if score().at_end}
    assert ends == {"last_loss", "entropy", "cleanlab", "prototypicality"}
    assert not SCORES["cleanlab"](out_of_sample=True).at_end
    assert all(score().seed is None for score in SCORES.values())
