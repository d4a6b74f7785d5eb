"""GASTeN: kills, frozen classifiers, gradients that are not computed, and failures that keep what was good."""
import json
import multiprocessing
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ambiguity_nb.core import load_state, save_state
from ambiguity_nb.fid import fingerprint
from ambiguity_nb.gasten import (CONFUSIONS, GAN_LOSSES, Confusion, Gan, Nets, gan_step, generate_ambiguous,
                                 load_epoch, _min_norm_weights, saved_epochs, train_gan, train_gasten)
from ambiguity_nb.gasten_grid import GastenGrid, gasten_grid
from ambiguity_nb.generator_measures import GanMeasures, draw_noise, generate, mean_log_probs, predict_probs
from ambiguity_nb.models import cnn
from ambiguity_nb.networks import build_discriminator, build_generator, load_generator
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Log, Training, fit

NONE = {"measures": lambda generator: {}}  # the default ones make 2,048 images
SMALL = {"filters": 8, "z_dim": 16, "batch_size": 32, "shift": 1, "ema": .9}
SHORT = Gan(n_epochs=1, **SMALL)
STEP2 = Gan(batch_size=32)


def both_steps(folder, told):
    "A run of both steps in a process of its own; tells each epoch."
    torch.set_num_threads(1)
    samples = load_samples("mnist-5k", "all").binary(5, 3).subset(range(0, 966, 8))
    gan, tell = Gan(n_epochs=4, **SMALL), {"hooks": [Log(lambda record: told.send(record["epoch"]))]}
    start = train_gan(samples, gan, folder=folder / "1", **tell)
    model = cnn(2)
    measures = GanMeasures(model, samples, n=64)
    train_gasten(model, samples, start, Confusion(n_epochs=4), gan, folder=folder / "2", measures=measures, **tell)


def started(folder):
    "The process of a run and the epochs it tells; forked from one that has imported all there is to import."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ambiguity_nb.gasten", "ambiguity_nb.sources", "torch._dynamo", "pytest"])
    told, teller = context.Pipe(duplex=False)
    process = context.Process(target=both_steps, args=(folder, teller))
    process.start()
    teller.close()
    return process, told


@pytest.fixture(scope="module")
def samples():
    return load_samples("mnist-5k", "all").binary(5, 3).subset(range(0, 966, 8))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    "SIGKILL in step 1, and in step 2 after going on; then once more to the end."
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    epochs = []
    for wait_for, delay in ((2, .01), (4, .02)):
        process, told = started(killed)
        epochs.append([told.recv() for _ in range(wait_for)])
        time.sleep(delay)
        process.kill()
        process.join()
        assert process.exitcode == -9
    assert epochs[0] == [1, 2] and len(epochs[1]) == 4
    for folder in (whole, killed):
        process, _ = started(folder)
        process.join()
        assert process.exitcode == 0
    for step in "12":
        a, b = (load_epoch(folder / step) for folder in (whole, killed))
        assert equal(a.nets.generator, b.nets.generator) and equal(a.nets.discriminator, b.nets.discriminator)
        assert equal(a.generator, b.generator)
        assert a.frame.drop(columns="seconds").equals(b.frame.drop(columns="seconds"))
        assert [h.get("histogram") for h in a.history] == [h.get("histogram") for h in b.history]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("architecture", ["dcgan", "resnet"])
def test_any_image_size(shape, architecture):
    from ambiguity_nb.data import from_arrays

    rng = np.random.default_rng(0)
    images = from_arrays(rng.integers(0, 256, (16, *shape), dtype=np.uint8), np.arange(16) % 2)
    model = cnn(2, in_channels=shape[0], image_size=shape[1])
    gan = Gan(n_epochs=1, architecture=architecture, filters=4, z_dim=8, batch_size=8)
    run = train_gasten(model, images, train_gan(images, gan), Confusion(n_epochs=1), gan, **NONE)
    assert generate_ambiguous(run.generator, model, n=20, tau=.5).images.shape == (20, *shape)


