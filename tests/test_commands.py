"""The commands on data, networks and generators of one's own: what they write, and what they refuse at once."""
import contextlib
import json
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from ambiguity_nb.fid import Statistics
from ambiguity_nb.jobs.classifier import UserModel
from ambiguity_nb.jobs.cli import main, parse
from ambiguity_nb.jobs.run import Run
from ambiguity_nb.models import (MODELS, build_model, embed, load_classifier, predict_logits, save_classifier,
                                 save_model)
from ambiguity_nb.patterns import unit_rows
from ambiguity_nb.sources import load_samples, read_samples

NAMES = ("three", "five", "eight")
MINE = '''
    import numpy as np
    import torch
    from torch import nn

    from ambiguity_nb.data import from_arrays

    class Net(nn.Module):
        def __init__(self, n_classes=3, seed=0):
            super().__init__()
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.ReLU(), nn.Linear(12, n_classes))
        def forward(self, x): return self.body(x)

    def trained():                                              # by the classes' means, which needs no training
        net = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
        x = digits()
        means = np.stack([(x.x[x.y == k] / 127.5 - 1).mean(0).ravel() for k in range(3)]) / 20
        with torch.no_grad():
            net[1].weight.copy_(torch.from_numpy(means))
            net[1].bias.copy_(torch.from_numpy(-10 * (means ** 2).sum(1)))
        return net
    class Soft(Net):
        def forward(self, x): return self.body(x).softmax(1)
    class Broken(Net):
        def forward(self, x): return self.body(x) * torch.nan
    def demanding(width): return Net()
    def number(): return 3

    def digits():
        with np.load("digits.npz") as arrays: return from_arrays(arrays["x"], arrays["y"], arrays["classes"], "mine")

    ready = trained()

    class Mixer(nn.Module):                                     # images on the way between two real ones
        z_dim = 4
        def __init__(self):
            super().__init__()
            x = digits()
            self.a, self.b = (torch.from_numpy(x.x[x.y == k][:60] / 127.5 - 1).float() for k in (0, 1))
        def forward(self, z):
            i = (z[:, 0].abs() * 1000).long() % 60
            t = torch.sigmoid(4 * z[:, 1])[:, None, None, None]
            return (1 - t) * self.a[i] + t * self.b[i]

    class Large(Mixer):
        def forward(self, z): return torch.zeros(len(z), 1, 20, 20)
    class Same(Mixer):
        def forward(self, z): return self.a[:1].expand(len(z), -1, -1, -1)
    def no_latent(z): return z
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with 3, 5 and 8 of the small digits, twice as large, in every form, and a module."
    folder = tmp_path_factory.mktemp("mine")
    small = read_samples("digits", part="all", classes=["3", "5", "8"])
    keep = np.sort(np.random.default_rng(0).permutation(len(small))[:400])
    x, y = np.kron(small.x[keep], np.ones((2, 2), np.uint8)), small.y[keep]
    np.savez(folder / "digits.npz", x=x, y=y, classes=np.array(NAMES))
    rows = []
    for i, (image, k) in enumerate(zip(x, y, strict=True)):
        path = Path("images") / NAMES[k] / f"{i:03d}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / path)
        rows.append({"path": path.as_posix(), "label": NAMES[k]})
    pd.DataFrame(rows).to_csv(folder / "list.csv", index=False)
    wine = load_samples("wine", "all")
    table = pd.DataFrame(wine.x, columns=wine.features).assign(label=[wine.classes[k] for k in wine.y])
    table.to_csv(folder / "wine.csv", index=False)
    (folder / "mine.py").write_text(textwrap.dedent(MINE))
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def run(*words: str) -> Path:
    "What a command that ends well wrote."
    from ambiguity_nb.jobs.cli import _function

    command, *rest = " ".join(words).split()
    return Path(_function(command)(**parse(command, rest)))


def refused(capsys, *words: str) -> str:
    "What a command says that ends with code 2, in one line."
    assert main(" ".join(words).split()) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ambiguity ")]
    assert len(said) == 1, said
    return said[0]


QUIET = "--progress false --run_folder {}"
FORMS = {"folder": "images --size 16", "list": "list.csv --size 16 --images true", "arrays": "digits.npz",
         "function": "mine:digits"}


# ------------------------------------------------------------------------------------- any data, any model
@pytest.mark.parametrize("form", FORMS)
def test_a_classifier_of_any_data_and_of_a_network_of_ones_own(form, here, tmp_path):
    words = f"classifier --data {FORMS[form]} --model mine:Net --n_epochs 8 --classes five,three"
    folder = run(words, QUIET.format(tmp_path))
    tested = pd.read_csv(folder / "tables" / "test.csv").set_index("classifier")
    assert tested.loc["mine-Net", "test accuracy"] > .9
    path = folder / "weights" / "mine-Net.safetensors"
    with pytest.raises(ValueError, match="does not run; if you trust it, name it too"): load_classifier(path)
    net = load_classifier(path, "mine:Net")
    data = read_samples("digits.npz", classes=["five", "three"])
    accuracy = (predict_logits(net, data).argmax(1) == data.y).mean()
    assert data.classes == ("three", "five") and accuracy > .9


def test_a_table_is_scored_benchmarked_and_searched(here, tmp_path):
    quiet = QUIET.format(tmp_path)
    page = run("hardness --data wine.csv --scores aum,loss --n_epochs 2 --classes class_0,class_1", quiet)
    scores, wine = pd.read_parquet(page.parent / "tables" / "scores.parquet"), read_samples("wine.csv")
    assert len(scores) == (wine.y < 2).sum() and set(scores["label"]) == {"class_0", "class_1"}
    run("classifier --data wine.csv --n_epochs 30 --name wine", quiet)
    weights = tmp_path / "classifier" / "wine" / "weights" / "tabular_mlp.safetensors"
    grid = "--n_jobs 1 --hardness uniform --total_runs 1 --epochs 1 --classes class_0,class_1"
    page = run(f"benchmark --data wine.csv --weights {weights} {grid}", quiet)
    assert "uniform" in page.read_text()
    page = run(f"boundary --data wine.csv --weights {weights} --n 20 --judge_epochs 2", quiet)
    rows = pd.read_parquet(page.parent / "boundary.parquet")
    assert len(rows) and (rows["p"].sub(.5).abs() <= .1).all() and rows["changes"].str.contains(" to ").all()
    assert rows["judge_class"].isin(wine.classes).all() and set(rows["nearest_1"]) <= set(wine.ids)


@pytest.mark.slow
def test_any_network_is_audited_and_its_patterns_found(here, tmp_path):
    quiet = QUIET.format(tmp_path)
    words = "--data digits.npz --classes five,three --model mine:Net --classifier_epochs 3"
    tiny = "--n_blocks 2 --filters 4 --z_dim 8 --n_epochs 1 --step2_epochs 1 --n_generated 200 --tau .45"
    page = run("gasten", words, tiny, "--judge_epochs 1 --controls false --alphas 25", quiet)
    weights = {path.stem for path in (page.parent / "weights").iterdir()}
    assert weights == {"classifier-mine-Net", "generator-mine-Net", "judge"}
    found = "--tau .49 --n_clusters 2 --n_generated 300 --reducer pca"
    words_of_run = f"patterns --data digits.npz --model mine:Net --gasten {page.parent} --sources test,train"
    again = run(words_of_run, found, quiet)
    study = pd.read_parquet(again.parent / "tables" / "patterns.parquet")
    assert study.index.str.match("(test|train):").all()
    mixed = run("patterns", words, "--generator mine:Mixer", found, quiet, "--name mixed")
    assert len(pd.read_parquet(mixed.parent / "tables" / "patterns.parquet")) > 20


def test_features_of_a_network_of_ones_own(here, tmp_path):
    torch.manual_seed(0)
    net = build_model("mine:Net", read_samples("digits.npz"))
    save_file(net.state_dict(), tmp_path / "plain.safetensors")
    words = f"fid-stats --data images --size 16 --model mine:Net --weights {tmp_path}/plain.safetensors"
    statistics = Statistics.load(run(words, f"--folder {tmp_path}"))
    images = read_samples("images", size=16)
    features = embed(net.eval(), images.normalize(images.x)).detach().numpy()
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-4)
    np.testing.assert_allclose(statistics.cov, np.cov(features.T), rtol=1e-3, atol=1e-5)


# --------------------------------------------------------------------------------- a classifier in a file
@pytest.mark.parametrize("name", [name for name, made in MODELS.items() if not getattr(made, "staged", False)])
def test_what_is_saved_is_loaded(name, tmp_path):
    samples = load_samples("wine") if not MODELS[name].for_images else load_samples("mnist-5k").subset(slice(0, 40))
    net = build_model(name, samples, seed=3).eval()
    back = load_classifier(save_classifier(tmp_path / "net.safetensors", net, name, samples))
    np.testing.assert_array_equal(predict_logits(back, samples), predict_logits(net, samples))


def test_trees_are_not_saved_as_weights(tmp_path):
    wine = load_samples("wine")
    with pytest.raises(ValueError, match="no epochs or gradients"):
        save_classifier(tmp_path / "t.safetensors", build_model("boosted_trees", wine), "boosted_trees", wine)


def test_a_plain_file_of_weights_fills_a_network(here, tmp_path):
    digits = read_samples("digits.npz")
    net = build_model("mine:Net", digits, seed=5).eval()
    save_file(net.state_dict(), tmp_path / "plain.safetensors")
    back = load_classifier(tmp_path / "plain.safetensors", "mine:Net", digits)
    np.testing.assert_array_equal(predict_logits(back, digits), predict_logits(net, digits))
    with pytest.raises(ValueError, match="name the network that its weights fill"):
        load_classifier(tmp_path / "plain.safetensors")


def test_a_ready_network_is_not_trained_and_its_copy_is(here, tmp_path):
    assert UserModel("mine:ready").given and not UserModel("mine:Net").given
    import mine

    before = {k: v.clone() for k, v in mine.ready.state_dict().items()}
    quiet = QUIET.format(tmp_path)
    run("classifier --data digits.npz --model mine:ready --n_epochs 3", quiet)
    assert all(torch.equal(v, before[k]) for k, v in mine.ready.state_dict().items())
    page = run("boundary --data digits.npz --model mine:ready --generator mine:Mixer --n 30 --judge_epochs 0"
               " --classes five,three", quiet)
    kept = load_classifier(page.parent / "weights" / "mine-ready.safetensors", "mine:ready")
    assert all(torch.equal(v, before[k]) for k, v in kept.state_dict().items())


def test_ten_classes_count_by_their_logits_for_two(here, tmp_path):
    digits = read_samples("digits.npz")
    net = build_model("cnn", digits, seed=1, nf=3)
    path = save_classifier(tmp_path / "three.safetensors", net, "cnn", digits, nf=3)
    pair = read_samples("digits.npz", classes=["eight", "three"])
    two = predict_logits(load_classifier(path, samples=pair), digits)
    np.testing.assert_array_equal(two, predict_logits(net, digits)[:, [0, 2]])    # three, then eight: the positive


# ------------------------------------------------------------------------------------------- the boundary
@pytest.fixture(scope="module")
def boundary_page(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return run("boundary --data digits.npz --classes five,three --classifier_epochs 12 --generator autoencoder"
                   " --generator_epochs 20 --n 80 --judge_epochs 3", QUIET.format(place / "runs"))


def test_boundary_writes_what_the_classifier_says(boundary_page, here):
    folder, digits = boundary_page.parent, read_samples("digits.npz")
    table = pd.read_parquet(folder / "boundary.parquet")
    with np.load(folder / "images.npz", allow_pickle=False) as arrays: x = arrays["x"]
    assert len(table) == len(x) == 80 and set(table["class_a"]) == {"three"} and set(table["class_b"]) == {"five"}
    logits = {}
    for name in ("lenet", "judge"):                                # by hand, from the files
        net = load_classifier(folder / "weights" / f"{name}.safetensors")
        with torch.no_grad(): logits[name] = net(torch.from_numpy(x / 127.5 - 1).float()).double()
    p = logits["lenet"][:, :2].softmax(1)[:, 1].numpy()
    assert np.abs(p - table["p"]).max() < .1 and (table["p"].sub(.5).abs() < .1).mean() >= .95   # images are rounded
    mass = logits["lenet"].softmax(1)[:, :2].sum(1).numpy()
    np.testing.assert_allclose(mass, table["mass"], atol=.1)
    assert (np.array(NAMES)[logits["judge"].argmax(1)] == table["judge_class"]).mean() > .9
    np.testing.assert_allclose(logits["judge"].softmax(1).max(1).values, table["judge_confidence"], atol=.1)
    assert set(table["nearest_1"]) <= set(digits.ids)
    beside = pd.read_parquet(folder / "tables" / "beside.parquet").xs("three and five", level="between")
    real = "real test images"
    assert list(beside.index) == ["found", "generated, not searched", f"{real}, least sure", real]
    assert beside["undecided"]["found"] > beside["undecided"]["generated, not searched"] + .3
    assert {"figures/sheet.png", "report.html"} <= {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


def test_nearest_real_samples_are_those_of_plain_cosine(boundary_page, here):
    folder = boundary_page.parent
    table = pd.read_parquet(folder / "boundary.parquet")
    with np.load(folder / "images.npz") as arrays: x = torch.from_numpy(arrays["x"] / 127.5 - 1).float()
    train, _ = read_samples("digits.npz").split((.8, .2), seed=0)
    net = load_classifier(folder / "weights" / "lenet.safetensors")
    with torch.no_grad(): mine, real = (unit_rows(embed(net, part).numpy()) for part in (x, train.normalize(train.x)))
    nearest = train.ids[(mine @ real.T).argmax(1)]
    assert (nearest == table["nearest_1"]).mean() > .9                                       # images are rounded


def test_reference_networks_are_trained_once_for_all_runs(boundary_page, here):
    place = boundary_page.parents[2]
    files = {p: p.stat().st_mtime_ns for p in (place / "cache").iterdir()}
    again = run("boundary --data digits.npz --classes five,three --classifier_epochs 12 --generator mine:Mixer --n 20"
                " --judge_epochs 3 --name again", QUIET.format(place))
    assert not (again.parent / "metrics.jsonl").exists()         # nothing was trained
    assert {p: p.stat().st_mtime_ns for p in (place / "cache").iterdir()} == files
    more = run("boundary --data digits.npz --classes five,three --classifier_epochs 13 --generator mine:Mixer --n 20"
               " --judge_epochs 3 --name more", QUIET.format(place))
    phases = {json.loads(line)["phase"] for line in (more.parent / "metrics.jsonl").read_text().splitlines()}
    assert phases == {"classifier-lenet"}                                          # what changed, and no more


def test_a_small_gan_is_kept_for_other_runs(here, tmp_path):
    words = ("boundary --data digits.npz --classes five,three --model mine:ready --generator_epochs 3 --n 10"
             " --judge_epochs 0")
    for name in "ab":
        with contextlib.suppress(ValueError):                     # a GAN of three epochs may miss a class
            run(words, QUIET.format(tmp_path), f"--name {name}")
    paths = [tmp_path / "boundary" / name / "metrics.jsonl" for name in "ab"]
    phases = [{json.loads(line)["phase"] for line in (p.read_text() if p.exists() else "").splitlines()} for p in paths]
    assert phases == [{"generator"}, set()]
    assert [p for p in (tmp_path / "cache").glob("gan-*")]


# ------------------------------------------------------------------- noise and statistics feed a grid
def test_noise_and_statistics_from_files_count_in_a_grid(here, tmp_path):
    quiet = QUIET.format(tmp_path)
    run(f"noise --path {tmp_path}/z.safetensors --nz 64 --z_dim 8")
    path = run(f"fid-stats --data digits.npz --classes five,three --model mine:ready --folder {tmp_path}/stats")
    real = Statistics.load(path)
    moved = Statistics(real.mean + 3., real.cov, real.n, real.space)
    moved.save(tmp_path / "moved.safetensors")
    tiny = ("--n_blocks 2 --filters 4 --z_dim 8 --n_epochs 1 --step2_epochs 1 --n_generated 100 --tau .45"
            " --judge_epochs 0 --controls false --alphas 25 --features classifier --model mine:ready"
            " --data digits.npz --classes five,three")
    cells = {}
    for name, given in {"own": "", "same": f"--fid_stats {path}", "moved": f"--fid_stats {tmp_path}/moved.safetensors",
                        "noise": f"--noise {tmp_path}/z.safetensors"}.items():
        page = run("gasten", tiny, given, quiet, f"--name {name}")
        cells[name] = pd.read_parquet(page.parent / "tables" / "cells.parquet").iloc[0]
    assert cells["own"]["acd"] == cells["same"]["acd"] == cells["moved"]["acd"]
    assert cells["moved"]["focd"] > cells["same"]["focd"] + 10
    assert cells["noise"]["acd"] != cells["own"]["acd"]


def test_the_page_of_a_grid_shows_controls_reasons_and_alarms(here, tmp_path):
    tiny = ("--n_blocks 2 --filters 4 --z_dim 8 --n_epochs 1 --step2_epochs 2 --n_generated 200 --tau .45"
            " --judge_epochs 1 --features classifier --model mine:ready --data digits.npz --classes five,three")
    page = run("gasten", tiny, QUIET.format(tmp_path))
    cells, html = pd.read_parquet(page.parent / "tables" / "cells.parquet"), page.read_text()
    assert set(cells["way"]) == {"abs 25", "step 1, sampled", "step 1, bisected", "alpha 0"}
    shown = cells[cells["error"].isna()] if "error" in cells else cells
    for way in shown["way"]: assert f"<th>{way}</th>" in html
    for why in shown["kept"].dropna(): assert why in html
    for alarm in cells["alarm"].dropna(): assert alarm.split(":")[0][:40] in html and ">Beware<" in html
    lines = (page.parent / "metrics.jsonl").read_text().splitlines()
    phases = pd.DataFrame(map(json.loads, lines)).groupby("phase").size()
    assert phases["judge"] == 1 and phases.filter(like="step1").sum() == 1 and phases.sum() == 2 + 2 * 2


# ------------------------------------------------------------------------- refused before long work
REFUSED = {
    "classifier --data digits.npz --classes three,nine": "has no class 'nine'",
    "classifier --data digits.npz --classes three": "at least two different ones",
    "classifier --data digits.npz --model mine:demanding": "needs ['width'], which nobody knows here",
    "classifier --data digits.npz --model mine:number": "returned a int",
    "classifier --data digits.npz --model mine:nothing": "was not found",
    "classifier --data digits.npz --model mine:Soft": "gives probabilities",
    "classifier --data digits.npz --model mine:Broken": "NaN or infinity",
    "classifier --data digits.npz --model lenet --weights other.safetensors":
        "holds weights of 'cnn' and the model is 'lenet'",
    "classifier --data digits.npz --model mine:Net --weights broken.safetensors": "belong to another architecture",
    "classifier --data digits.npz --weights text.safetensors": "is not a safetensors file",
    "classifier --data digits.npz --weights none.safetensors": "no file of weights",
    "classifier --data images --size 20 --weights other.safetensors": "cannot take a batch",
    "classifier --data wine.csv --weights other.safetensors": "does not know 'class_0'",
    "hardness --data digits.npz --weights other.safetensors --classes five,three --model cnn --runs 2":
        "needs 2 fresh models",
    "gasten --data wine.csv": "a GAN makes images; for tables there is `ambiguity boundary`",
    "gasten --data digits.npz": "--classes three,five",
    "gasten --data digits.npz --classes five,three --weights other.safetensors --nf 2": "not both",
    "boundary --data wine.csv --generator gan": "is a table, and generator is 'gan'",
    "boundary --data digits.npz --generator gans": "unknown generator 'gans'",
    "boundary --data digits.npz --model mine:ready --generator mine:Large --judge_epochs 0":
        "use a generator of the same data",
    "boundary --data digits.npz --model mine:ready --generator mine:no_latent --judge_epochs 0": "no z_dim",
    "boundary --data digits.npz --model mine:ready --generator mine:Same --judge_epochs 0 --classes five,three":
        "the generator makes no image",
    "boundary --data digits.npz --classes three,five,eight --model mine:ready --generator mine:Mixer --judge_epochs 0":
        "use how='descend'",
    "patterns --data digits.npz": "no classifier; give `gasten`",
    "fid-stats --data wine.csv": "is a table; feature statistics are of images",
    "fid-stats --data digits.npz --model lenet": "need its weights",
    "benchmark --hardness uniform --data digits.npz --weights text.safetensors": "is not a safetensors file",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_fit_is_said_in_a_line_before_long_work(words, here, capsys, tmp_path):
    digits = read_samples("digits.npz")
    save_classifier(here / "other.safetensors", build_model("cnn", digits), "cnn", digits)
    save_model(here / "broken.safetensors", nn.Linear(2, 2))
    (here / "text.safetensors").write_text("no weights")
    folder = "" if words.startswith("fid-stats") else QUIET.format(tmp_path)
    assert REFUSED[words] in refused(capsys, words, folder)
    assert not list(tmp_path.rglob("metrics.jsonl"))                                # nothing was trained


# -------------------------------------------------------------------------------------------- words
def test_classes_are_names_on_the_command_line_and_in_files(tmp_path):
    (tmp_path / "a.yml").write_text("classes: [5, 3]\n")
    for words in (["--classes", "5,3"], ["--classes=5,3"], ["--config", str(tmp_path / "a.yml")]):
        assert parse("boundary", words)["source"].classes == ("5", "3")
    assert parse("classifier", ["--classifiers", "setup.py"])["network"].weights == [Path("setup.py")]
    assert parse("noise", ["--path", "z.safetensors", "--nz", "7"])["n"] == 7
    assert parse("boundary", ["my/photos", "--n", "5"])["source"].data == "my/photos"


def test_a_record_that_was_cut_off_is_dropped_and_the_others_are_kept(tmp_path):
    lines = '{"phase": "a", "epoch": 1}\n{"phase": "a", "epoch": 2}\n{"phase": "a", "ep'
    (tmp_path / "metrics.jsonl").write_text(lines)
    record = Run(tmp_path, {})
    record.log({"epoch": 3}, "a")
    record.log({"epoch": 2, "loss": 1.}, "a")                      # an epoch again replaces its line
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["epoch"], r.get("loss")) for r in found] == [(1, None), (3, None), (2, 1.)]
