"""What the library computes, in small: one function per subject, each returning names and numbers.

`test_unchanged.py` compares these with the stored ones in `assets/unchanged.npz` and `assets/unchanged.json`, so that
work on the code changes no result by accident. A change that is meant is recorded again, and the change log says which
numbers moved and why:

    python tests/unchanged.py --record              # all subjects, about a minute on one core
    python tests/unchanged.py --record gan gasten   # only these, the others stay as they are
    python tests/unchanged.py --compare             # how far every subject is from what is stored

The library is called through the wrappers in the first part only: when a name or a signature changes, that is the part
to adapt.
"""
import functools
import importlib
import json
import math
import os
import pkgutil
import sys
import tempfile
import time
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pandas as pd
import torch

root = Path(__file__).resolve().parent.parent
assets = Path(__file__).resolve().parent / "assets"


# == Wrappers: how the library is called ==

@functools.cache
def _modules() -> tuple[str, ...]:
    "Modules of the package, those of commands last."
    import ambiguity_nb

    names = [m.name for m in pkgutil.walk_packages(ambiguity_nb.__path__, "ambiguity_nb.")
             if not m.name.rpartition(".")[2].startswith("_")]
    return tuple(sorted(names, key=lambda name: (name.count("."), name)))


@functools.cache
def use(*names: str):
    "The first of some names of the library that exists; `module:name` says where, else the module that defines it."
    for name in names:
        module, _, name = name.rpartition(":")
        for path in [f"ambiguity_nb.{module}"] if module else _modules():
            try: found = vars(importlib.import_module(path)).get(name)
            except ImportError: continue
            if found is not None and (module or getattr(found, "__module__", path) == path): return found
    raise LookupError(f"the library has none of {names}; adapt the wrappers of tests/unchanged.py")


def load(name, part="train"): return use("load_samples")(name, part)


def build(name, samples, seed=0, **options): return use("build_model")(name, samples, seed=seed, **options)


def logits_of(model, samples): return use("predict_logits")(model, samples)


def embeddings_of(model, samples): return use("predict_embeddings")(model, samples)


def _taken(name, options) -> tuple:
    "An options dataclass made of those of its fields that are given, and what is left."
    kind = use(name)
    mine = {k: v for k, v in options.items() if k in kind.__dataclass_fields__}
    return kind(**mine), {k: v for k, v in options.items() if k not in mine}


def train(model, samples, n_epochs=2, folder=None, **options):
    "Train in place; the history. Options: those of `Training`; validation, seed, hooks."
    training, options = _taken("Training", {"n_epochs": n_epochs, **options})
    return use("fit")(model, samples, training, folder=folder, **options)


def score(name, **options): return use("scores:SCORES")[name](**options)


def characterize(model, samples, scores="all", n_epochs=3, keep=(), **options):
    "A `Characterization`. Options: runs, dynamics, seed; batch_size, lr, ... of the training."
    training, options = _taken("Training", {"n_epochs": n_epochs, **options})
    return use("characterize")(model, samples, scores, training, keep=keep, **options)


def replay(logits, samples, **options): return use("replay")(logits, samples, **options)


def replay_models(scores, models, samples):
    "Scores of models of several epochs, fed as in a loop of one's own."
    watching = use("ScoreSet")(scores)
    watching.before_fit(models[0], samples, len(models))
    for epoch, model in enumerate(models, 1):
        with torch.no_grad():
            for x, y, index in samples.batches(512):
                logits, embeddings = use("logits_and_embeddings")(model, x)
                watching.train_batch(index, logits, y)
                watching.eval_batch(index, logits, y, embeddings)
        watching.after_epoch(epoch, model, samples, {})
    watching.after_fit(models[-1], samples)
    return use("collect")(watching, samples)


def characterize_trees(estimator, samples): return use("characterize_trees")(estimator, samples)


def aum_flags(model, samples, n_epochs, **options):
    "A frame of doubted labels. Options: percentile, seed; those of `Training`."
    training, options = _taken("Training", {"n_epochs": n_epochs, **options})
    return use("aum_flags")(model, samples, training, **options)


def gradient_norms(model, x, y, method): return use("gradient_norms")(model, x, y, method)


def label_gradients(model, x, y): return use("label_gradients")(model, x, y)


def detector_curves(model, samples, n_epochs):
    "Curves of a training with wrong labels, and which they are."
    return use("detector:_noisy_curves")(model, samples, training=use("Training")(n_epochs=n_epochs))


def train_detector(curves, flags, n_steps): return use("detector:_train_detector")(curves, flags, n_steps)


def hardness_types() -> dict:
    "Name to group, what it alters, whether for images and for tables, default severity and the three severities."
    return {name: (t.group, t.alters, t.images, t.tables, t.severity, t.severities) for name,
            t in use("HARDNESS_TYPES").items()}


def inject(samples, kind, prop=.1, severity=None, seed=0, **given): return use("inject")(samples, kind, prop, severity,
    seed=seed, **given)


def inject_mixture(samples, props, severities, seed):
    return use("inject_mixture")(samples, props, severities, seed=seed)


def gan_network(kind, name, **options): return use(f"build_{kind}")(name, 0, **options)


def generate(generator, n, seed): return use("generate")(generator, n, seed)


def train_gan(samples, n_epochs=2, measures=None, **options):
    "A `GanRun`. Options: those of the GAN; seed, folder."
    gan, options = _taken("Gan", {"n_epochs": n_epochs, **options})
    return use("train_gan")(samples, gan, measures=measures, **options)


def train_gasten(model, samples, start, n_epochs=2, confusion="abs", measures=None, **options):
    "A `GanRun`. Options: those of `Confusion` and of `Gan`; start_epoch, seed, folder."
    made, options = _taken("Confusion", {"n_epochs": n_epochs, "kind": confusion, **options})
    gan, options = _taken("Gan", options)
    return use("train_gasten")(model, samples, start, made, gan, measures=measures, **options)


