"""Injection over many shapes, classes and shares (Hypothesis): exact flags, ranges, seeds, no label that stays, inputs
untouched."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ambiguity_nb.data import Samples
from ambiguity_nb.hardness_types import HARDNESS_TYPES, inject, inject_mixture, known_hardness
from ambiguity_nb.sources import load_samples

IMAGE_KINDS = [k for k, t in HARDNESS_TYPES.items() if t.images]
TABLE_KINDS = [k for k, t in HARDNESS_TYPES.items() if t.tables]
LABEL_KINDS = [k for k, t in HARDNESS_TYPES.items() if t.alters == "label"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    "Thousands of tiny tensors: threads only get in each other's way."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@st.composite
def images(draw):
    n, k = draw(st.integers(12, 60)), draw(st.integers(2, 6))
    channels, height, width = draw(st.sampled_from([1, 3])), draw(st.integers(6, 20)), draw(st.integers(6, 20))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    y = rng.permutation(np.arange(n) % k)
    x = rng.random((n, channels, height, width), np.float32) * .4 + (y / k * .6)[:, None, None, None].astype(np.float32)
    if draw(st.booleans()): x = np.rint(x * 255).astype(np.uint8)
    return Samples(x, y.astype(np.int64), tuple("abcdef"[:k]), "images")


@st.composite
def tables(draw):
    n, k, width = draw(st.integers(12, 80)), draw(st.integers(2, 5)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    y = rng.permutation(np.arange(n) % k)
    x = (rng.standard_normal((n, width)) + 3 * y[:, None]).astype(np.float32)
    if width > 1 and draw(st.booleans()): x[:, -1] = 7  # a column that says nothing
    return Samples(x, y.astype(np.int64), tuple("abcde"[:k]), "table")


def check(samples, kind, prop, seed):
    before = samples.x.copy(), samples.y.copy()
    n = int(np.floor(prop * len(samples) + .5))
    if n == 0:
        with pytest.raises(ValueError, match="is none"): inject(samples, kind, prop, seed=seed)
        return
    crowded = kind == "instance" and prop > .5
    extra = {"confusion": (np.arange(samples.n_classes) + 1) % samples.n_classes} if crowded else {}
    try:
        made = inject(samples, kind, prop, seed=seed, **extra)
    except ValueError as error:  # mixtures need a model that gets both ends right; tiny random data has few such pairs
        assert kind == "ambiguous" and "could change" in str(error)
        return
    differs = (made.samples.x != samples.x).reshape(len(samples), -1).any(1) | (made.samples.y != samples.y)
    assert (made.flags == differs).all()
    assert made.flags.sum() == n
    assert ((made.kinds == kind) == made.flags).all()
    assert (samples.x == before[0]).all() and (samples.y == before[1]).all() and made.original is samples
    assert (made.true_y == samples.y).all()
    assert made.samples.x.dtype == samples.x.dtype and made.samples.x.shape == samples.x.shape
    assert (made.samples.ids == samples.ids).all()
    if HARDNESS_TYPES[kind].alters == "label":
        assert (made.samples.y[made.flags] != samples.y[made.flags]).all()
        assert made.samples.y.min() >= 0 and made.samples.y.max() < samples.n_classes
        assert made.samples.x is samples.x
    else:
        assert (made.samples.y == samples.y).all()
        if not samples.is_image and kind != "far_ood":
            assert (made.samples.x >= samples.x.min(0)).all() and (made.samples.x <= samples.x.max(0)).all()
    again = inject(samples, kind, prop, seed=seed, **extra)
    assert (again.samples.x == made.samples.x).all() and (again.samples.y == made.samples.y).all()


@pytest.mark.parametrize("kind", IMAGE_KINDS)
@settings(max_examples=12, deadline=None)
@given(samples=images(), prop=st.floats(.01, .9), seed=st.integers(0, 9))
def test_images(kind, samples, prop, seed): check(samples, kind, prop, seed)


@pytest.mark.parametrize("kind", TABLE_KINDS)
@settings(max_examples=12, deadline=None)
@given(samples=tables(), prop=st.floats(.01, .9), seed=st.integers(0, 9))
def test_tables(kind, samples, prop, seed): check(samples, kind, prop, seed)


@pytest.mark.parametrize("kind", ["uniform", "asymmetric", "adjacent"])
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 6), k=st.integers(2, 20), prop=st.floats(.01, .99), seed=st.integers(0, 5))
def test_tiny_label_noise(kind, n, k, prop, seed):
    samples = Samples(np.zeros((n, 2), np.float32), np.arange(n) % k, tuple(map(str, range(k))))
    wanted = int(np.floor(prop * n + .5))
    if wanted == 0:
        with pytest.raises(ValueError, match="is none"): inject(samples, kind, prop, seed=seed)
        return
    made = inject(samples, kind, prop, seed=seed)
    assert (made.samples.y != samples.y).sum() == wanted
    if kind == "adjacent": assert np.isin((made.samples.y - samples.y)[made.flags] % k, [1, k - 1]).all()


@pytest.mark.parametrize("prop", [0, 1, -1, 1.5, float("nan"), True])
def test_refused_shares(prop):
    digits = load_samples("digits")
    with pytest.raises(ValueError, match="expected a share between 0 and 1"): inject(digits, "uniform", prop)


def test_refused_arguments():
    digits = load_samples("digits")
    with pytest.raises(ValueError, match="choose from"): inject(digits, "nonsense")
    with pytest.raises(ValueError, match="for images choose from"): inject(digits, "atypical")
    with pytest.raises(ValueError, match="for tables choose from"): inject(load_samples("wine"), "zoom_shift")
    with pytest.raises(ValueError, match="at most 1"): inject(digits, "far_ood", severity=2)
    with pytest.raises(ValueError, match="takes no `features`"): inject(digits, "uniform", features=["a"])
    alone = digits.replace(y=digits.y * 0, classes=("only",))
    with pytest.raises(ValueError, match="at least 2 classes"): inject(alone, "uniform")
    with pytest.raises(ValueError, match="two classes"): inject(digits.replace(y=digits.y * 0), "instance")
    with pytest.raises(ValueError, match="sum to 1"): inject_mixture(digits, {"uniform": .5, "zoom_shift": .5})
    with pytest.raises(ValueError, match="expected one or more"): inject_mixture(digits, {})


def test_same_seed_flags_the_same_samples_and_shares_are_nested():
    digits = load_samples("digits")
    flags = {k: inject(digits, k, .2, seed=4).flags for k in ("uniform", "crop_shift", "ood_covariate", "far_ood")}
    for other in flags.values(): assert (other == flags["uniform"]).all()
    assert (inject(digits, "uniform", .3, seed=4).flags >= flags["uniform"]).all()
    assert (inject(digits, "uniform", .2, seed=5).flags != flags["uniform"]).any()


@settings(max_examples=15, deadline=None)
@given(shares=st.lists(st.floats(.02, .2), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_mixture_counts(shares, seed):
    samples = load_samples("digits", "test")
    props = dict(zip(["uniform", "crop_shift", "ood_covariate", "zoom_shift"], shares, strict=False))
    made = inject_mixture(samples, props, seed=seed)
    for kind, prop in props.items(): assert (made.kinds == kind).sum() == int(np.floor(prop * len(samples) + .5))
    assert made.flags.sum() == (made.kinds != "").sum()


def test_mixture_of_one_equals_inject():
    samples = load_samples("digits")
    mixture, one = inject_mixture(samples, {"adjacent": .1}, seed=2), inject(samples, "adjacent", .1, seed=2)
    assert (mixture.samples.y == one.samples.y).all()


def test_far_ood_from_another_data_set_has_the_same_range():
    digits, color = load_samples("digits"), np.random.default_rng(0).random((3, 3, 40, 30)).astype(np.float32)
    made = inject(digits, "far_ood", .1, source=color)  # fewer than needed: drawn again and again
    assert made.samples.x.dtype == np.uint8 and made.samples.x.shape == digits.x.shape
    rows, wine = np.zeros((3, 64), np.float32), load_samples("wine")
    with pytest.raises(ValueError, match="expected images"): inject(digits, "far_ood", .1, source=rows)
    with pytest.raises(ValueError, match=r"rows \[M, 13\]"): inject(wine, "far_ood", .1, source=rows[:, :4])


def test_ambiguous_source_goes_to_its_classes_only():
    digits = load_samples("digits")
    source = np.full((5, 1, 8, 8), 77, np.uint8)
    made = inject(digits, "ambiguous", .1, source=source, source_classes=("3", 5))
    assert np.isin(digits.y[made.flags], [3, 5]).all() and (made.samples.x[made.flags] == 77).all()
    with pytest.raises(ValueError, match="could change"):
        inject(digits, "ambiguous", .5, source=source, source_classes=(3, 5))
    with pytest.raises(ValueError, match="no class 'x'"):
        inject(digits, "ambiguous", .1, source=source, source_classes=("x", 5))


def test_the_model_is_left_as_it_was():
    digits = load_samples("digits")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.BatchNorm2d(1), torch.nn.Flatten(), torch.nn.Dropout(.5), torch.nn.Linear(64, 10))
    model[2].eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    numpy_random = np.random.get_state()[1].copy()  # noqa: NPY002
    try: inject(digits, "ambiguous", .01, model=model)
    except ValueError as error: assert "could change" in str(error)
    assert [m.training for m in model.modules()] == [True, True, True, False, True]
    for k, v in model.state_dict().items(): assert torch.equal(v, state[k])
    assert torch.equal(torch.get_rng_state(), random)
    assert (np.random.get_state()[1] == numpy_random).all()  # noqa: NPY002


def test_memory_mapped_samples(tmp_path):
    digits = load_samples("digits")
    np.save(tmp_path / "x.npy", digits.x)
    mapped = digits.replace(x=np.load(tmp_path / "x.npy", mmap_mode="r"))
    made = inject(mapped, "crop_shift", .1)
    assert (made.samples.x == inject(digits, "crop_shift", .1).samples.x).all()
    assert (np.load(tmp_path / "x.npy") == digits.x).all()


def test_known_hardness():
    digits = load_samples("digits")
    true_y = digits.y.copy()
    true_y[:7] = (true_y[:7] + 1) % 10
    assert known_hardness(digits, true_y=true_y).index.tolist() == list(range(7))
    flags = np.arange(len(digits)) < 5
    assert known_hardness(digits, flags).true_y is None
    with pytest.raises(ValueError, match="labels go from"): known_hardness(digits, true_y=true_y + 10)


def test_registry_is_complete():
    table = HARDNESS_TYPES.frame()
    assert set(table["group"]) >= {"mislabeled", "near OoD", "far OoD", "atypical", "ambiguous"}
    ours = ["uniform", "asymmetric", "adjacent", "instance", "id_covariate", "ood_covariate", "domain_shift", "far_ood",
            "zoom_shift", "crop_shift", "atypical", "ambiguous"]
    assert list(table.index[:12]) == ours  # the order of tables and grids; what a user registers comes after them
    for name in ours:
        made = HARDNESS_TYPES[name]
        assert (made.severity is None) == (made.alters == "label"), name
        if made.severity is not None: assert made.severity in made.severities and len(made.severities) == 3


OWN = """
from ambiguity_nb.hardness_types import HARDNESS_TYPES