class Moody(nn.Module):
    "A classifier with dropout and batch statistics, which training mode would change."
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 5, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(.5), nn.Flatten(),
                                 nn.Linear(4 * 12 * 12, 2))

    def forward(self, x): return self.net(x)


def test_classifier_and_random_state_are_left_alone(samples):
    torch.manual_seed(7)
    classifier = Moody()
    classifier.net[1].eval()
    modes, before = [m.training for m in classifier.modules()], fingerprint(classifier)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    start, measures = train_gan(samples, SHORT), GanMeasures(classifier, samples, n=32, neighbors=True)
    runs = [train_gasten(classifier, samples, start, Confusion(n_epochs=1, alpha=alpha), STEP2, measures=measures)
            for alpha in (25., "mgda")]
    generate_ambiguous(runs[0].generator, classifier, n=10, tau=.5)
    assert fingerprint(classifier) == before and [m.training for m in classifier.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in classifier.parameters())
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_a_classifier_that_changes_is_noticed(samples):
    classifier = cnn(2)

    def spoil(record):
        with torch.no_grad(): classifier[-1].bias.add_(1)

    start = train_gan(samples, SHORT)
    with pytest.raises(RuntimeError, match="changed while the GAN trained"):
        train_gasten(classifier, samples, start, Confusion(n_epochs=1), STEP2, hooks=[Log(spoil)], **NONE)


def test_a_classifier_that_gives_no_logits_is_refused(samples, tmp_path):
    "Before anything is trained: NaN, and probabilities, which say doubt about everything."
    broken, start = cnn(2), train_gan(samples, SHORT)
    with torch.no_grad(): broken[-1].bias.add_(float("nan"))
    softmax = nn.Sequential(cnn(2), nn.Softmax(1))
    for model, said in ((broken, "NaN or infinity"), (softmax, "gives probabilities")):
        with pytest.raises(ValueError, match=said): train_gasten(model, samples, start, folder=tmp_path / "2")
        with pytest.raises(ValueError, match=said): GanMeasures(model, samples)
    assert not (tmp_path / "2").exists()


