"""Searches for a boundary that is known: toy generators whose images are their latents, and linear classifiers."""
import functools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ambiguity_nb.latent_search as latent_search
from ambiguity_nb.data import Samples, from_arrays
from ambiguity_nb.fid import fingerprint
from ambiguity_nb.generator_measures import draw_noise
from ambiguity_nb.latent_search import SEARCHES, BoundarySet, search_boundary, search_rows
from ambiguity_nb.models import cnn, load_weights, mlp, save_model, tabular_mlp
from ambiguity_nb.sources import from_dataframe
from ambiguity_nb.study import generated_samples

SIDE = 4


class Painter(nn.Module):
    "Images [1, 4, 4] whose pixels are latents, squeezed into [-1, 1]; it notes how many it was asked for at once."
    z_dim = SIDE * SIDE

    def __init__(self, scale=1.):
        super().__init__()
        self.scale, self.most = scale, 0

    def forward(self, z):
        self.most = max(self.most, len(z))
        return torch.tanh(self.scale * z).view(-1, 1, SIDE, SIDE)


class Straight(Painter):
    "Its images are its latents, which it draws itself: evenly from a box."

    def forward(self, z): return z.view(-1, 1, SIDE, SIDE)

    def draw(self, n, seed): return torch.rand(n, self.z_dim, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Linear(nn.Module):
    "A linear classifier of pixels."

    def __init__(self, n_classes=2, seed=0, scale=3.):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(scale * torch.randn(n_classes, SIDE * SIDE, generator=rng))

    def forward(self, x): return x.flatten(1) @ self.weight.T


def images(n_classes=2, n=90, seed=0):
    "Labeled images of which a linear classifier is right."
    x = np.random.default_rng(seed).random((n, 1, SIDE, SIDE), np.float32)
    return from_arrays(x, np.arange(n) % n_classes, name="toy")


# ---------------------------------------------------------------------------------------------- bisection
def test_the_crossing_of_a_straight_way_has_a_closed_form():
    model = Linear()
    found = search_boundary(model, Straight(), n=50)
    values = [model(end.view(-1, 1, SIDE, SIDE)) for end in found.ends.unbind(1)]
    f, g = (v[:, 1] - v[:, 0] for v in values)
    assert (f < 0).all() and (g > 0).all()
    t = f / (f - g)
    expected = found.ends[:, 0] + t[:, None] * (found.ends[:, 1] - found.ends[:, 0])
    reach = (found.ends[:, 1] - found.ends[:, 0]).abs()
    assert ((found.z - expected).abs() <= reach / 2**12).all()
    assert (found.z - found.ends[:, 0]).norm(dim=1).min() > 1e-3                       # a control: not the end itself


def test_the_crossing_of_a_round_way_is_that_of_a_search_in_plain_numpy():
    model, painter = Linear(), Painter()
    found = search_boundary(model, painter, n=20)
    weight = model.weight.detach().numpy().astype(np.float64)

    def odds(z): return np.tanh(z) @ (weight[1] - weight[0])

    def at(a, b, t):
        angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)

    for z, (a, b) in zip(found.z.numpy(), found.ends.numpy().astype(np.float64), strict=True):
        t = np.linspace(0, 1, 20_001)
        along = np.array([odds(at(a, b, s)) for s in t[::20]])
        crossings = t[::20][:-1][np.diff(np.sign(along)) != 0]
        near = np.min([np.linalg.norm(at(a, b, s) - z) for c in crossings for s in np.linspace(c, c + .001, 20)])
        assert near < 5e-3 and abs(odds(z.astype(np.float64))) < .02


def test_all_images_are_undecided_and_their_number_is_right():
    found = search_boundary(Linear(), Painter(), n=300)
    assert len(found) == len(found.images) == len(found.frame) == 300
    assert found.undecided(.01).all() and found.how == "bisect"
    np.testing.assert_allclose(found.mass, 1, atol=1e-6)
    assert found.images.dtype == torch.float32 and found.images.shape == (300, 1, SIDE, SIDE)