def gan_measures(model, samples, **options): return use("GanMeasures")(model, samples, **options)


def confusion_losses(log_probs, log_probs3) -> dict:
    "Loss of each image by the name of the confusion loss, and its usual weight."
    names = ("abs", "gaussian", "kl", "kldb")
    loss = lambda kind, n_classes=2, **options: use("Confusion")(kind=kind, **options).loss(n_classes)
    return ({n: loss(n)(log_probs) for n in names} | {"gaussian wide": loss("gaussian", variance=.1)(log_probs),
                                                      "kldb of 3": loss("kldb", 3, classes=[0, 2])(log_probs3)}
            | {f"usual weight of {n}": use("Confusion")(kind=n).weight(1) for n in names})


def min_norm_weights(g1, g2): return use("gasten:_min_norm_weights")(g1, g2)


def mean_log_probs(models, x): return use("mean_log_probs")(models, x)


def generate_ambiguous(generator, model, n, **options): return use("generate_ambiguous")(generator, model, n,
    **options)


def load_epoch(folder, epoch): return use("load_epoch")(folder, epoch)


def epoch_table(runs): return use("epoch_table")(runs)


def choose_epoch(table, **limits): return use("choose_epoch", "choosing_epochs:best", "fronts:best")(table, **limits)


def pareto_front(costs): return use("pareto_front")(costs)


def second_opinion(images, judge, classes): return use("second_opinion")(judge, images, classes)


def gasten_grid(models, samples, folder, gan, **options):
    "The table of a grid; `gan` are settings of step 1 and step 2 alike."
    grid, options = _taken("GastenGrid", options)
    return use("gasten_grid")(models, samples, grid, use("Gan")(**gan), folder=folder, **options)


def gasten_cells(models, alphas, **options) -> list[str]: return [cell.name
    for cell in use("GastenGrid")(alphas=alphas, **options).cells(models)]


def statistics(features, shrinkage=None): return use("Statistics").of(features, shrinkage=shrinkage)


def image_statistics(samples, features, **options): return use("as_features")(features).statistics(samples, **options)


def frechet(a, b): return use("frechet_distance")(a, b, warn=False)


def bootstrap_frechet(a, b, **options): return use("bootstrap_frechet")(a, b, **options)


def kid(a, b): return use("kid")(a, b)


def density_coverage(a, b): return use("density_coverage")(a, b)


def dataset_features(samples, n_epochs): return use("dataset_features")(samples, n_epochs)


def cache_name(samples): return use("_content_name")(samples)


def confusion_distance(probs, classes=None): return use("generator_measures:_confusion_distance")(probs, classes)


def is_ambiguous(probs, tau, classes=None): return use("is_ambiguous", "fid:ambiguous")(probs, tau, classes)


def find_patterns(embeddings, seed=0, **clustering): return use("find_patterns")(embeddings,
    use("Clustering")(**clustering), seed=seed)


def search_patterns(embeddings, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore",
                              UserWarning)                                    # about the edge of what was searched
        return use("search_patterns")(embeddings, **options)


def search_edges(search) -> list[str]:
    "Settings of the chosen patterns that lie on the edge of what was searched."
    return [text.split("=")[0] for text in search.walls]


def label_agreement(a, b): return use("label_agreement", "pattern_search:agreement")(a, b)


def choose_prototypes(space, labels, kind, per_cluster): return use("choose_prototypes")(space, labels, kind,
    per_cluster)


def compare_prototypes(embeddings, labels, space, **options): return use("compare_prototypes")(embeddings, labels,
    space, **options)


def repeat_study(make_embeddings, settings, **options): return use("repeat_study")(make_embeddings,
    use("Clustering")(**settings), **options)


def describe_prototypes(x, labels, prototypes): return use("describe_prototypes")(x, labels, prototypes)


def study_patterns(model, inputs, train, test, **options):
    "A `PatternStudy`. Options: those of `StudyOptions` and of `Clustering`; scores, seed."
    clustering, options = _taken("Clustering", options)
    chosen, options = _taken("StudyOptions", options)
    return use("study_patterns")(model, inputs, train, test, clustering, chosen, **options)


def explain(model, x, baselines, method, n_samples): return use("explain")(model, x, baselines, method, n_samples)


def class_baselines(samples, per_class): return use("class_baselines")(samples, per_class)


def pattern_regions(*args, **options): return use("study:_pattern_regions")(*args, **options)


def detection_quality(hardness, flags, n_bootstrap): return use("detection_quality", "benchmark:evaluate")(hardness,
    flags, n_bootstrap)


def benchmark_grid(**settings): return use("Grid")(**settings)


def hcat_grid(**settings): return use("HCat")(**settings).grid()


def presets() -> dict: return use("benchmark:PRESETS")


def benchmark(grid, folder): return use("benchmark:benchmark")(grid, folder, n_jobs=1)


def score_stability(folder, cells): return use("score_stability", "benchmark_figures:stability")(use("Store")(folder),
    cells)


def score_agreement(folder, cells): return use("score_agreement", "benchmark_figures:agreement")(use("Store")(folder),
    cells)


def benchmark_summary(cells): return use("summarize", "summarise")(cells)


def rank_scores(cells):
    "Mean rank by score, its interval, and the p value of their differences."
    ranked = use("Ranks").of(cells)
    return ranked.frame.rename(columns={"mean": "ranks"}), ranked.p_friedman


def seed_spread(cells): return use("seed_spread")(cells)


def conclusions(cells): return use("Conclusions").of(cells).frame