def test_a_generator_of_one_class_is_said(samples):
    "Of a classifier that calls everything a five; not of one that has seen both."
    import warnings

    one = cnn(2)
    with torch.no_grad(): one[-1].bias.add_(torch.tensor([0., 1e3]))
    start = train_gan(samples, SHORT)
    with pytest.warns(UserWarning, match=r"takes {'5': 512}, and none for \['3'\]"):
        train_gasten(one, samples, start, Confusion(n_epochs=1), STEP2, **NONE)
    with torch.no_grad(): one[-1].bias.add_(torch.tensor([0., -1e3]))
    spread = predict_probs(one, generate(start.generator, 512))[:, 1]
    with torch.no_grad(): one[-1].bias.add_(torch.tensor([0., -float(np.median(np.log(spread / (1 - spread))))]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_gasten(one, samples, start, Confusion(n_epochs=1), STEP2, **NONE)


def test_step_2_from_untrained_networks(samples, tmp_path):
    "The paper's ablation: epoch 0 of step 1, by run and by folder; a later step 1 in that folder is not changed by it."
    gan = Gan(n_epochs=0, **SMALL)
    run = train_gan(samples, gan, seed=2, folder=tmp_path / "1")
    assert run.epoch == 0 and saved_epochs(tmp_path / "1") == [0] and len(run.frame) == 0
    two = [train_gasten(cnn(2), samples, start, Confusion(1), STEP2, **NONE) for start in (run, tmp_path / "1")]
    assert equal(two[0].generator, two[1].generator)
    fresh = build_generator(shape=samples.shape, filters=8, z_dim=16, seed=2)
    assert equal(run.nets.generator, fresh)
    later = train_gan(samples, Gan(n_epochs=1, **SMALL), seed=2, folder=tmp_path / "1")
    assert equal(later.generator, train_gan(samples, Gan(n_epochs=1, **SMALL), seed=2).generator)


def test_the_penalty_has_a_weight_and_networks_have_widths(samples):
    "The discriminator's loss minus that without a penalty is the weight times the penalty, computed here by hand."
    real, z, share = torch.rand(8, 1, 28, 28) * 2 - 1, draw_noise(8, 8), torch.rand(8)

    def nets():
        shape = {"shape": (1, 28, 28), "filters": 4}
        return Nets(build_generator(z_dim=8, **shape), build_discriminator(norm="layer", **shape))

    found = {w: gan_step(nets(), real, z, "wgan-gp", share=share, penalty=w)["d_loss"].item() for w in (0., 2., None)}
    G, D = nets().generator, nets().discriminator
    with torch.no_grad(): fake = G(z)
    points = (share[:, None, None, None] * real + (1 - share[:, None, None, None]) * fake).requires_grad_()
    slope, = torch.autograd.grad(D(points).sum(), points)
    by_hand = float(((slope.flatten(1).norm(dim=1) - 1) ** 2).mean())
    assert found[2.] - found[0.] == pytest.approx(2 * by_hand, rel=1e-3)
    assert found[None] - found[0.] == pytest.approx(10 * by_hand, rel=1e-3)
    wide = train_gan(samples, Gan(n_epochs=0, filters=[6, 10])).nets
    assert (wide.generator.config["filters"], wide.discriminator.config["filters"]) == (6, 10)
    strict, loose = (train_gan(samples, Gan(n_epochs=1, norm="layer", loss="wgan-gp", n_critic=1, penalty=p,
                                            **SMALL | {"ema": 0.})) for p in (10., 0.))
    usual = train_gan(samples, Gan(n_epochs=1, norm="layer", loss="wgan-gp", n_critic=1, **SMALL | {"ema": 0.}))
    assert equal(strict.generator, usual.generator) and not equal(loose.generator, usual.generator)


def test_step_1_is_not_changed_by_step_2(samples):
    start = train_gan(samples, SHORT)
    before = fingerprint(start.nets.generator), fingerprint(start.nets.discriminator)
    train_gasten(cnn(2), samples, start, Confusion(n_epochs=1), STEP2, **NONE)
    assert (fingerprint(start.nets.generator), fingerprint(start.nets.discriminator)) == before


def test_same_seed_same_result(samples):
    a, b, c = (train_gan(samples, Gan(n_epochs=2, **SMALL), seed=seed) for seed in (1, 1, 2))
    assert equal(a.generator, b.generator) and not equal(a.generator, c.generator)


def small_nets():
    shape = {"shape": (1, 28, 28), "filters": 4}
    return Nets(build_generator(z_dim=8, **shape), build_discriminator(**shape))


def abs_of(classifier):
    "The paper's confusion loss of a classifier, as `gan_step` takes it."
    return lambda images: CONFUSIONS["abs"](mean_log_probs([classifier], images)).mean()


def test_no_weight_gradients_of_discriminator_or_classifier():
    "Convolutions differentiated in a step: the discriminator's update needs 2 x 3 weights, the generator's its own 3."
    nets = small_nets()
    classifier = cnn(2).eval()
    real, z = torch.rand(8, 1, 28, 28) * 2 - 1, draw_noise(8, 8)
    with_weights = []
    original = torch.ops.aten.convolution_backward

    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func._overloadpacket is original: with_weights.append(bool(args[-1][1]))
            return func(*args, **(kwargs or {}))

    with Watch():
        gan_step(nets, real, z, confusion=abs_of(classifier), alpha=25.)
    assert sum(with_weights) == 2 * 3 + 3                   # and 3 + 2 that need the images' gradient only
    assert len(with_weights) == 2 * 3 + 3 + 3 + 2
    assert all(p.grad is None for p in classifier.parameters())


@pytest.mark.parametrize("alpha", ["mgda", "mgda:norm"])
def test_mgda_equals_three_separate_passes(alpha):
    "One forward and two backwards give what a forward and backward for each loss, and one more for the sum, give."
    classifier = cnn(2, seed=3).eval()
    confusion, generator_loss = abs_of(classifier), GAN_LOSSES["ns"].generator
    ours, plain = small_nets(), small_nets()
    real, z = torch.rand(16, 1, 28, 28) * 2 - 1, draw_noise(16, 8)
    gan_step(ours, real, z, confusion=confusion, alpha=alpha)
    gan_step(plain, real, z, update_generator=False)
    G, D, parameters = plain.generator, plain.discriminator, list(plain.generator.parameters())
    for m in G.modules():
        if isinstance(m, nn.BatchNorm2d): m.momentum = 0.
    losses, gradients = [], []
    for loss_of in (lambda x: generator_loss(D(x)), confusion):
        loss = loss_of(G(z))
        losses.append(loss.detach())
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    scaled = [g / (loss.abs() * g.norm()) for g, loss in zip(gradients, losses, strict=True)]
    w1, w2 = _min_norm_weights(*(gradients if alpha == "mgda" else scaled))
    images = G(z)
    (w1 * generator_loss(D(images)) + w2 * confusion(images)).backward()
    plain.optim_g.step()
    for a, b in zip(ours.generator.parameters(), plain.generator.parameters(), strict=True):
        # Adam's first step is about lr * sign(gradient): compare where the gradient is not mere rounding
        clear = b.grad.abs() > 1e-4 * b.grad.abs().max()
        torch.testing.assert_close(a[clear], b[clear], rtol=1e-3, atol=1e-5)


def test_mgda_weights_match_a_fine_grid():
    rng = torch.Generator().manual_seed(0)
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    for _ in range(50):
        g1, g2 = (torch.randn(5, generator=rng, dtype=torch.float64) * scale for scale in (1, 3))
        w1, w2 = _min_norm_weights(g1, g2)
        assert w1 + w2 == pytest.approx(1)
        assert float((w1 * g1 + w2 * g2).norm()) <= float((grid * g1 + (1 - grid) * g2).norm(dim=1).min()) + 1e-9


def test_divergence_keeps_the_last_good_epoch(samples, tmp_path):
    run = train_gan(samples, Gan(n_epochs=2, **SMALL), folder=tmp_path)
    classifier = cnn(2)
    with pytest.raises(FloatingPointError, match="diverged in epoch 1"):
        train_gasten(classifier, samples, run, Confusion(n_epochs=2, alpha=1e39), STEP2, folder=tmp_path / "2", **NONE)
    assert saved_epochs(tmp_path / "2") == []
    _poison(tmp_path)
    with pytest.raises(FloatingPointError, match=r"epoch 2 is kept"):
        train_gan(samples, Gan(n_epochs=3, **SMALL), folder=tmp_path)
    assert saved_epochs(tmp_path) == [1, 2]


def _poison(folder):
    "Put a NaN into a checkpoint, as a divergence right after it would."
    state = load_state(folder / "checkpoint.safetensors")
    state["parts"]["nets"]["generator"]["linear.weight"][0] = float("nan")
    save_state(folder / "checkpoint.safetensors", state)


def test_files_are_read_back(samples, tmp_path):
    run = train_gan(samples, Gan(n_epochs=3, save_every=2, **SMALL), folder=tmp_path)
    assert saved_epochs(tmp_path) == [2, 3]
    assert equal(load_generator(tmp_path / "epoch-0003.safetensors"), run.generator)      # the average
    assert equal(load_epoch(tmp_path, 3).nets.generator, run.nets.generator)               # and the trained one
    with pytest.raises(FileNotFoundError, match=r"choose from \[2, 3\]"): load_epoch(tmp_path, 1)
    with pytest.raises(ValueError, match="the GAN makes images"):
        train_gasten(cnn(2, image_size=8), load_samples("digits", "all").binary(1, 0), run, Confusion(n_epochs=1))


def test_sum_and_mean_of_two_classifiers(samples):
    pair = [cnn(2, seed=0), cnn(2, seed=1)]
    start = train_gan(samples, SHORT)
    mean, total = (train_gasten(pair, samples, start, Confusion(n_epochs=1, several=several), STEP2, **NONE)
                   for several in ("mean", "sum"))
    assert not equal(mean.generator, total.generator)
    with pytest.raises(ValueError, match="choose from"): Confusion(several="both")
    images = torch.rand(4, 1, 28, 28)
    np.testing.assert_allclose(predict_probs(pair, images).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("options", [{"alpha": 25.}, {"kind": "gaussian", "alpha": 1.}, {"kind": "kl", "alpha": 5.},
                                     {"alpha": "mgda"}, {}], ids=str)
def test_confusion_is_learned(samples, options):
    "A classifier that calls everything a five is brought into doubt, whatever the loss."
    classifier = cnn(2)
    fit(classifier, load_samples("mnist-5k", "all").binary(5, 3), Training(n_epochs=8))
    with torch.no_grad(): classifier[-1].bias += torch.tensor([0., 2.])
    measures = GanMeasures(classifier, samples, n=64)
    start = train_gan(samples, SHORT, measures=measures)
    gan = Gan(lr=2e-3, batch_size=16, measure_every=15)
    run = train_gasten(classifier, samples, start, Confusion(n_epochs=15, **options), gan, measures=measures)
    assert run.history[-1]["acd"] < .8 * start.history[-1]["acd"]


def halved(log_probs):
    "A confusion loss of one's own."
    return .5 * (log_probs[:, 1].exp() - .5).abs()


def test_a_loss_of_ones_own(samples, tmp_path, monkeypatch):
    "As a function, and by module:object from a file in the current folder; with twice the weight it is the paper's."
    (tmp_path / "halving.py").write_text("def halved(log_probs): return .5 * (log_probs[:, 1].exp() - .5).abs()\n")
    monkeypatch.chdir(tmp_path)
    model, start = cnn(2), train_gan(samples, SHORT)
    usual, own, named = (train_gasten(model, samples, start, Confusion(1, kind, alpha), STEP2, **NONE)
                         for kind, alpha in (("abs", 25.), (halved, 50.), ("halving:halved", 50.)))
    assert equal(own.generator, named.generator)
    for a, b in zip(usual.generator.parameters(), own.generator.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="give `alpha`"): Confusion(kind="halving:halved")
    with pytest.raises(ValueError, match="choose from"): Confusion(kind="halved")


def test_a_loss_of_ones_own_from_flags_and_from_a_file(tmp_path, monkeypatch):
    from ambiguity_nb.jobs.cli import parse

    (tmp_path / "halving.py").write_text("def halved(log_probs): return .5 * (log_probs[:, 1].exp() - .5).abs()\n")
    (tmp_path / "grid.yml").write_text("alphas: {'halving:halved': [50], abs: [25]}\nstep1_epochs: [3]\n")
    monkeypatch.chdir(tmp_path)
    flags = parse("gasten", ["--confusions", "halving:halved", "--alphas", "50"])["grid"]
    assert [cell.name for cell in flags.cells(["nf2"])] == ["seed0-from10-nf2-halving-halved-50"]
    assert list(parse("gasten", ["--config", "grid.yml", "--trust"])["grid"].weights) == ["halving:halved", "abs"]


def test_a_grid_goes_on_when_a_cell_diverges(samples, tmp_path):
    grid = GastenGrid([1e39, 1., 2e39], step2_epochs=1, n_generated=50, controls=False)   # more than a float32 holds
    table = gasten_grid({"a": cnn(2)}, samples, grid, SHORT, folder=tmp_path)
    assert table["error"].str.contains("diverged in epoch 1").eq(True).tolist() == [True, False, True]
    assert (table["ambiguous"].dropna() <= 50).all() and len(table) == 3
    grid = GastenGrid([1., 2.], step2_epochs=1, n_generated=50, controls=False)
    table = gasten_grid({"a": cnn(2)}, samples, grid, SHORT, folder=tmp_path)
    assert "error" not in table and (table["ambiguous"] <= 50).all()


def test_cells_side_by_side_are_logged_as_they_happen(samples, tmp_path, monkeypatch):
    """Two processes: an epoch's record comes before its cell is done, each once and in order; and again when continued.

    It comes to the run's file and to Weights & Biases, which shows a record's numbers by the name of its phase.
    """
    from ambiguity_nb.jobs.run import Run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Histogram=lambda np_histogram: sum(np_histogram[0])))
    early, seen = [], []

    def log(named):
        phase = {name.rpartition("/")[0] for name in named}.pop()
        assert phase == "seed0-step1" or named[f"{phase}/histogram"] == 64
        seen.append((phase, named[f"{phase}/epoch"]))
        early.append(not (tmp_path / phase / "result.json").exists())

    (tmp_path / "run").mkdir()
    run = Run(tmp_path / "run", {}, SimpleNamespace(log=log))
    noise = save_state(tmp_path / "noise.safetensors", {"noise": draw_noise(64, 16)})
    grid, models = GastenGrid([0., 25.], step2_epochs=2, n_generated=50, noise=noise), {"a": cnn(2)}
    table = gasten_grid(models, samples, grid, SHORT, folder=tmp_path, n_jobs=2, log=run.log)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(record["phase"], record["epoch"]) for record in records] == seen
    phases = ["seed0-step1", *table["folder"][table["confusion"] != "step1"]]
    assert sorted(seen) == sorted([(phases[0], 1), *((phase, epoch) for phase in phases[1:] for epoch in (1, 2))])
    for phase in phases[1:]: assert seen.index((phase, 1)) < seen.index((phase, 2))
    assert all(wait for (_, epoch), wait in zip(seen, early, strict=True) if epoch == 1)
    again = []
    gasten_grid(models, samples, grid, SHORT, folder=tmp_path, log=again.append)
    assert [(record["phase"], record["epoch"]) for record in again] == seen