def test_memory_is_bounded():
    painter = Painter()
    search_boundary(Linear(), painter, n=2000)
    assert painter.most <= 256


def test_seeds_decide_and_nothing_else_changes():
    model, painter = mlp(4, image_size=SIDE).train(), Painter()
    before, state = fingerprint(model), torch.get_rng_state()
    one, same, other = (search_boundary(model, painter, n=40, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.z, same.z) and not torch.equal(one.z, other.z)
    search_boundary(model, painter, n=10, how="descend")
    assert fingerprint(model) == before and model.training and torch.equal(torch.get_rng_state(), state)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


# ---------------------------------------------------------------------------------------------- classes
def test_p_and_mass_of_a_pair_among_many_classes():
    model = Linear(5, scale=.6)
    found = search_boundary(model, Painter(), (3, 1), n=60)
    probs = model(found.images).softmax(1).detach().numpy()
    np.testing.assert_allclose(found.probs, probs, atol=1e-5)
    np.testing.assert_allclose(found.p, probs[:, 1] / (probs[:, 1] + probs[:, 3]), atol=1e-5)
    np.testing.assert_allclose(found.mass, probs[:, 1] + probs[:, 3], atol=1e-5)
    assert (np.abs(found.p - .5) < .02).all() and found.mass.min() < .9      # the mass does say something here
    leads = found.probs[:, [1, 3]].max(1) >= found.probs.max(1)              # of some images another class is the first
    assert 0 < leads.sum() < 60
    np.testing.assert_array_equal(found.undecided(.02), leads)
    assert (found.class_a == 3).all() and (found.class_b == 1).all()
    ends = [model(Painter()(end)).argmax(1) for end in found.ends.unbind(1)]
    assert (ends[0] == 3).all() and (ends[1] == 1).all()


def test_several_pairs_by_name_and_number():
    samples = images(3).replace(classes=("cat", "dog", "fox"))
    found = search_boundary(Linear(3), Painter(), [("cat", 2), (1, "cat")], n=31, samples=samples)
    assert found.summary()["images"].tolist() == [16, 15]
    assert found.summary().index.tolist() == [("cat", "fox"), ("dog", "cat")]
    assert "cat v fox, dog v cat" in repr(found) and "<table" in found._repr_html_()


def test_without_classes_the_pairs_that_are_confused_most():
    model, samples = Linear(4, scale=.5), images(4)
    found = search_boundary(model, Painter(), n=30, samples=samples)
    probs = model(samples.normalize(samples.x)).softmax(1).detach().numpy()
    mixed = {(a, b): probs[samples.y == a, b].mean() + probs[samples.y == b, a].mean()
             for a in range(4) for b in range(a + 1, 4)}
    pairs = sorted(mixed, key=mixed.get)[::-1][:3]
    assert list(dict.fromkeys(zip(found.class_a, found.class_b, strict=True))) == pairs


def test_several_classifiers_count_by_their_mean_probability():
    models = [Linear(seed=1), Linear(seed=2)]
    found = search_boundary(models, Painter(), n=50)
    p = [model(found.images).softmax(1)[:, 1].detach().numpy() for model in models]
    np.testing.assert_allclose(np.mean(p, 0), .5, atol=.02)
    assert np.abs(p[0] - .5).mean() > .1                                     # neither alone is undecided about them


# ---------------------------------------------------------------------------------------------- descent
def test_descent_for_a_pair_and_for_a_set():
    pair = search_boundary(Linear(scale=1.), Painter(), n=100, how="descend")
    assert pair.undecided(.06).mean() > .95 and pair.ends is None
    group = search_boundary(Linear(4, scale=.5), Painter(), (0, 1, 3), n=60, how="descend")
    assert group.undecided(.1).mean() > .8 and group.group == (0, 1, 3)
    np.testing.assert_allclose(group.mass, group.probs[:, [0, 1, 3]].sum(1), atol=1e-6)
    start = search_boundary(Linear(4, scale=.5), Painter(), (0, 1, 3), n=60,
                            how=functools.partial(SEARCHES["descend"], n_steps=1))
    assert start.undecided(.1).mean() < .3                                   # where it started from


def test_the_length_of_a_latent_is_kept():
    search = functools.partial(search_boundary, Linear(scale=1.), Painter(), n=200)
    wide = {prior: search(how=functools.partial(SEARCHES["descend"], prior=prior)) for prior in (0., 1.)}
    first = search(how=lambda scene, classes, start: start)
    change = {k: (found.z.norm(dim=1) - first.z.norm(dim=1)).abs().mean() for k, found in wide.items()}
    assert change[1.] < .5 * change[0.]


def test_a_discriminator_counts_in_a_descent():
    class Bright(nn.Module):
        def forward(self, x): return 40 * x[:, 0, 0, 0]

    model = Linear(scale=1.)
    with torch.no_grad(): model.weight[:, 0] = 0                             # nothing else draws this pixel
    plain, real = (search_boundary(model, Painter(), n=60, how="descend", discriminator=d) for d in (None, Bright()))
    gain = (real.images - plain.images)[:, 0, 0, 0].mean()
    assert gain > .05 and real.undecided().mean() > .9


def test_a_search_of_ones_own():
    def stay(scene, classes, start): return start

    found = search_boundary(Linear(), Painter(), n=20, how=stay)
    assert found.how == "stay" and not found.undecided().all()
    assert set(SEARCHES) == {"bisect", "descend"}
    with pytest.raises(ValueError, match="choose from"): search_boundary(Linear(), Painter(), how="bisekt")


# ---------------------------------------------------------------------------------------------- generators
def test_a_function_and_a_decoder_of_diffusers_are_generators():
    def function(z): return torch.tanh(z).view(-1, 1, SIDE, SIDE)
    function.z_dim = SIDE * SIDE

    class Sample:
        def __init__(self, sample): self.sample = sample

    def decoder(z): return Sample(function(z))
    decoder.z_dim = SIDE * SIDE
    expected = search_boundary(Linear(), Painter(), n=10).z
    for generator in (function, decoder): assert torch.equal(search_boundary(Linear(), generator, n=10).z, expected)


def test_without_a_generator_an_autoencoder_is_trained():
    rng = np.random.default_rng(0)
    x = np.zeros((200, 1, 8, 8), np.uint8)
    y = np.arange(200) % 2
    x[y == 0, :, :4], x[y == 1, :, 4:] = 200, 200                            # bright above, bright below
    x += rng.integers(0, 40, x.shape).astype(np.uint8)
    samples = Samples(x, y.astype(np.int64), ("above", "below"))
    model = mlp(4, image_size=8)
    with torch.no_grad():
        for p in model.parameters(): p.zero_()
        model[1].weight[0, 32:], model[1].weight[1, :32] = .05, .05
        model[1].bias.fill_(1.6)
        model[3].weight[1, 0], model[3].weight[0, 1] = 3., 3.
    found = search_boundary(model, samples=samples, n=40)
    assert found.undecided().all() and found.generator.z_dim == 32
    again = search_boundary(model, found.generator, samples=samples, n=40)
    torch.testing.assert_close(again.z, found.z)
    reconstructed = found.generator(found.generator.codes[:8]).detach()
    assert ((reconstructed - samples.normalize(x[:8])) ** 2).mean() < .2


# ---------------------------------------------------------------------------------------------- refusals
class Says(nn.Module):
    "Whatever a function says."

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x): return self.function(x)


