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
    given = {"instance": (np.arange(samples.n_classes) + 1) % samples.n_classes,
             "borderline": np.random.default_rng(0).random((len(samples), samples.n_classes))}
    extra = {"confusion": given[kind]} if kind in given and prop > .5 else {}  # too few left to fit a model to
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


def test_shares_and_severities_of_one_type_and_seed_are_nested():
    digits = load_samples("digits")
    for kind in ("uniform", "crop_shift", "borderline"):
        flags = inject(digits, kind, .2, seed=4).flags
        assert (inject(digits, kind, .2, seed=4).flags == flags).all()
        assert (inject(digits, kind, .3, seed=4).flags >= flags).all()
        assert (inject(digits, kind, .2, seed=5).flags != flags).any()
    for severity in HARDNESS_TYPES["crop_shift"].severities:
        flags = inject(digits, "crop_shift", .2, seed=4).flags
        assert (inject(digits, "crop_shift", .2, severity, seed=4).flags == flags).all()


def test_each_type_and_seed_flags_samples_of_its_own():
    samples = load_samples("mnist-5k", "all").subset(slice(0, None, 2))
    drawn = [k for k in IMAGE_KINDS if HARDNESS_TYPES[k].chances is None]
    flags = np.stack([inject(samples, k, .2, seed=s).flags for k in drawn for s in (0, 1)])
    overlap = (flags.astype(int) @ flags.T) / (.2 * len(samples))
    pairs = overlap[np.triu_indices(len(flags), 1)]
    assert (np.diag(overlap) == 1).all()
    assert .12 < pairs.min() and pairs.max() < .28  # chance: .2, standard deviation .016
    assert abs(pairs.mean() - .2) < .01


def test_alterations_of_different_types_use_different_random_numbers():
    digits = load_samples("digits")
    gray = digits.replace(x=np.full_like(digits.x, 127))
    made = [inject(gray, kind, .9, .2, seed=3) for kind in ("id_covariate", "ood_covariate")]
    both = made[0].flags & made[1].flags
    a, b = (m.samples.x[both].reshape(both.sum(), -1).astype(float) for m in made)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < .02


