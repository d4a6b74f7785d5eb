"""The small residual network under every score, and boosted trees where networks are expected."""
import numpy as np
import pytest
import torch
from torch import nn

from ambiguity_nb.data import from_arrays
from ambiguity_nb.gradients import gradient_norms
from ambiguity_nb.jobs.classifier import UserModel, classifier
from ambiguity_nb.jobs.run import RunFolder
from ambiguity_nb.models import MODELS, build_model, check_classifier, embed, load_classifier, save_classifier
from ambiguity_nb.replay import characterize_trees
from ambiguity_nb.scores import characterize
from ambiguity_nb.sources import Source, load_samples
from ambiguity_nb.training import Training, fit


def colors(n=120, shape=(3, 32, 32), seed=0):
    "Noisy images whose color is their class."
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.integers(0, 120, (n, *shape))
    x[:, 0] += 60 * y[:, None, None]
    return from_arrays(x.astype(np.uint8), y, ("a", "b", "c"), "colors")


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (4, 16, 16), (3, 17, 41)])
def test_resnet_small_takes_small_images(shape):
    samples = colors(8, shape)
    model = build_model("resnet_small", samples)
    check_classifier(model, samples)
    assert sum(p.numel() for p in model.parameters()) < 80_000
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())
    x = samples.normalize(samples.x)
    assert torch.equal(model.eval()[-1](embed(model, x)), model(x))          # the last layer reads the embedding
    assert torch.equal(next(build_model("resnet_small", samples).parameters()), next(model.parameters()))


def test_resnet_small_refuses_what_is_too_small():
    digits, wine = load_samples("digits"), load_samples("wine")
    with pytest.raises(ValueError, match="at least 16 pixels, got 8x8"): build_model("resnet_small", digits)
    with pytest.raises(ValueError, match="does not fit 'wine'"): build_model("resnet_small", wine)


def test_gradients_of_resnet_small_are_exact():
    samples = colors(12)
    model = build_model("resnet_small", samples)
    fit(model, samples, Training(n_epochs=1))                                 # BatchNorm has seen something
    x, y = samples.normalize(samples.x), torch.from_numpy(samples.y)
    one_by_one = gradient_norms(model, x, y, "loop")
    for method in ("auto", "ghost", "func"):
        torch.testing.assert_close(gradient_norms(model, x, y, method), one_by_one, rtol=1e-4, atol=1e-6)


def test_every_score_of_resnet_small(tmp_path):
    samples = colors()
    result = characterize("resnet_small", samples, "all", Training(n_epochs=4), seed=1)
    for name in ("aum", "grand", "vog", "conf_agree", "prototypicality"):     # members are snapshots: no dropout
        assert np.isfinite(result.hardness(name)).all() and np.ptp(result.hardness(name)) > 0, name
    path = save_classifier(tmp_path / "r.safetensors", result.model, "resnet_small", samples)
    back, x = load_classifier(path), samples.normalize(samples.x)
    assert torch.equal(back(x), result.model.eval()(x))                       # running means too


def test_trees_come_unfitted_and_keep_their_rounds():
    wine, digits = load_samples("wine"), load_samples("digits")
    for samples in (wine, digits):
        trees = build_model("boosted_trees", samples, seed=3, n_rounds=4)
        assert not hasattr(trees, "classes_") and trees.random_state == 3
        result = characterize_trees(trees, samples, ["aum", "forgetting"])
        assert result.model.n_iter_ == 4 and not hasattr(trees, "classes_")
        assert (result.model.predict(samples.x.reshape(len(samples), -1)) == samples.y).mean() > .8
    rows = np.random.default_rng(0).normal(size=(10_500, 2)).astype(np.float32)
    many = from_arrays(rows, (rows[:, 0] > 0).astype(int))                  # where scikit-learn would hold a tenth out
    assert build_model("boosted_trees", many, n_rounds=15).fit(many.x, many.y).n_iter_ == 15


def test_staged_is_a_fact_of_trees_only():
    assert [name for name, build in MODELS.items() if getattr(build, "staged", False)] == ["boosted_trees"]


@pytest.mark.parametrize("use", [
    lambda samples, folder: characterize("boosted_trees", samples, "aum", Training(n_epochs=1)),
    lambda samples, folder: fit(build_model("boosted_trees", samples), samples),
    lambda samples, folder: check_classifier(build_model("boosted_trees", samples), samples),
])
def test_where_a_network_is_needed_trees_are_refused_in_words(use, tmp_path):
    refusal = r"expected an nn.Module, here one of \['tabular_mlp'(?!.*'boosted).*characterize_trees"
    with pytest.raises(ValueError, match=refusal):
        use(load_samples("wine"), tmp_path)


def test_the_command_refuses_trees_before_it_writes(tmp_path):
    refusal = r"'boosted_trees' is no network.*choose from \['cnn'(?!.*boosted).*'tabular_mlp'"
    with pytest.raises(ValueError, match=refusal):
        classifier(Source("wine"), UserModel("boosted_trees"), run=RunFolder(run_folder=tmp_path), progress=False)
    assert not list(tmp_path.iterdir())


class Viewing(nn.Module):
    "A network with the line that many networks have, which refuses images whose channels lie last in memory."

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.linear = nn.Linear(8 * 64, 10)

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu()
        return self.linear(x.view(len(x), -1))


def test_networks_that_view_get_every_score_and_the_fast_gradients():
    samples = load_samples("digits").subset(slice(0, 120))
    found = characterize(Viewing, samples, "all", Training(n_epochs=3), device="cpu")
    assert not found.left_out and np.isfinite(found.frame.filter(like="_hardness").to_numpy()).all()
    x, y, _ = next(samples.batches(16))
    fast, slow = (gradient_norms(found.model, x, y, method) for method in ("ghost", "loop"))
    assert torch.allclose(fast, slow, rtol=1e-4)
