"""The Fréchet distance against independent routes, and the Inception network against torch-fidelity's own."""
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import torch

from ambiguity_nb.fid import (FEATURE_SPACES, Statistics, as_features, bootstrap_frechet, frechet_distance,
                              gaussian_frechet)
from ambiguity_nb.generator_measures import (_collapse, balance_and_mass, density_coverage, frechet_ambiguous,
                                             is_ambiguous)


def sets(n, dims, seed=0):
    "Two sets of correlated, skewed features such as a network gives."
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((dims, dims)) / np.sqrt(dims)
    return [np.maximum(rng.standard_normal((n, dims)) @ mix + shift, 0) for shift in (0., .3)]


def by_sqrtm(a, b):
    "The usual route: the square root of the unsymmetric product."
    s1, s2 = np.cov(a.T), np.cov(b.T)
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1 + s2) - 2 * np.trace(scipy.linalg.sqrtm(s1 @ s2).real)


def by_eigenvalues(a, b):
    "What torchmetrics does: eigenvalues of the unsymmetric product."
    s1, s2 = (torch.from_numpy(np.cov(x.T)) for x in (a, b))
    cross = torch.linalg.eigvals(s1 @ s2).sqrt().real.sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + s1.trace() + s2.trace() - 2 * cross)


def ours(a, b):
    return frechet_distance(Statistics.of(a), Statistics.of(b), warn=False)


@pytest.mark.parametrize("n, dims", [(2000, 16), (2000, 128), (700, 256)])
def test_agrees_with_other_routes(n, dims):
    a, b = sets(n, dims)
    assert ours(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-3)
    assert ours(a, b) == pytest.approx(by_eigenvalues(a, b), rel=1e-3)


def test_agrees_with_torchmetrics():
    frechet = pytest.importorskip("torchmetrics.image.fid")
    a, b = sets(800, 32)
    stats = [torch.from_numpy(x) for s in (a, b) for x in (s.mean(0), np.cov(s.T))]
    assert ours(a, b) == pytest.approx(float(frechet._compute_fid(*stats)), rel=1e-3)


def test_few_samples_are_well_conditioned():
    "Both sets lie in subspaces of rank 39; there the cross term is a nuclear norm, which an SVD gives exactly."
    a, b = sets(40, 200)
    factors = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    exact = (((a.mean(0) - b.mean(0)) ** 2).sum() + sum((f ** 2).sum() for f in factors)
             - 2 * np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum())
    assert ours(a, b) == pytest.approx(exact, rel=1e-6)
    assert abs(ours(a, b) - exact) <= abs(by_sqrtm(a, b) - exact) + 1e-6


def test_orthogonal_subspaces_have_no_cross_term():
    cov1, cov2 = np.diag([1., 2., 0., 0.]), np.diag([0., 0., 3., 4.])
    assert gaussian_frechet(np.zeros(4), cov1, np.zeros(4), cov2) == pytest.approx(10)


def test_subset_uses_its_own_rows_only():
    a, b = sets(300, 8)
    buffer = np.concatenate([a, np.full((500, 8), 1e6)])
    assert ours(buffer[:300], b) == ours(a, b)


def test_bootstrap_interval_covers():
    inside = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((200, 3)), rng.standard_normal((200, 3)) + 1
        _, low, high = bootstrap_frechet(a, b, n_resamples=60, seed=seed)
        inside += low <= 3 <= high
    assert inside >= 16


@pytest.mark.parametrize("shrinkage", [None, "ledoit-wolf"])
def test_an_interval_is_never_below_zero(shrinkage):
    "Of a set beside itself all draws lie above the distance, and the corrected bounds would be negative."
    a = np.random.default_rng(0).standard_normal((60, 4))
    distance, low, high = bootstrap_frechet(a, a, n_resamples=30, shrinkage=shrinkage)
    assert distance < 1e-9 and low == high == 0
    distance, low, high = bootstrap_frechet(a, a + 3, n_resamples=30, shrinkage=shrinkage)           # a control
    assert 0 < low < distance < 40 and high > low


def test_features_of_images_too_small_for_a_lenet(tmp_path):
    "Digits of 8 by 8 pixels have features of their own, kept and found as those of larger ones."
    from ambiguity_nb.fid import dataset_features
    from ambiguity_nb.sources import load_samples

    digits = load_samples("digits")
    one, again = (dataset_features(digits, n_epochs=3, folder=tmp_path) for _ in range(2))
    zeros, ones = (digits.subset(digits.y == k) for k in (0, 1))
    assert one.name == again.name and one.name.startswith("mlp-digits") and one.of(zeros).shape[1] == 84
    near, far = (frechet_distance(one.statistics(zeros.subset(slice(0, None, 2)), shrinkage="ledoit-wolf"),
                                  one.statistics(other, shrinkage="ledoit-wolf"), warn=False)
                 for other in (zeros.subset(slice(1, None, 2)), ones))
    assert far > 5 * near


def shrunk(x):
    "Mean and Ledoit-Wolf covariance as scikit-learn has it, of the unbiased sample covariance."
    from sklearn.covariance import ledoit_wolf

    cov, weight = np.cov(x.T), ledoit_wolf(x)[1]
    return x.mean(0), (1 - weight) * cov + weight * np.trace(cov) / len(cov) * np.eye(len(cov))