def test_measures_on_other_noise_or_statistics_are_not_mixed(samples, tmp_path):
    "Step 1's images are measured again; epochs of step 2 were measured in training, and other noise is refused."
    files = [save_state(tmp_path / f"{seed}.safetensors", {"noise": draw_noise(40, 16, seed)}) for seed in (0, 1)]
    first, second = (GastenGrid([0.], step2_epochs=1, n_generated=50, noise=file) for file in files)
    table = gasten_grid({"a": cnn(2)}, samples, first, SHORT, folder=tmp_path / "a").set_index("way")
    sampled = GanMeasures(cnn(2), samples, z=draw_noise(40, 16))(load_epoch(tmp_path / "a/seed0/step1").generator)
    assert table.loc["step 1, sampled", "acd"] == pytest.approx(sampled["acd"], rel=1e-5)
    with pytest.raises(ValueError, match="measured on other noise"):
        gasten_grid({"a": cnn(2)}, samples, second, SHORT, folder=tmp_path / "a")
    path = tmp_path / "a" / "seed0-from1-a-step1-sampled" / "result.json"
    (tmp_path / "a" / "seed0-from1-a-abs-0" / "result.json").unlink()
    before = json.loads(path.read_text())
    other = gasten_grid({"a": cnn(2)}, samples, second, SHORT, folder=tmp_path / "a").set_index("way")
    assert json.loads(path.read_text())["key"] != before["key"]
    assert other.loc["step 1, sampled", "acd"] != pytest.approx(before["acd"], rel=1e-6)