LINEAR = Linear()
TABLE = from_arrays(np.random.default_rng(0).random((20, 3)), np.arange(20) % 2)


def dark(z): return torch.full((len(z), 1, SIDE, SIDE), -1.)
def bytes_of(z): return 255 * torch.rand(len(z), 1, SIDE, SIDE)
dark.z_dim = bytes_of.z_dim = 4


@pytest.mark.parametrize("arguments, message", [
    ({"model": Says(lambda x: LINEAR(x).softmax(1))}, "gives probabilities"),
    ({"model": Says(lambda x: LINEAR(x) / 0 * 0)}, "NaN or infinity for 16 of 16"),
    ({"model": Says(lambda x: LINEAR(x)[:, :1])}, "expected logits"),
    ({"model": cnn(2, image_size=8)}, "cannot take a batch of shape .* from the generator"),
    ({"model": [Linear(2), Linear(3)]}, "have \\[2, 3\\] classes"),
    ({"classes": (0, 5)}, "no class 5"),
    ({"classes": ("0", "cat")}, "no class 'cat'"),
    ({"classes": (1, 1)}, "two different"),
    ({"model": Linear(3), "classes": None}, "give `samples`"),
    ({"model": Linear(3), "classes": (0, 1, 2)}, "use how='descend'"),
    ({"generator": bytes_of}, "expected \\[-1, 1\\]"),
    ({"samples": images().replace(x=np.zeros((90, 1, 5, 5), np.float32))}, "cannot take|makes images"),
    ({"samples": TABLE}, "is a table"),
    ({"generator": None, "samples": TABLE}, "is a table"),
    ({"generator": None}, "give one, or `samples`"),
    ({"n": 0}, "at least 1"),
    ({"discriminator": Says(lambda x: x), "how": "descend"}, "expected one for each"),
])
def test_what_cannot_work_is_refused(arguments, message):
    usual = {"model": Linear(), "generator": Painter()}
    with pytest.raises(ValueError, match=message): search_boundary(**usual | arguments)


