"""What the comparisons share: the data, a record of another tool's training, our scores on that record, and rows.

No other tool is imported here. `tests/test_comparison.py` uses this module to compute one stored row again.
"""
import argparse
import copy
import platform
import time
import warnings
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.data import RandomSampler

import ambiguity_nb
from ambiguity_nb.hardness_types import Injected, inject
from ambiguity_nb.models import build_model, logits_and_embeddings
from ambiguity_nb.replay import replay, replay_models
from ambiguity_nb.scores import SCORES, Characterization, ScoreSet, characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training

results = Path(__file__).parent / "results"
training = Training(n_epochs=10, batch_size=64, lr=1e-3)  # what every tool is given
settings = [("breast-cancer", "uniform", .1, None), ("breast-cancer", "uniform", .1, 0.),
            ("breast-cancer", "adjacent", .4, None),
            ("mnist-1k", "uniform", .1, None)]  # data, kind, share, dropout


@dataclass(frozen=True)
class Case:
    "One data set with one draw of wrong labels."
    data: str  # breast-cancer, or mnist-1k: 1,000 of the bundled MNIST images
    kind: str  # of the wrong labels
    prop: float  # share of wrong labels
    dropout: float | None  # of the network; its usual one when None
    seed: int  # of the wrong labels, the weights and the order of the batches

    @cached_property
    def injected(self) -> Injected:
        "The samples with their wrong labels."
        samples = load_samples("mnist-5k" if self.data == "mnist-1k" else self.data)
        if self.data == "mnist-1k":
            samples = samples.subset(np.sort(np.random.default_rng(0).permutation(len(samples))[:1000]))
        return inject(samples, self.kind, self.prop, seed=self.seed)

    @property
    def samples(self): return self.injected.samples

    @property
    def flags(self): return self.injected.flags

    def network(self) -> nn.Module:
        "The network that every tool starts from."
        options = {} if self.dropout is None else {"dropout": self.dropout}
        return build_model("lenet" if self.samples.is_image else "tabular_mlp", self.samples, self.seed, **options)

    def inputs(self) -> torch.Tensor:
        "What a tool is given: images in [0, 1], the columns of a table standardized."
        samples = self.samples
        if samples.is_image: return torch.from_numpy(samples.x.astype(np.float32) / 255)
        return samples.normalize(samples.x)


class Dressed(nn.Module):
    "A network that takes images in [0, 1] and returns its embedding when asked with `embed=True`."

    def __init__(self, network: nn.Module, is_image: bool):
        super().__init__()
        self.network, self.is_image = network, is_image

    def forward(self, x, embed=False):
        if self.is_image: x = 2 * x - 1
        return logits_and_embeddings(self.network, x)[1] if embed else self.network(x)


class Listener:
    "A hook that pickles and copies as one that does nothing, so that a tool's caches do not grow by it."

    def __init__(self, function=None): self.function = function

    def __call__(self, *args):
        if self.function is not None: self.function(*args)

    def __reduce__(self): return Listener, ()