def test_an_error_of_the_log_is_raised(samples, tmp_path):
    def full(record): raise OSError("no space left")

    grid = GastenGrid([0.], step2_epochs=1, n_generated=50)
    with pytest.raises(OSError, match="no space left"):
        gasten_grid({"a": cnn(2)}, samples, grid, SHORT, folder=tmp_path, log=full)


class OneImage(nn.Module):
    "A generator that makes one image, with a little noise."
    z_dim = 16

    def __init__(self, image):
        super().__init__()
        self.register_buffer("image", image)

    def forward(self, z): return self.image + 1e-3 * z[:, :1, None, None]


def balanced(images):
    "A classifier that calls half of some images fives."
    model = cnn(2, seed=3)
    p = predict_probs(model, images)[:, 1].astype(float)
    with torch.no_grad(): model[-1].bias.add_(torch.tensor([0., -float(np.median(np.log(p / (1 - p))))]))
    return model


def test_every_grid_has_its_controls(samples, tmp_path):
    "Three rows per classifier and start: made of step 1, and without confusion; bisection is undecided throughout."
    step1 = train_gan(samples, SHORT, folder=tmp_path / "seed0" / "step1")
    model = balanced(generate(step1.generator, 500, seed=1))
    grid = GastenGrid([25.], step2_epochs=2, n_generated=300, n_resamples=5)
    table = gasten_grid({"a": model}, samples, grid, SHORT, folder=tmp_path).set_index("way")
    assert list(table.index) == ["abs 25", "step 1, sampled", "step 1, bisected", "alpha 0"]
    sampled, bisected = table.loc["step 1, sampled"], table.loc["step 1, bisected"]
    assert bisected["yield"] >= .95 and bisected["ambiguous"] == 300 and bisected["acd"] < .02
    p = predict_probs(model, generate(step1.generator, 300, seed=1))[:, 1]           # the grid's noise: seed + 1
    assert sampled["ambiguous"] == (np.abs(p - .5) <= .1).sum() == round(300 * sampled["yield"])
    assert sampled["acd"] == pytest.approx(GanMeasures(model, samples)(step1.generator)["acd"], rel=1e-6)
    alone = train_gasten(model, samples, step1, Confusion(2, alpha=0.), SHORT, measures=GanMeasures(model, samples))
    assert table.loc["alpha 0", "acd"] in [pytest.approx(h["acd"], rel=1e-5) for h in alone.history]
    assert (table["frechet_ambiguous_low"] <= table["frechet_ambiguous_high"]).all()
    again = gasten_grid({"a": model}, samples, grid, SHORT, folder=tmp_path).set_index("way")
    assert again.equals(table)