def test_a_generator_without_a_length_is_refused():
    for thing in (lambda z: z, "autoencoder"):
        with pytest.raises(TypeError, match="z_dim"): search_boundary(Linear(), thing)


def test_a_generator_of_one_class_is_refused_with_the_counts():
    model = Says(lambda x: torch.stack([x.sum((1, 2, 3)) * 0, x.sum((1, 2, 3))], 1))
    with pytest.raises(ValueError, match=r"takes for \['1'\]; 4,096 .* taken for \{'0': 4096\}"):
        search_boundary(model, dark, n=10)


def test_logarithms_of_probabilities_are_logits():
    found = search_boundary(Says(lambda x: LINEAR(x).log_softmax(1)), Painter(), n=10)
    np.testing.assert_allclose(found.z, search_boundary(LINEAR, Painter(), n=10).z, atol=1e-3)


def test_nothing_is_trained_for_what_cannot_work(monkeypatch):
    monkeypatch.setattr(latent_search, "_fit_autoencoder", lambda *a, **k: pytest.fail("trained"))
    softmax = Says(lambda x: LINEAR(x).softmax(1))
    for model, classes, message in ((softmax, None, "probabilities"), (LINEAR, (0, 7), "no class"),
                                    (Linear(3), None, "gives .* classes")):
        with pytest.raises(ValueError, match=message): search_boundary(model, None, classes, samples=images())


def test_weights_of_another_architecture_are_refused(tmp_path):
    path = save_model(tmp_path / "a.safetensors", mlp(4, image_size=SIDE))
    with pytest.raises(ValueError, match="do not fit"): load_weights(path, mlp(5, image_size=SIDE))


# ---------------------------------------------------------------------------------------------- the result
def test_a_result_can_be_cut_written_and_drawn(tmp_path):
    found = search_boundary(Linear(3, scale=.5), Painter(), [(0, 1), (1, 2)], n=20)
    part = found.subset(found.mass > np.median(found.mass))
    assert isinstance(part, BoundarySet) and len(part) == 10 == len(part.ends)
    np.testing.assert_allclose(part.p, found.p[found.mass > np.median(found.mass)])
    assert torch.equal(found.subset([3, 1]).z, found.z[[3, 1]])
    pd.testing.assert_frame_equal(pd.read_parquet(found.to_parquet(tmp_path / "b.parquet")), found.frame)
    ax = found.plot(n=6)
    assert [text.get_text() for text in ax.texts][0] == "0|1"
    samples = images(3)
    assert len(generated_samples(found.images, samples)) == 20               # what patterns are found in
    assert found.plot(samples, n=3) is not None