@HARDNESS_TYPES.register("inverted", group="atypical", tables=False)
def inverted(samples, rows, rng, severity, top=255): return top - samples.x[rows]

def plain(samples, rows, rng, severity): return samples.x[rows] // 2
"""


def test_a_type_of_ones_own_goes_by_address_name_or_itself(tmp_path, monkeypatch):
    (tmp_path / "own_types.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HARDNESS_TYPES, "_things", dict(HARDNESS_TYPES))
    digits = load_samples("digits")
    by_address = inject(digits, "own_types:inverted", .1, top=255)
    from own_types import inverted

    for wanted in ("inverted", inverted):
        made = inject(digits, wanted, .1)
        assert (made.samples.x == by_address.samples.x).all() and set(made.kinds) == {"", "inverted"}
    assert set(by_address.kinds) == {"", "own_types:inverted"}
    assert "inverted" in HARDNESS_TYPES.frame(digits).index
    assert "inverted" not in HARDNESS_TYPES.frame(load_samples("wine")).index
    assert inject(digits, "own_types:plain", .1).flags.sum() == round(.1 * len(digits))  # not registered: default facts
    with pytest.raises(ValueError, match="has no severity"): inject(digits, inverted, severity=1.)
    with pytest.raises(ValueError, match="was not found"): inject(digits, "own_types:nothing")