def test_the_kept_epoch_is_on_the_front_and_said(samples, tmp_path):
    "The knee by default, the last or a distance on request; each row is of the epoch that it names."
    rows = {}
    for name, options in {"knee": {}, "last": {"keep": "last"}, "far": {"max_distance": 1e9},
                          "none": {"max_distance": 1e-9}}.items():
        grid = GastenGrid([25.], step2_epochs=3, n_generated=50, controls=False, **options)
        rows[name] = gasten_grid({"a": cnn(2)}, samples, grid, SHORT, folder=tmp_path).iloc[0]
    run = load_epoch(tmp_path / rows["knee"]["folder"])
    history = {h["epoch"]: h for h in run.history}
    for row in rows.values(): assert row["acd"] == pytest.approx(history[row["epoch"]]["acd"])
    worse = [h for h in run.history if h["acd"] < rows["knee"]["acd"] and h["focd"] < rows["knee"]["focd"]]
    assert not worse and "knee of 3 epochs" in rows["knee"]["kept"]
    assert (rows["last"]["epoch"], rows["last"]["kept"]) == (3, "the last epoch")
    assert rows["far"]["acd"] == pytest.approx(min(h["acd"] for h in run.history))
    assert "none is within 1e-09" in rows["none"]["kept"]
    assert run.kept().epoch == rows["knee"]["epoch"] and run.kept("last").epoch == 3
    with pytest.raises(ValueError, match="train with `folder`"): train_gan(samples, SHORT).kept()


