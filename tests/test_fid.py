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