def resolved_settings(command, path) -> dict:
    "What the command line makes of a YAML file."
    groups = use("parse")(command, ["--config", str(path)])
    return {name: value for key, group in groups.items()
            for name, value in (vars(group) if hasattr(group, "__dataclass_fields__") else {key: group}).items()}


# == Numbers from results ==

def array(value) -> np.ndarray:
    "Anything as an array; text stays text."
    if isinstance(value, torch.Tensor): value = value.detach().numpy()
    value = np.asarray(value)
    return value.astype(str) if value.dtype == object else value


def brief(value, n=32) -> np.ndarray:
    "A long array of numbers as its mean, spread and n elements from all over."
    value = array(value).astype(np.float64).ravel()
    if len(value) <= n + 2: return value
    return np.concatenate([[np.nanmean(value), np.nanstd(value)],
                           value[np.linspace(0, len(value) - 1, n).astype(int)]])


def table(frame, prefix="") -> dict:
    "Every column of a table."
    return {f"{prefix}{name}": brief(array(column)) if array(column).dtype.kind == "f" else array(column) for name,
            column in frame.items()}


def prefixed(prefix, values) -> dict: return {f"{prefix}: {k}": v for k, v in values.items()}


def scores_of(result) -> dict:
    "Values, hardness, ambiguity and further columns of every score."
    return table(result.frame.drop(columns=["y", "label"]))


def history_of(history) -> dict:
    "The metrics of a training, each over its epochs."
    names = [k for k in dict.fromkeys(k for h in history for k in h) if k != "seconds"]
    return {k: np.array([h[k] for h in history if k in h], float) for k in names}


def patterns_of(found) -> dict:
    "Labels, reduced space and quality."
    return {"labels": found.labels, "reduced": brief(found.reduced), "quality": found.quality.to_numpy(float)}


@functools.cache
def two():
    "200 digits, fives against threes."
    samples = load("mnist-5k").binary("5", "3")
    return samples.subset(np.random.default_rng(0).permutation(len(samples))[:200])


@functools.cache
def ten(n=200):
    "Digits of all ten classes."
    samples = load("mnist-5k")
    return samples.subset(np.random.default_rng(1).permutation(len(samples))[:n])


@functools.cache
def three():
    "120 digits of three classes."
    samples = load("mnist-5k")
    rows = np.flatnonzero(samples.y < 3)
    return samples.subset(np.random.default_rng(2).permutation(rows)[:120]).replace(classes=samples.classes[:3])


@functools.cache
def rows():
    "200 rows of a table."
    samples = load("breast-cancer")
    return samples.subset(np.random.default_rng(3).permutation(len(samples))[:200])


@functools.cache
def trained(seed=0, name="cnn"):
    "A small classifier of fives and threes; not to be changed."
    model = build(name, two(), seed=seed)
    train(model, two(), 6, seed=seed, lr=.01, batch_size=32)
    return model.eval()


@functools.cache
def blobs():
    "90 embeddings about three far-off points, and which."
    rng = np.random.default_rng(4)
    y = np.repeat(np.arange(3), (40, 30, 20))
    return (4 * rng.standard_normal((3, 8))[y] + rng.standard_normal((90, 8))).astype(np.float32), y