def test_alarms_stand_in_the_table(samples, tmp_path, monkeypatch):
    "A generator that repeats one image, and one that a classifier takes for one class only."
    import ambiguity_nb.gasten_grid as module

    model = cnn(2)
    with torch.no_grad(): model[-1].bias.add_(torch.tensor([0., 1e3]))
    grid = GastenGrid([25.], step2_epochs=1, n_generated=50)
    table = gasten_grid({"a": model}, samples, grid, SHORT, folder=tmp_path / "one side").set_index("way")
    assert table.loc["abs 25", "alarm"].startswith("the generator reaches one side of the boundary")
    said = table.loc["step 1, bisected", "error"]                             # there is nothing to bisect between
    assert said.startswith("the generator ") and "['3']" in said

    usual = module._images
    image = samples.normalize(samples.x[:1])
    monkeypatch.setattr(module, "_images", lambda work, cell, generator: usual(work, cell, OneImage(image)))
    model = cnn(2)
    with torch.no_grad():
        out = model.eval()(image)[0]
        model[-1].bias.add_(torch.tensor([0., float(out[0] - out[1])]))             # undecided about that image
    monkeypatch.setattr(module, "_one_sided", lambda *_: None)
    grid = GastenGrid([25.], step2_epochs=1, n_generated=50, controls=False)
    row = gasten_grid({"a": model}, samples, grid, SHORT, folder=tmp_path / "one image").iloc[0]
    assert row["ambiguous"] == 50 and row["alarm"].startswith("50 images are all but one and the same")