class Record:
    "The logits of the training steps and the weights after each epoch, taken from outside while a tool trains."

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, n_samples: int):
        self.network, self.steps = network, -(-n_samples // training.batch_size)
        self.logits, self.weights, self.count, self.orders = [], [], 0, []
        network.register_forward_hook(Listener(self._forward))
        optimizer.register_step_post_hook(Listener(self._step))

    def _forward(self, module, inputs, output):
        if module.training and torch.is_grad_enabled() and len(self.logits) < self.steps * training.n_epochs:
            self.logits.append(output.detach().clone())

    def _step(self, optimizer, *args):
        self.count += 1
        if self.count % self.steps == 0: self.weights.append(copy.deepcopy(self.network.state_dict()))

    @property
    def train_orders(self) -> list[list[int]]:
        "Positions in the order in which each training epoch presented them."
        return [order for training_mode, order in self.orders if training_mode][:training.n_epochs]

    @property
    def scoring_orders(self) -> list[list[int]]:
        "Positions in the order of the tool's own passes over the shuffled loader."
        mine, left = training.n_epochs, []
        for training_mode, order in self.orders:
            if training_mode and mine: mine -= 1
            else: left.append(order)
        return left

    def train_logits(self) -> np.ndarray:  # [T, N, K], by position
        "Logits of the training steps, back at their samples."
        epochs = []
        for epoch, order in enumerate(self.train_orders):
            rows = torch.cat(self.logits[epoch * self.steps:(epoch + 1) * self.steps])
            put = torch.empty_like(rows)
            put[torch.tensor(order)] = rows
            epochs.append(put)
        return torch.stack(epochs).numpy()

    def snapshots(self) -> list[nn.Module]:
        "The network after each epoch."
        made = []
        for weights in self.weights:
            network = copy.deepcopy(self.network)
            network.load_state_dict(weights)
            made.append(network.eval())
        return made


def logged_order(dataset, record: Record, network: nn.Module) -> RandomSampler:
    """What `shuffle=True` uses, with the same random numbers, that notes its orders.

    The record is no attribute of the sampler, so that a tool that writes its loader down does not find it.
    """
    class Logged(RandomSampler):
        def __iter__(self):
            order = list(super().__iter__())
            record.orders.append((network.training, order))
            return iter(order)

    return Logged(dataset)


# ------------------------------------------------------------------------------------------------ ours
ours_names = ["aum", "cleanlab", "conf_agree", "data_iq", "data_maps", "el2n", "forgetting", "grand", "loss",
              "prototypicality", "vog"]


def ours_alone(case: Case, scores=(*ours_names, "allsh")) -> Characterization:
    "Our scores as they come, from our own training."
    name = "lenet" if case.samples.is_image else "tabular_mlp"
    wanted = [s for s in scores if not (s == "allsh" and not case.samples.is_image)]
    model = name if case.dropout is None else case.network
    return characterize(model, case.samples, wanted, training, seed=case.seed)


def ours_on(record: Record, case: Case, scores=ours_names) -> dict[str, np.ndarray]:
    "Hardness by our scores as they come, on the very training that a tool did."
    steps = [s for s in scores if s in ("aum", "forgetting")]  # these look at the steps of the training
    others = [s for s in scores if s not in steps]
    found = {}
    if steps: found |= replay(record.train_logits(), case.samples, steps).scores
    if others: found |= replay_models(ScoreSet(others), record.snapshots(), case.samples).scores
    return {s: found[s].hardness.mean(0) for s in scores}


def one(score, snapshots: list[nn.Module], case: Case) -> Characterization:
    "One score on some snapshots."
    return replay_models(ScoreSet([score]), snapshots, case.samples)


def ours_as_theirs(name: str, record: Record, case: Case, vog_epochs=None) -> np.ndarray | None:
    "Our implementation with another tool's definition, [N], in the tool's own unit; None where it cannot be asked so."
    last, snapshots = training.n_epochs, record.snapshots()
    if name == "aum": return replay(record.train_logits(), case.samples, ["aum"]).values("aum")
    if name in ("data_iq", "data_maps", "loss", "cleanlab"): return one(name, snapshots, case).values(name)
    if name == "el2n": return one(SCORES["el2n"](epochs=[last]), snapshots, case).values(name) ** 2
    if name == "grand": return one(SCORES["grand"](epochs=[last]), snapshots, case).values(name)
    if name == "prototypicality": return 1 - one(name, snapshots[-1:], case).values(name)
    if name == "forgetting":
        found = one(SCORES["forgetting"](at="epochs"), snapshots, case)
        learned = found["forgetting"].columns["learned"]
        return np.where(learned, found.values("forgetting"), 0) / last
    if name == "vog":
        chosen = [snapshots[e] for e in (vog_epochs or range(last))]
        of_probability = [nn.Sequential(m, nn.Softmax(1)) for m in chosen]
        score = SCORES["vog"](n_snapshots=len(chosen), standardized=False)
        return one(score, of_probability, case).values(name) * (2 if case.samples.is_image else 1)  # images in [0, 1]
    return None


# ------------------------------------------------------------------------------------------------ rows
def auroc(hardness, flags) -> float:
    "Area under the ROC curve for finding the wrong labels."
    return float(roc_auc_score(flags, hardness))


def rank_agreement(a, b) -> float:
    "Spearman correlation; NaN for a constant, without a word."
    if np.ptp(a) == 0 or np.ptp(b) == 0: return np.nan
    return float(spearmanr(a, b).statistic)


def found_share(hardness, flags) -> float:
    "Share of wrong labels among as many hardest samples as there are wrong labels."
    return float(np.asarray(flags)[np.argsort(-np.asarray(hardness), kind="stable")[:flags.sum()]].mean())


def row(case: Case, score: str, theirs, repaired, twin, ours, alone, **rest) -> dict:
    """One line of a table; all but `twin` are hardness [N], `twin` is compared with `rest["values"]`.

    `theirs` is turned as the tool's documentation says, `repaired` has its positions and direction mended.
    """
    flags, values = case.flags, rest.pop("values", None)
    found = {**asdict(case), "score": score, "n": len(flags), "n_flagged": int(flags.sum()),
             "theirs": auroc(theirs, flags), "repaired": auroc(repaired, flags), "ours": auroc(ours, flags),
             "ours_alone": auroc(alone, flags), "spearman": rank_agreement(theirs, ours),
             "spearman_repair": rank_agreement(theirs, repaired),
             "spearman_repaired": rank_agreement(repaired, ours), "theirs_top": found_share(theirs, flags),
             "ours_top": found_share(ours, flags)}
    if twin is not None and values is not None:
        found |= {"difference": float(np.abs(values - twin).max()), "spread": float(np.ptp(twin)),
                  "spearman_twin": rank_agreement(values, twin)}
    return found | rest


def versions(*packages: str) -> dict:
    "Versions of packages, and of ours."
    found = {"ambiguity_nb": ambiguity_nb.__version__, "python": platform.python_version()}
    for package in ("torch", "numpy", *packages):
        found[package] = version(package)
    return found


def timed(function, *args, **kwargs):
    "Result and seconds."
    start = time.perf_counter()
    found = function(*args, **kwargs)
    return found, time.perf_counter() - start


def cases(args) -> list[Case]:
    "The cases that were asked for."
    return [Case(*s, seed) for s in settings for seed in args.seeds if s[0] in args.data]


def arguments(description: str):
    "Command line of every script."
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", nargs="+", default=["breast-cancer", "mnist-1k"])
    parser.add_argument("--out", type=Path, default=results)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    return args


def write(rows: list[dict], name: str, out: Path, *packages: str) -> Path:
    "A table with the versions that made it; what it had for other cases stays."
    out.mkdir(parents=True, exist_ok=True)
    path, table = out / f"{name}.parquet", pd.DataFrame(rows)
    for package, number in versions(*packages).items(): table[f"version_{package}"] = number
    if path.exists():
        key = [c for c in ("data", "kind", "prop", "dropout", "seed") if c in table]
        old = pd.read_parquet(path)
        done = set(map(tuple, table[key].fillna(-1).to_numpy().tolist()))
        kept = [tuple(k) not in done for k in old[key].fillna(-1).to_numpy().tolist()]
        table = pd.concat([old[kept], table], ignore_index=True)
    floats = table.select_dtypes("float").columns
    table[floats] = table[floats].round(7)
    table.to_parquet(path, index=False)
    return path