@contextmanager
def one_thread():
    "A block on one core; numba and others change the number meanwhile."
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("UNCHANGED_THREADS", 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


# == Subjects ==

def data():
    "Data sets by name, splits, subsets and normalization."
    out = {}
    for name in ("mnist-5k", "digits", "breast-cancer", "wine", "two-gaussians"):
        part = load(name)
        out |= {f"{name}: shape": part.x.shape, f"{name}: x": brief(part.x), f"{name}: y": np.bincount(part.y),
                f"{name}: ids": part.ids[:40],
                f"{name}: shift and scale": np.concatenate([np.atleast_1d(part.shift), np.atleast_1d(part.scale)]),
                f"{name}: input": brief(part.normalize(part.x[:20]))}
    parts = load("wine", "all").split((.5, .3, .2), seed=1)
    out |= {f"part {i}: ids": part.ids for i, part in enumerate(parts)} | {"shift of the parts": parts[0].shift}
    order = [index for _, _, index in rows().batches(64, shuffle=True, generator=torch.Generator().manual_seed(0))]
    return out | {"binary: y": two().y, "binary: ids": two().ids, "classes": np.array(two().classes),
                  "order of batches": torch.cat(order),
                  "raw again": brief(two().denormalize(two().normalize(two().x[:5])))}


def models():
    "Networks as they are built: logits and features."
    out = {}
    for name, samples in (("cnn", two()), ("mlp", two()), ("lenet", ten()), ("tabular_mlp", rows()),
                          ("resnet18", ten().subset(slice(0, 8)))):
        part, model = samples.subset(slice(0, 8)), build(name, samples)
        out |= {f"{name}: logits": logits_of(model, part), f"{name}: embeddings": brief(embeddings_of(model, part)),
                f"{name}: weights": sum(p.numel() for p in model.parameters())}
    return out | {"cnn of 4": logits_of(build("cnn", two(), seed=3, nf=4), two().subset(slice(0, 8)))}


def training():
    "Histories and logits of short trainings."
    out = {}
    settings = {"as it comes": {}, "adamw": {"optimizer": "adamw", "weight_decay": .1},
                "sgd": {"optimizer": "sgd", "lr": .01}, "cosine": {"schedule": "cosine"},
                "onecycle": {"schedule": "onecycle", "batch_size": 32}, "linear": {"schedule": "linear", "seed": 4},
                "validation": {"validation": two().subset(slice(150, 200))}}
    for name, options in settings.items():
        model = build("lenet", two())
        out |= prefixed(name, history_of(train(model, two().subset(slice(0, 150)), 2, **options))
                        | {"logits": brief(logits_of(model, two()))})
    model = build("tabular_mlp", rows())
    patient = {"validation": rows().subset(slice(100, 200)), "patience": 1, "lr": .05, "batch_size": 16}
    out |= prefixed("patience", history_of(train(model, rows().subset(slice(0, 100)), 12, **patient))
                    | {"logits": brief(logits_of(model, rows()))})
    model = build("cnn", two())
    out |= prefixed("autocast", history_of(train(model, two(), 2, autocast=True)))
    return out


def scores_two_classes():
    "All scores of fives and threes, by a network without and one with dropout."
    return {f"{name}: {k}": v for name in ("cnn", "lenet") for k, v in scores_of(characterize(name, two())).items()}


def scores_ten_classes():
    "All scores of ten classes."
    result = characterize("lenet", ten(), keep=("curves", "settling"))
    return scores_of(result) | {"curves": brief(result.curves), "history: loss": history_of(result.history)["loss"],
                                **table(result.settling, "settling: ")}


def scores_table():
    "All scores of a table."
    return scores_of(characterize("tabular_mlp", rows(), n_epochs=5, batch_size=32, lr=.01))


def scores_of_runs():
    "All scores as the mean of two runs."
    result = characterize("lenet", two().subset(slice(0, 100)), runs=2)
    return scores_of(result) | {f"{name}: runs": brief(result.runs(name)) for name in ("aum", "el2n", "vog", "random")}


def scores_of_training_steps():
    "Scores from the logits of the training steps."
    names = ["aum", "data_maps", "data_iq", "forgetting", "el2n", "loss", "cleanlab", "conf_agree", "grand", "vog",
             "allsh", "detector"]
    return scores_of(characterize("cnn", two(), [*names, "baselines"], dynamics="train"))


def scores_with_options():
    "Scores other than as they come."
    chosen = [score("forgetting", at="epochs"), score("loss", bound=True),
              score("cleanlab", out_of_sample=True, folds=3), score("prototypicality", by="kmeans"),
              score("conf_agree", members="snapshots", n_members=2), score("el2n", epochs=[2, 3]),
              score("grand", epochs=[1, 3]),
              score("vog", stage="late", n_snapshots=2, standardized=False),
              score("allsh", over="max", n_augmentations=2, seed=3), score("random", seed=5),
              score("cleanlab", method="normalized_margin").named("margin"),
              score("cleanlab", method="confidence_weighted_entropy").named("weighted")]
    return scores_of(characterize("lenet", ten(150), chosen, n_epochs=4, batch_size=32, seed=1, optimizer="sgd",
                                  lr=.02))


def scores_from_elsewhere():
    "Scores of saved logits, of saved models, of boosted trees, and flags by threshold samples."
    from sklearn.ensemble import GradientBoostingClassifier

    rng = np.random.default_rng(5)
    logits, embeddings = rng.standard_normal((4, 60, 3)).astype(np.float32).cumsum(0), rng.standard_normal((60,
        5)).astype(np.float32)
    y = rng.integers(3, size=60)
    out = prefixed("logits", scores_of(replay(logits, y, embeddings=embeddings)))
    out |= prefixed("probs", scores_of(replay(torch.from_numpy(logits).softmax(2).numpy(), y, probs=True,
                                              ids=np.arange(60) + 7)))
    out |= prefixed("models", scores_of(replay_models(["aum", "data_maps", "forgetting", "prototypicality"],
                                                      [trained(s) for s in range(3)], two())))
    out |= prefixed("trees", scores_of(characterize_trees(GradientBoostingClassifier(n_estimators=6, max_depth=2,
        random_state=0), rows())))
    return out | prefixed("flags", table(aum_flags("lenet", ten(150), 3, percentile=90)))


def gradients():
    "Norms of gradients by the weights, and gradients by the input."
    x, y, _ = next(two().batches(12))
    model = build("lenet", two()).eval()
    norms = {f"norms by {method}": gradient_norms(model, x, y, method) for method in ("auto", "loop", "func", "ghost")}
    return norms | {"by the input": brief(label_gradients(model, x, y))}


def detector():
    "Curves of a noisy training, and a detector trained on them for a few steps."
    curves, flags = detector_curves("tabular_mlp", rows(), 4)
    network = train_detector([curves], [flags], 3)
    with torch.no_grad(): return {"curves": brief(curves), "flags": flags,
                                  "logits": brief(network(torch.from_numpy(curves)))}


def injected():
    "Labels, flags and inputs of every hardness type, for images and for tables."
    out = {}
    rng = np.random.default_rng(6)
    generated, model = rng.random((30, 1, 28, 28)).astype(np.float32), build("lenet", ten())
    train(model, ten(), 8)
    cases = {f"{kind} {what}": (samples, {"kind": kind}) for kind,
             (_, _, images, tables, _, _) in hardness_types().items()
             for what, samples, fits in (("images", ten(), images), ("tables", rows(), tables))
             if fits and kind in _recorded_types}
    for kind, (_, _, images, _, _, severities) in hardness_types().items():
        if kind not in _recorded_types or not severities: continue
        options = {"kind": kind, "severity": severities[-1], "prop": .2, "seed": 3}
        cases[f"{kind} strong"] = ten() if images else rows(), options
    cases |= {"instance by map": (ten(), {"kind": "instance", "confusion": np.roll(np.arange(10), 1)}),
              "instance by probs": (ten(), {"kind": "instance", "confusion": rng.random((200, 10))}),
              "far_ood from source": (ten(), {"kind": "far_ood", "source": generated, "severity": .5}),
              "ambiguous from source": (ten(), {"kind": "ambiguous", "source": generated, "source_classes": ["3", "5"],
                                                "prop": .05}),
              "ambiguous by classifier": (ten(), {"kind": "ambiguous", "model": model, "prop": .03}),
              "atypical in columns": (rows(), {"kind": "atypical", "features": [2, rows().features[5]]})}
    for name, (samples, options) in cases.items(): out |= prefixed(name, _made(inject(samples, **options), samples))
    mixed = inject_mixture(ten(), {"uniform": .1, "ood_covariate": .1, "zoom_shift": .05},
                           severities={"ood_covariate": .25}, seed=2)
    out |= prefixed("mixture", _made(mixed, ten()) | {"kinds": mixed.kinds})
    return out | {f"severity of {k}": np.array([np.nan if t[4] is None else t[4], *t[5]]) for k,
                  t in hardness_types().items() if k in _recorded_types}


_recorded_types = ("uniform", "asymmetric", "adjacent", "instance", "borderline", "id_covariate", "ood_covariate",
                   "domain_shift", "far_ood", "zoom_shift", "crop_shift", "atypical", "ambiguous")


def _made(made, before) -> dict:
    "Which samples were changed, into what."
    out = {"index": np.flatnonzero(made.flags)}
    if (made.samples.y != before.y).any(): out["labels"] = made.samples.y[made.flags]
    if (made.samples.x != before.x).any(): out["x"] = brief(made.samples.x[made.flags])
    return out


_small = {"filters": 8, "z_dim": 16, "batch_size": 32}


def networks():
    "Generators and discriminators as they are built."
    out = {}
    for name in ("dcgan", "resnet"):
        generator = gan_network("generator", name, shape=(1, 28, 28), z_dim=16, filters=8, n_blocks=3)
        images = generate(generator, 6, 1)
        for norm in ("batch", "layer", "spectral", "none"):
            judge = gan_network("discriminator", name, shape=(1, 28, 28), filters=8, n_blocks=3, norm=norm).eval()
            with torch.no_grad(): out[f"{name}: judged with norm {norm}"] = judge(images)
        out |= {f"{name}: images": brief(images), f"{name}: weights": sum(p.numel() for p in generator.parameters())}
    return out


def gan():
    "Losses of step 1 and images it makes."
    samples, out = two().subset(slice(0, 100)), {}
    settings = {"ns": {}, "wgan-gp": {"loss": "wgan-gp", "n_critic": 2},
                "resnet": {"architecture": "resnet", "seed": 1}, "shift and ema": {"shift": 3, "ema": .9},
                "rates": {"lr": (1e-3, 4e-4), "betas": (.0, .9), "norm": "spectral", "n_blocks": 2}}
    for name, options in settings.items():
        run = train_gan(samples, **{**_small, **options})
        out |= prefixed(name, history_of(run.history) | {"images": brief(generate(run.generator, 8, 0))})
    out |= prefixed("measured", history_of(train_gan(samples, 3, gan_measures(trained(), two(), n=100,
        features=trained(1)), measure_every=2, **_small).history))
    return out | prefixed("as it comes", history_of(train_gan(samples.subset(slice(0, 64)), 1).history))


def gasten():
    "Losses and measures of step 2."
    samples, out = two().subset(slice(0, 100)), {}
    faster = {**_small, "lr": 5e-4}
    measures = gan_measures(trained(), two(), n=128, tau=.11)
    start = train_gan(samples, 2, **faster)
    settings = {"abs": {}, "gaussian": {"confusion": "gaussian", "alpha": 1.},
                "gaussian wide": {"confusion": "gaussian", "variance": .1}, "kl": {"confusion": "kl"},
                "kldb": {"confusion": "kldb"}, "list of weights": {"alpha": [0., 5.]},
                "function": {"alpha": lambda epoch: 2. * epoch}, "mgda": {"alpha": "mgda"},
                "mgda:norm": {"alpha": "mgda:norm"},
                "shift and ema": {"shift": 2, "ema": .9, "seed": 2}}
    for name, options in settings.items():
        out |= prefixed(name, history_of(train_gasten(trained(), samples, start, measures=measures, **{**faster,
            **options}).history))
    several = [trained(s) for s in range(2)]
    for how in ("mean", "sum"):
        out |= prefixed(f"several, {how}", history_of(train_gasten(several, samples, start, several=how,
            measures=gan_measures(several, two(), n=128), **faster).history))
    critic = train_gan(samples, 2, loss="wgan-gp", n_critic=1, **_small)
    out |= prefixed("wgan-gp", history_of(train_gasten(trained(), samples, critic, loss="wgan-gp", n_critic=2,
                                                       measures=measures, **_small).history))
    other = train_gan(samples, 1, architecture="resnet", **_small)
    out |= prefixed("resnet", history_of(train_gasten(trained(), samples, other, 1, measures=measures,
                                                      **_small).history))
    worse = iter(np.linspace(.1, .9, 9).tolist())          # each epoch but the first is off the front
    stopped = train_gasten(trained(), samples, start, 8, patience=2,
                           measures=lambda generator: {"acd": (cost := next(worse)), "focd": cost}, **faster)
    return out | prefixed("patience", history_of(stopped.history))


def gasten_of_three_classes():
    "Step 2 against a set of classes."
    model = build("lenet", three())
    train(model, three(), 2)
    start = train_gan(three(), 1, **_small)
    run = train_gasten(model, three(), start, confusion="kldb", classes=[0, 2],
                       measures=gan_measures(model, three(), n=128, classes=[0, 2]), **_small)
    found = generate_ambiguous(run.generator, model, 100, tau=.4, classes=[0, 2])
    return history_of(run.history) | {"ambiguous": found.index, "p": brief(found.p)}


def confusion():
    "Confusion losses, weights of two gradients, and settings that are usual."
    p = torch.tensor([.01, .3, .5, .62, .97])
    log_probs, log_probs3 = torch.stack([1 - p, p], 1).log(), torch.stack([p / 2, p / 2, 1 - p], 1).log()
    rng = torch.Generator().manual_seed(0)
    g1, g2 = torch.randn(2, 20, generator=rng)
    return {**confusion_losses(log_probs, log_probs3), "weights": min_norm_weights(g1, g2 + g1 / 2),
            "weights at the end": min_norm_weights(g1, 3 * g1),
            "several": mean_log_probs([trained(0), trained(1)], two().normalize(two().x[:6]))}


def chosen_epochs():
    "Fronts, the epoch to keep, and another classifier's opinion."
    rng = np.random.default_rng(7)
    runs = {name: [{"epoch": e, "acd": a, "focd": f, "yield": 1 - a, "frechet": f * 2 + a} for e,
                   (a, f) in enumerate(rng.random((12, 2)), 1)] for name in "ab"}
    epochs = epoch_table(runs)
    out = table(epochs) | {"front": pareto_front(rng.random((30, 3)))}
    for name, limit in (("knee", {}), ("yield", {"min_yield": .6}), ("distance", {"max_distance": .8})):
        kept = choose_epoch(epochs, **limit)
        out[name] = np.array([f"{kept['run']} {kept['epoch']}"])
    probs = rng.dirichlet(np.ones(4), 20)
    judge = build("lenet", three())
    train(judge, three(), 1)
    images = three().normalize(three().x[:20])
    return out | {"distance of a set": confusion_distance(probs, (0, 2)), "distance": confusion_distance(probs[:, 0]),
                  "ambiguous": is_ambiguous(probs[:, 0], .3), "ambiguous in a set": is_ambiguous(probs, .3, (1, 3)),
                  **prefixed("opinion", second_opinion(images, judge, (0, 1)))}


def grid_of_gasten():
    "A grid of three cells, stopped by nothing."
    names = gasten_cells(["a", "b"], {"abs": [0, "mgda:norm", 2.5], "kl": [0, 1]}, step1_epochs=[1, 2], seeds=[0, 3])
    with tempfile.TemporaryDirectory() as folder:
        made = gasten_grid({"nf2": trained(), "two": [trained(0), trained(1)]}, two().subset(slice(0, 100)), folder,
                           _small, alphas=[0, 5.], step1_epochs=[1], step2_epochs=2,
                           n_generated=100, tau=.11, judge=trained(2), keep="knee")
        saved = load_epoch(Path(folder) / "seed0" / "step1", 1)
    made = made[made["confusion"] != "step1"]                       # without the controls that every grid now has
    return {"cells": np.array(names), **table(made.drop(columns=["seconds"]).astype({"ambiguous": float})),
            "loaded": brief(generate(saved.generator, 4, 0))}


def distances():
    "Fréchet distances and other measures of two sets of features."
    rng = np.random.default_rng(8)
    a, b = rng.standard_normal((120, 6)) + .3, rng.standard_normal((90, 6)) * 1.2
    out = {}
    for shrinkage in (None, .2, "ledoit-wolf"):
        one, other = statistics(a, shrinkage), statistics(b, shrinkage)
        out |= {f"frechet, shrinkage {shrinkage}": frechet(one, other), f"cov, shrinkage {shrinkage}": one.cov,
                f"weight, shrinkage {shrinkage}": [one.shrinkage, other.shrinkage]}
    few = statistics(a[:5]), statistics(b)
    model = build("lenet", ten())
    images = [image_statistics(part, model, batch_size=64) for part in (ten().subset(slice(0, 100)),
        ten().subset(slice(100, 200)))]
    space = dataset_features(ten(), 1)
    return out | {"frechet of few": frechet(*few), "bootstrap": bootstrap_frechet(a, b, n_resamples=20),
                  "kid": kid(a, b), "density and coverage": density_coverage(a, b),
                  "images": frechet(*images), "own space": brief(image_statistics(ten(), space,
                      shrinkage="ledoit-wolf").cov), "name": np.array([cache_name(ten())])}


def patterns():
    "Labels and qualities of patterns on fixed embeddings."
    embeddings, y = blobs()
    out = {}
    cases = {"gmm": {"reducer": "none"}, "kmeans": {"reducer": "none", "clusterer": "kmeans"},
             "hdbscan": {"reducer": "none", "clusterer": "hdbscan", "min_cluster_size": 5},
             "pca": {"reducer": "pca", "n_components": 3}, "pca, kmeans": {"reducer": "pca", "n_components": 2,
                 "clusterer": "kmeans", "n_clusters": 4, "metric": "euclidean", "seed": 3},
             "pca, hdbscan": {"reducer": "pca", "n_components": 2, "clusterer": "hdbscan", "min_cluster_size": 5,
                              "epsilon": .3}}
    new = np.random.default_rng(9).standard_normal((20, 8)).astype(np.float32)
    for name, settings in cases.items():
        found = find_patterns(embeddings, **{"n_clusters": 3, **settings})
        out |= prefixed(name, patterns_of(found) | {"placed": brief(found.transform(new)),
                                                    "predicted": found.predict(new)})
    for name, settings in {"umap": {"n_components": 2},
                           "tsne": {"n_components": 2}}.items():  # other digits elsewhere
        first, again = (find_patterns(embeddings, reducer=name, n_clusters=3, n_neighbors=10, **settings)
                        for _ in range(2))
        out |= prefixed(name, {"shape": first.reduced.shape, "the same again": np.array_equal(first.reduced,
            again.reduced), "finds the groups": label_agreement(first.labels, y) > .9})
    return out


def pattern_search():
    "Searches of settings."
    embeddings, y = blobs()
    found = search_patterns(embeddings, reducers=("none", "pca"), clusterers=("gmm", "kmeans", "hdbscan"),
                            ranges={"n_clusters": (2, 5)}, seed=1)
    out = patterns_of(found.best) | {"score": [found.score, found.stability],
                                     "edges": np.array(search_edges(found), str),
                                     **table(found.frame.drop(columns=["seconds",
                                         "trial"]).fillna({"n_components": 1}).head(12), "table: ")}
    loose = search_patterns(embeddings, n_trials=2, ranges={"n_clusters": (3, 4), "n_neighbors": (5, 20)})
    return out | {"umap: settings tried": len(loose.frame),
                  "umap: finds the groups": label_agreement(loose.best.labels, y) > .8}


def prototypes():
    "Prototypes of every kind, and their measures."
    embeddings, y = blobs()
    kinds = ("medoid", "centroid", "density", "mmd", "random")
    out = {f"{kind}, {n}": choose_prototypes(embeddings, y, kind, n) for kind in kinds for n in (1, 3)}
    out["compared"] = compare_prototypes(embeddings, y, embeddings[:, :3],
                                         baseline=np.random.default_rng(1).standard_normal((30, 8)),
                                         n_repeats=3).to_numpy(float)
    draw = lambda seed: blobs()[0] + .1 * np.random.default_rng(seed).standard_normal((90, 8))
    out["repeated"] = repeat_study(draw, {"reducer": "pca", "n_components": 2, "n_clusters": 3},
                                   kinds=("medoid", "random"), n_runs=3).iloc[:2].to_numpy(float)
    return out | {"described": array(describe_prototypes(rows().x, rows().y,
                                                         np.array([[3], [5]])).astype(str).to_numpy().ravel())}


def study():
    "Patterns of real digits and of rows, with what belongs to them."
    test, inputs, out = load("mnist-5k", "test").binary("5", "3"), load("mnist-5k").binary("5", "3"), {}
    inputs = inputs.subset(~np.isin(inputs.ids, two().ids)).subset(slice(0, 250))
    hardness = {"loss": np.linspace(0, 1, 200)}
    made = study_patterns(trained(), inputs, two(), test, tau=.4, reducer="pca", n_components=3, n_clusters=3,
                          per_cluster=2, scores={"train": hardness}, n_nearest=3, share=.1)
    for name, frame in made.tables().items(): out |= table(frame.reset_index(), f"{name}: ")
    out |= {"maps": brief(made.explanation.maps), "inside": made.inside.sum(1), "considered": made.considered,
            "card": len(made.card(0).axes)}
    model = build("tabular_mlp", rows())
    train(model, rows(), 1)
    first, last = rows().subset(slice(0, 100)), rows().subset(slice(100, 200))
    tables = study_patterns(model, first, rows(), last, tau=.2, reducer="none", clusterer="kmeans", n_clusters=3,
                            prototype="density", explainer="saliency", prototypes_in="embedding").tables()
    for name, frame in tables.items(): out |= table(frame.reset_index(), f"rows, {name}: ")
    model = build("lenet", three())
    train(model, three(), 1)
    frame = study_patterns(model, three(), three(), three(), tau=.2, reducer="pca", n_components=2, n_clusters=2,
                           explainer=None, prototype="mmd").frame
    return out | table(frame.reset_index(), "three classes: ")


def explanations():
    "Attributions by every method."
    baselines, out = class_baselines(two(), 3), {}
    x = two().normalize(two().x[:3])
    for method in ("gradient_shap", "integrated_gradients", "saliency"):
        found = explain(trained(name="lenet"), x, baselines, method, 10)
        out |= prefixed(method, {"maps": brief(found.maps), "delta": found.delta, "total": found.total})
    return out | {"baselines": brief(baselines)}


def benchmarks():
    "Cells of tiny grids."
    out, columns = {}, ["kind", "score", "by", "auroc", "auprc", "auroc_low", "auprc_high", "n", "n_flagged", "share",
                        "accuracy"]
    scores = ("aum", "data_maps", "data_iq", "forgetting", "el2n", "loss", "cleanlab", "prototypicality", "grand",
              "vog", "detector", "baselines")
    grids = {"images": benchmark_grid(datasets=("digits",), models=("cnn",), kinds=("uniform", "zoom_shift"),
                                      max_samples=150, n_epochs=5, lr=.01, batch_size=16, n_bootstrap=20,
                                      model_seeds=(0, 1), scores=scores),
             "tables": benchmark_grid(datasets=("wine",), models=("tabular_mlp",),
                                      kinds=("instance", "far_ood", "ambiguous"), n_epochs=3, lr=.01, batch_size=16,
                                      n_bootstrap=20, part="all", scores=(*scores, "conf_agree", "allsh"))}
    for name, grid in grids.items():
        with tempfile.TemporaryDirectory() as folder:
            cells = benchmark(grid, folder)
            order = ["kind", "model_seed", "score", "by"]
            out |= {f"{name}: {k}": array(v) for k, v in cells.sort_values(order, kind="stable")[columns].items()}
            if name == "images":
                for what, made in (("stability", score_stability(folder, cells)),
                                   ("agreement", score_agreement(folder, cells))):
                    out[what] = made.sort_values([c for c in ("score", "other", "by", "kind")
                                                  if c in made])["mean"].to_numpy()
    named = {**presets(), "hcat": hcat_grid(hardness="uniform", total_runs=2)}
    for name, grid in named.items():
        cells = [cell.name for cell in grid.cells()]
        out[f"cells of {name}"] = np.array([str(len(cells)), cells[0], cells[-1],
                                            str(zlib.crc32("\n".join(cells).encode()))])
    hardness = np.round(np.random.default_rng(10).random(50), 1)
    return out | prefixed("quality", detection_quality(hardness, hardness + np.random.default_rng(11).random(50) > 1.2,
                                                       30))


def benchmark_tables():
    "Tables made of the stored cells of the benchmark."
    cells = pd.read_parquet(root / "experiments" / "benchmark" / "results" / "digits.parquet")
    ranks, p = rank_scores(cells)
    summary = benchmark_summary(cells)
    return {**table(summary.sort_values(["score", "by", "kind"])[["mean", "low", "high"]], "summary: "),
            "ranked": np.array(ranks.index), **table(ranks, "ranks: "), "p": math.log10(max(p, 1e-300)),
            **table(seed_spread(cells), "spread: "), **table(conclusions(cells)[["best", "by", "auroc", "low",
                "high"]], "conclusions: ")}


def configurations():
    "Settings of every YAML file that ships, as the command line resolves them."
    files = sorted((root / "experiments").rglob("*.yml"))
    return {p.relative_to(root / "experiments").as_posix(): json.loads(json.dumps(resolved_settings(p.parent.name, p),
        default=str)) for p in files}


SUBJECTS = {f.__name__: f for f in (
    data, models, training, scores_two_classes, scores_ten_classes, scores_table, scores_of_runs,
    scores_of_training_steps, scores_with_options, scores_from_elsewhere, gradients,
    detector, injected, networks, gan, gasten, gasten_of_three_classes, confusion, chosen_epochs, grid_of_gasten,
    distances, patterns, pattern_search, prototypes, study,
    explanations, benchmarks, benchmark_tables, configurations)}


# == Storing and reading ==

def compute(subject: str) -> dict:
    "The entries of a subject: float64, int64 and text arrays, or nested settings."
    with one_thread(): entries = SUBJECTS[subject]()
    return {k: v if isinstance(v, dict) else _entry(v) for k, v in entries.items()}


def _entry(value) -> np.ndarray:
    "A float64, int64 or text array."
    value = array(value)
    return value.astype({"f": np.float64, "i": np.int64, "u": np.int64, "b": np.int64, "U": str}[value.dtype.kind])


def save(recorded: dict[str, dict]) -> None:
    "Write subjects to two files: numbers of a subject one after the other in the .npz, what they are in the .json."
    numbers, index = {}, {}
    for subject, entries in recorded.items():
        floats, ints, index[subject] = [], [], {}
        for name, value in entries.items():
            if isinstance(value, dict): index[subject][name] = value
            elif value.dtype.kind == "f":
                floats.append(value.ravel())
                index[subject][name] = ["float", *value.shape]
            else:
                words, codes = (None, value) if value.dtype.kind == "i" else np.unique(value, return_inverse=True)
                ints.append(codes.ravel())
                index[subject][name] = ["int", *value.shape] if words is None else ["text", *value.shape,
                    words.tolist()]
        if floats: numbers[f"{subject} float"] = np.concatenate(floats).astype(np.float32)
        if ints: numbers[f"{subject} int"] = np.concatenate(ints).astype(np.int64)
    assets.mkdir(exist_ok=True)
    np.savez_compressed(assets / "unchanged.npz", **numbers)
    lines = ",\n".join(f" {json.dumps(s)}: {{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k,
        v in entries.items()) + "\n }" for s, entries in index.items())
    (assets / "unchanged.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


def read() -> dict[str, dict]:
    "What `save` wrote."
    index, recorded = json.loads((assets / "unchanged.json").read_text(encoding="utf-8")), {}
    with np.load(assets / "unchanged.npz") as numbers:
        for subject, entries in index.items():
            taken, recorded[subject] = {"float": 0, "int": 0}, {}
            for name, what in entries.items():
                if isinstance(what, dict):
                    recorded[subject][name] = what
                    continue
                kind, words = ("float", None) if what[0] == "float" else ("int", what[-1]
                    if what[0] == "text" else None)
                shape = what[1:-1] if words is not None else what[1:]
                size = math.prod(shape)
                part = numbers[f"{subject} {kind}"][taken[kind]:taken[kind] + size].reshape(shape)
                taken[kind] += size
                recorded[subject][name] = part if words is None else np.array(words,
                    str)[part] if size else np.array([], str)
    return recorded


def distance(new: np.ndarray, old: np.ndarray) -> float:
    "How far numbers are from the largest stored one, as a share of it; for other entries the share that differs."
    if new.shape != old.shape: return math.inf
    if old.size == 0: return 0.
    if old.dtype.kind != "f": return float((new != old).mean())
    if (np.isnan(new) != np.isnan(old)).any(): return math.inf
    fine = ~np.isnan(old)
    return float(np.abs(new[fine] - old[fine]).max(initial=0) / max(np.abs(old[fine]).max(initial=0), 1e-12))


def main(args: list[str]) -> None:
    chosen = [a for a in args if not a.startswith("-")] or list(SUBJECTS)
    recorded, stored = {}, read() if (assets / "unchanged.json").exists() else {}
    for subject in chosen:
        start = time.perf_counter()
        recorded[subject] = compute(subject)
        print(f"{subject}: {len(recorded[subject])} entries, {time.perf_counter() - start:.1f} s", flush=True)
        if "--compare" in args:
            far = {k: distance(v, stored[subject][k]) for k, v in recorded[subject].items()
                   if not isinstance(v, dict) and k in stored.get(subject, {})}
            for k, d in sorted(far.items(), key=lambda item: -item[1]):
                if d > 1e-5: print(f"    {d:.1e} {recorded[subject][k].dtype.kind} {k}")
    if "--record" in args: save({s: recorded.get(s, stored.get(s, {})) for s in SUBJECTS})


if __name__ == "__main__": main(sys.argv[1:])