@pytest.mark.parametrize("generator, usual", [(Painter(), "far"), (Straight(), "near")])
def test_straight_ways_are_short_and_no_pair_comes_twice(generator, usual):
    def search(candidates=None):
        def how(scene, classes, ends): return SEARCHES["bisect"](scene, classes, ends)
        how.from_ends = True
        if candidates: how.candidates = candidates
        found = search_boundary(Linear(), generator, n=500, how=how)
        assert found.undecided(.01).all() and len(np.unique(found.ends.flatten(1).numpy(), axis=0)) == 500
        for end in found.ends.unbind(1):                                     # and no end is in all of them
            assert np.unique(end.numpy(), axis=0, return_counts=True)[1].max() < 25
        return float((found.ends[:, 0] - found.ends[:, 1]).norm(dim=1).mean())

    length = {"far": search(1), "near": search(64)}
    assert length["near"] < .8 * length["far"] and search() == length[usual]


def test_a_class_that_is_hardly_made_gives_fewer_images():
    model = Says(lambda x: torch.stack([0 * x.sum((1, 2, 3)), 9 * (x.sum((1, 2, 3)) - 9.5)], 1))
    found = search_boundary(model, Painter(), n=40)
    assert 0 < len(found) <= 40 and found.undecided().all() and len(np.unique(found.z.numpy(), axis=0)) == len(found)


# ---------------------------------------------------------------------------------------------- tables
class Rule(nn.Module):
    "Class 1 where a weighted sum of standardized features is positive."

    def __init__(self, *weights):
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, x): return torch.stack([0 * x[:, 0], 6 * (x @ self.weights)], 1)


def people(n=400, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"income": rng.normal(50, 9, n), "age": rng.integers(20, 70, n), "shoe": rng.normal(40, 3, n),
                          "home": rng.choice(["own", "rent", "other"], n), "repaid": rng.choice(["no", "yes"], n)})
    return from_dataframe(frame, "repaid", name="people")


def test_only_what_the_rule_needs_has_to_move():
    samples = people()
    found = search_rows(Rule(1., .6, 0., 0., 0., 0.), samples, n=80)
    assert len(found) > 60 and set(found.changes["feature"]) <= {"income", "age"}
    assert (found.rows.ids == found.start.ids).all() and (np.abs(found.p - .5) <= .1).all()
    before, after = samples.x[pd.Index(samples.ids).get_indexer(found.start.ids)], found.rows.x
    np.testing.assert_array_equal(before[:, 2:], after[:, 2:])
    assert (before != after).any(1).all()


def test_whole_numbers_and_categories_stay_what_they_are():
    samples = people()
    rule = Rule(.5, .8, .3, 1.2, -.8, 0.)
    found = search_rows(rule, samples, n=100, tau=.3)
    x = found.rows.x
    assert (x[:, 1] == np.rint(x[:, 1])).all() and (found.start.x[:, 1] != x[:, 1]).any()
    assert np.isin(x[:, 3:], (0, 1)).all() and (x[:, 3:].sum(1) == 1).all()
    moved = found.changes[found.changes["feature"] == "home"]
    assert len(moved) and set(moved["after"]) <= {"own", "rent", "other"} and (moved["before"] != moved["after"]).all()


def test_found_rows_are_as_near_to_real_ones_as_real_ones_are():
    samples = people()
    found = search_rows(Rule(1., .6, .3, 0., 0., 0.), samples, n=60)
    real, own = (samples.normalize(x).numpy().astype(np.float64) for x in (samples.x, found.rows.x))
    between = np.sqrt(((real[:, None] - real[None]) ** 2).sum(2)) + np.diag(np.full(len(real), np.inf))
    np.testing.assert_allclose(found.limit, np.quantile(between.min(1), .95), rtol=1e-4)
    near = np.sqrt(((own[:, None] - real[None]) ** 2).sum(2)).min(1)
    assert (near <= found.limit + 1e-4).all()
    np.testing.assert_allclose(found.distance, near, atol=1e-4)