def test_a_grid_says_what_it_needs_of_the_disk(samples, tmp_path, monkeypatch, caplog):
    "Refused before anything is trained; what is there already counts; fewer epochs need less."
    from collections import namedtuple

    import ambiguity_nb.gasten_grid as module

    grid = GastenGrid([0., 25.], step2_epochs=4, n_generated=50)
    disk = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: disk(10 ** 12, 0, 10_000))
    with pytest.raises(OSError, match=r"take about .* MB and 0.0 MB are free in .*save_every=10 takes"):
        gasten_grid({"a": cnn(2)}, samples, grid, SHORT, folder=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
    monkeypatch.undo()
    with caplog.at_level("INFO", logger="ambiguity_nb.gasten_grid"):
        gasten_grid({"a": cnn(2)}, samples, grid, SHORT, folder=tmp_path)
    assert "2 trainings of step 2; their files take about" in caplog.text
    there = sum(p.stat().st_size for p in tmp_path.rglob("*.safetensors"))
    needed = module._bytes_needed(SHORT, samples.shape, [1], 4, 1, 2)
    assert needed == pytest.approx(there, rel=.25)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: disk(10 ** 12, 0, needed // 3))
    gasten_grid({"a": cnn(2)}, samples, grid, SHORT, folder=tmp_path)               # all is there: no more is needed
    paper = [module._bytes_needed(Gan(save_every=n), (1, 28, 28), [5, 10], 40, 3, 144) / 1e9 for n in (1, 5)]
    assert paper[0] > 50 and paper[1] < 20


def test_a_grid_from_untrained_networks_and_from_others(samples, tmp_path):
    "Epoch 0 beside another start; a step 1 that is saved every few epochs still has those that step 2 starts from."
    from dataclasses import replace

    grid = GastenGrid([25.], step1_epochs=[0, 2, 4], step2_epochs=1, n_generated=50, controls=False)
    table = gasten_grid({"a": cnn(2)}, samples, grid, replace(SHORT, save_every=6), folder=tmp_path)
    assert saved_epochs(tmp_path / "seed0" / "step1") == [0, 2, 4] and list(table["step1_epoch"]) == [0, 2, 4]
    start = train_gan(samples, replace(SHORT, n_epochs=0))
    alone = train_gasten(cnn(2), samples, start, Confusion(1, alpha=25.), SHORT, **NONE)
    assert equal(load_epoch(tmp_path / table["folder"][0]).generator, alone.generator)


@pytest.mark.slow
def test_cells_side_by_side(samples, tmp_path):
    grid, models = GastenGrid([0., 25.], step2_epochs=1, n_generated=50), {"a": cnn(2), "b": cnn(1)}
    one, two = (gasten_grid(models, samples, grid, SHORT, folder=tmp_path / str(n), n_jobs=n) for n in (1, 2))
    assert (one["way"] == "step 1, sampled").sum() == 2
    assert list(one["folder"]) == list(two["folder"])
    np.testing.assert_allclose(one["acd"], two["acd"], atol=.02)