@pytest.mark.parametrize("n, dims, classes", [(60, 12, None), (60, 50, None), (500, 12, None), (60, 12, (0, 2))])
def test_ambiguous_images_are_compared_with_the_nearest_real_ones(n, dims, classes):
    "In plain numpy, scipy and scikit-learn: who is nearest, how many on each side, and shrinkage below 2 dims."
    rng = np.random.default_rng(n)
    made, real = rng.standard_normal((n, dims)) + .3, 2 * rng.standard_normal((4000, dims))
    probs = rng.dirichlet(np.ones(3), 4000) if classes else rng.random(4000)
    far = -np.log(probs[:, 0]) - np.log(probs[:, 2]) if classes else np.abs(probs - .5)   # KL from (1/2, 0, 1/2)
    m = min(n, 300)
    near, taken = real[far.argsort()[:m]], made[np.sort(np.random.default_rng(5).permutation(n)[:m])]
    (m1, s1), (m2, s2) = ((shrunk(x) if m < 2 * dims else (x.mean(0), np.cov(x.T))) for x in (taken, near))
    by_hand = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)
    assert frechet_ambiguous(made, real, probs, classes, seed=5)[0] == pytest.approx(by_hand, rel=1e-6)
    distance, low, high = frechet_ambiguous(made, real, probs, classes, n_resamples=20, seed=5)
    assert distance == pytest.approx(by_hand, rel=1e-6) and 0 <= low < high


def test_the_right_real_images_change_the_ranking():
    "Real images are two clear clouds with a few between; images between beat clear ones only beside the right ones."
    rng = np.random.default_rng(0)
    position = np.r_[rng.choice([-4., 4.], 3600), np.zeros(400)]
    real = rng.standard_normal((4000, 5)) + position[:, None] * np.eye(5)[0]
    p = 1 / (1 + np.exp(-2 * real[:, 0]))
    between, clear = rng.standard_normal((300, 5)), real[:300].copy()
    assert ours(between, real) > 10 * ours(clear, real)
    assert frechet_ambiguous(between, real, p)[0] < frechet_ambiguous(clear, real, p)[0] / 10


def test_ambiguous_between_classes_in_plain_numpy():
    "A pair by its ratio, the two most probable by theirs, a set by its divergence; the answer is one of the classes."
    probs = np.random.default_rng(1).dirichlet(np.full(6, .7), 5000)
    for tau in (.05, .1, .2):
        pair = probs[:, [4, 1]]
        by_hand = (np.abs(pair[:, 0] / pair.sum(1) - .5) <= tau) & (pair.max(1) == probs.max(1))
        assert (is_ambiguous(probs, tau, (4, 1)) == by_hand).all() and by_hand.any()
        two = np.sort(probs, 1)[:, -2:]
        assert (is_ambiguous(probs, tau) == (two[:, 0] / two.sum(1) >= .5 - tau)).all()
        three = probs[:, [0, 2, 5]] / probs[:, [0, 2, 5]].sum(1, keepdims=True)
        limit = -.5 * np.log((.5 - tau) / .5) - .5 * np.log((.5 + tau) / .5)         # of (.5 - tau, .5 + tau)
        by_hand = ((-np.log(3) - np.log(three).mean(1) <= limit)
                   & (probs[:, [0, 2, 5]].max(1) == probs.max(1)))
        assert (is_ambiguous(probs, tau, (0, 2, 5)) == by_hand).all() and by_hand.any()
    leaked = np.array([[.3, .3, .3, .1]])                                # mass is reported, and decides nothing
    assert is_ambiguous(leaked, .1, (0, 1, 2)).all() and balance_and_mass(leaked, (0, 1, 2))[1] > .1


def test_collapse_is_said_and_what_is_varied_is_not():
    "One image, few images, one image with noise; not the real ones, half as wide a set, or a plane within them."
    rng = np.random.default_rng(0)
    real = rng.standard_normal((800, 20))
    one, few = np.repeat(real[:1], 500, 0), np.tile(real[:4], (125, 1))
    noise = rng.standard_normal(one.shape)
    for collapsed in (one, few, one + 1e-3 * noise, one + .05 * noise):
        assert "mean nothing" in _collapse(collapsed, real)
    plane = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 20))
    for varied in (real[::2], .5 * real[:300], plane, real[:5], real[:2]): assert _collapse(varied, real[300:]) is None
    assert density_coverage(one, real)[1] < .1 and "collapsed" in _collapse(real, real, density_coverage(one, real)[1])


def test_inception_equals_torch_fidelity(tmp_path):
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    from ambiguity_nb.inception import _FidInception, inception_features

    torch.manual_seed(0)
    net = _FidInception().net
    for name, value in net.state_dict().items():  # weights that let the signal through, borders and statistics included
        if name.endswith("conv.weight"): torch.nn.init.kaiming_normal_(value)
        elif name.endswith("bn.running_mean"): value.normal_(0, .2)
        elif name.endswith("bn.running_var"): value.uniform_(.5, 1.5)
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    space = inception_features(path, checksum=hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    theirs = fidelity.FeatureExtractorInceptionV3("inception-v3", ["2048"], feature_extractor_weights_path=str(path))
    pixels = torch.randint(0, 256, (3, 3, 28, 30), dtype=torch.uint8)
    with torch.no_grad(): want, = theirs(pixels)
    got = space(pixels.float() / 127.5 - 1)
    assert want.std() > 1e-3
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4 * float(want.abs().max()))


def test_import_is_light():
    heavy = "{'scipy.linalg', 'torchvision.models', 'sklearn'}"
    code = f"import sys, ambiguity_nb.fid; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_feature_spaces_by_name(tmp_path, monkeypatch):
    assert {"classifier", "dataset", "inception"} <= set(FEATURE_SPACES)
    assert all(isinstance(space.needs, tuple) for space in FEATURE_SPACES.values())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMBIGUITY_NB_INCEPTION", str(tmp_path / "none.pth"))
    (tmp_path / "my_features.py").write_text("def rows(x): return x.mean((1, 3))\n")
    assert as_features("my_features:rows")(torch.zeros(2, 1, 5, 4)).shape == (2, 5)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"): as_features("inception")