def test_what_lies_in_a_void_is_not_plausible():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-5, .3, (80, 2)), rng.normal(5, .3, (80, 2))]).astype(np.float32)
    samples = from_arrays(x, np.repeat([0, 1], 80), name="two islands")
    with pytest.raises(ValueError, match="none of 20 ways has a plausible undecided row"):
        search_rows(Rule(1., 1.), samples, n=20)
    bridge = np.stack([np.linspace(-5, 5, 40)] * 2, 1) + rng.normal(0, .3, (40, 2))          # a control: now it is
    joined = from_arrays(np.concatenate([x, bridge]), np.r_[samples.y, np.arange(40) // 20], name="joined")
    assert len(search_rows(Rule(1., 1.), joined, n=20)) > 10


def test_rows_by_id_and_pairs_of_many_classes():
    samples = people().replace(ids=np.array([f"p{i}" for i in range(400)]))
    rule = Rule(1., .6, 0., 0., 0., 0.)
    with pytest.raises(ValueError, match="no row to start from"): search_rows(rule, samples, n=20, tau=.5)
    found = search_rows(rule, samples, ids=["p7", "p3"])
    assert set(found.frame.index) <= {"p7", "p3"} and found.tried == 2
    with pytest.raises(ValueError, match="no row with the id 'p999'"): search_rows(rule, samples, ids=["p999"])
    rng = np.random.default_rng(1)
    three = from_arrays(rng.normal(size=(300, 2)), np.arange(300) % 3, classes=("a", "b", "c"))
    model = Says(lambda x: 4 * torch.stack([x[:, 0], x[:, 1], -x.sum(1)], 1))
    found = search_rows(model, three, ("c", "a"), n=40)
    assert set(found.frame["class_a"]) == {"a", "c"} and (found.class_a != found.class_b).all()
    assert (np.abs(found.p - .5) <= .1).all() and found.mass.min() > .5


@pytest.mark.parametrize("arguments, message", [
    ({"samples": images()}, "holds images"),
    ({"model": Says(lambda x: x[:, :2].softmax(1))}, "gives probabilities"),
    ({"model": Says(lambda x: x[:, :2] * torch.nan)}, "NaN or infinity"),
    ({"model": Says(lambda x: torch.tensor([[3., 0.]]).expand(len(x), 2))}, "a boundary needs rows on both sides"),
    ({"model": tabular_mlp(9, 2)}, "cannot take"),
    ({"classes": ("yes", "perhaps")}, "no class 'perhaps'"),
])
def test_what_cannot_work_with_rows_is_refused(arguments, message):
    model = Rule(1., .6, 0., 0., 0., 0.)
    with pytest.raises(ValueError, match=message): search_rows(**{"model": model, "samples": people()} | arguments)


def test_rows_are_the_same_for_the_same_seed(tmp_path):
    one, same, other = (search_rows(Rule(1., .6, .2, 1., 0., 0.), people(), n=30, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one.frame, same.frame)
    assert not one.frame.index.equals(other.frame.index)
    pd.testing.assert_frame_equal(pd.read_parquet(one.to_parquet(tmp_path / "r.parquet")), one.frame)
    assert "rows of 'people'" in repr(one) and "<table" in one._repr_html_()


def test_noise_is_what_generators_are_given():
    seen = []

    def watch(z):
        seen.append(z.clone())
        return torch.tanh(z).view(-1, 1, SIDE, SIDE)
    watch.z_dim = SIDE * SIDE
    search_boundary(Linear(), watch, n=5)
    assert torch.equal(seen[0], draw_noise(16, SIDE * SIDE, 0))