@settings(max_examples=15, deadline=None)
@given(shares=st.lists(st.floats(.02, .2), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_mixture_counts(shares, seed):
    samples = load_samples("digits", "test")
    props = dict(zip(["uniform", "crop_shift", "ood_covariate", "zoom_shift"], shares, strict=False))
    made = inject_mixture(samples, props, seed=seed)
    for kind, prop in props.items(): assert (made.kinds == kind).sum() == int(np.floor(prop * len(samples) + .5))
    assert made.flags.sum() == (made.kinds != "").sum()


def test_a_mixture_does_not_depend_on_its_order():
    samples = load_samples("digits")
    props = {"uniform": .1, "ood_covariate": .2, "crop_shift": .15}
    first = inject_mixture(samples, props, seed=7)
    again = inject_mixture(samples, dict(reversed(props.items())), seed=7)
    assert (first.kinds == again.kinds).all() and (first.samples.x == again.samples.x).all()
    assert (first.samples.y == again.samples.y).all()
    alone = {kind: inject(samples, kind, prop, seed=7) for kind, prop in props.items()}
    assert (first.kinds[alone["crop_shift"].flags] == "crop_shift").all()  # first in the alphabet: nobody took any
    for kind, made in alone.items():  # the others: what two types wanted went to one of them
        assert (first.kinds[made.flags] == kind).mean() > .6


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
    ours = ["uniform", "asymmetric", "adjacent", "instance", "borderline", "id_covariate", "ood_covariate",
            "domain_shift", "far_ood", "zoom_shift", "crop_shift", "atypical", "ambiguous"]
    assert list(table.index[:13]) == ours  # the order of tables and grids; what a user registers comes after them
    for name in ours:
        made = HARDNESS_TYPES[name]
        assert (made.severity is None) == (made.alters == "label" and made.chances is None), name
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


def damage(samples, kind, severity, seed=0):
    "How far a type moves what it alters (images: 1 - cosine), or how near to a boundary lies what it chooses."
    made = inject(samples, kind, .2, severity, seed=seed)
    if HARDNESS_TYPES[kind].alters == "label": return -margins(samples)[made.flags].mean()
    before, after = (torch.as_tensor(s.x[made.flags]).double().flatten(1) for s in (samples, made.samples))
    if samples.is_image: return float(1 - torch.cosine_similarity(before, after).mean())
    scale = torch.as_tensor(samples.x).double().std(0).clamp(min=1e-9)
    return float(((after - before) / scale).norm(dim=1).mean())


def margins(samples):
    "Out-of-fold margins of another model than the one that chose."
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit_transform(samples.x.reshape(len(samples), -1).astype(float))
    p = cross_val_predict(LogisticRegression(C=.1, max_iter=1000), x, samples.y, cv=5, method="predict_proba")
    own = p[np.arange(len(p)), samples.y].copy()
    p[np.arange(len(p)), samples.y] = -1
    return own - p.max(1)


@pytest.mark.parametrize(("name", "kind"), [
    (name, kind) for name in ("digits", "mnist-5k", "breast-cancer", "wine") for kind, made in HARDNESS_TYPES.items()
    if made.severity is not None and (made.images if name in ("digits", "mnist-5k") else made.tables)])
def test_damage_grows_with_severity(name, kind):
    samples = load_samples(name, "all")
    samples = samples.subset(slice(0, None, 5)) if name == "mnist-5k" else samples
    levels = [damage(samples, kind, severity) for severity in HARDNESS_TYPES[kind].severities]
    assert levels[0] < levels[1] < levels[2], levels


def test_borderline_chooses_small_margins_and_the_class_they_resemble():
    digits = load_samples("digits")
    margin = margins(digits)
    uniform, made = inject(digits, "instance", .1), inject(digits, "borderline", .1)
    assert np.median(margin[made.flags]) < np.quantile(margin, .2) < np.quantile(margin[uniform.flags], .35)
    other = inject(digits, "borderline", .1, seed=1)
    assert .1 < (made.flags & other.flags).sum() / made.flags.sum() < .8  # seeds differ: a draw, no fixed list


def test_borderline_takes_probabilities_of_ones_own():
    wine, rng = load_samples("wine"), np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), len(wine))
    made = inject(wine, "borderline", .2, 500., confusion=p)
    own = p[np.arange(len(p)), wine.y].copy()
    p[np.arange(len(p)), wine.y] = -1
    smallest = np.argsort(own - p.max(1))[:made.flags.sum() + 3]
    assert np.isin(made.index, smallest).all()  # at this severity hardly any other
    assert (made.samples.y == p.argmax(1))[made.flags].all()
    with pytest.raises(ValueError, match="to choose samples by their margins"):
        inject(wine, "borderline", .2, confusion=[1, 2, 0])


def test_a_type_may_choose_its_samples():
    def chances(samples, rng, severity): return (samples.y == 3).astype(float)

    def darkened(samples, rows, rng, severity): return samples.x[rows] // 2

    made = HARDNESS_TYPES.__class__("example").register("darkened", chances=chances)(darkened)
    digits = load_samples("digits")
    assert (digits.y[inject(digits, made, .05).flags] == 3).all()
    with pytest.raises(ValueError, match="could change"): inject(digits, made, .5)


def test_atypical_rows_can_be_seen():
    from sklearn.metrics import roc_auc_score

    from ambiguity_nb.scores import SCORES, characterize
    from ambiguity_nb.training import Training

    early, tumors = SCORES["grand"]([2]), load_samples("breast-cancer", "all")
    training, seen = Training(n_epochs=20), {None: [], 1: []}
    for features, found in seen.items():
        for seed in (0, 1):
            made = inject(tumors, "atypical", .1, seed=seed, features=features)
            result = characterize("tabular_mlp", made.samples, [early], training, seed=seed, device="cpu")
            found.append(roc_auc_score(made.flags, result.hardness("grand")))
    assert min(seen[None]) > .85 and max(seen[1]) < .75, seen  # a third of the columns; one column hides among thirty


def test_atypical_takes_columns_by_name_position_or_number():
    wine = load_samples("wine", "all")

    def moved(features):
        made = inject(wine, "atypical", .2, features=features)
        return np.flatnonzero((made.samples.x != wine.x).any(0)).tolist()

    assert moved([2, wine.features[5]]) == [2, 5]
    assert len(moved(3)) == 3 and set(moved(1)) < set(moved(3)) < set(moved(None)) and len(moved(None)) == 13 // 3
    for wrong in (0, 14, [], ["nothing"], [13]):
        with pytest.raises(ValueError, match="or how many of them, 1..13"): inject(wine, "atypical", .2, features=wrong)
