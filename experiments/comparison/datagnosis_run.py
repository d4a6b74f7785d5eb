"""Datagnosis' scores beside ours, on the same samples, labels, network, epochs and learning rate.

    python -m venv other && other/bin/pip install datagnosis==0.0.3 .
    other/bin/python experiments/comparison/datagnosis_run.py

Every plugin of Datagnosis trains a network of its own. It is left as it is: the order of its batches, the logits of its
training steps and the weights after each epoch are noted from outside, so that our scores see the same training.
"""
import tempfile
from pathlib import Path

import numpy as np
import torch

import common as c

shim = not hasattr(__import__("torch._functorch.eager_transforms", fromlist=["x"]), "grad")
if shim: torch._functorch.eager_transforms.grad = torch.func.grad  # its GraNd imports what torch has renamed

from datagnosis.plugins.core.datahandler import DataHandler  # noqa: E402
from datagnosis.plugins import Plugins  # noqa: E402
from datagnosis import logger  # noqa: E402

logger.remove()
theirs_to_ours = {"aum": "aum", "confident_learning": "cleanlab", "conf_agree": "conf_agree", "data_iq": "data_iq",
                  "data_maps": "data_maps", "el2n": "el2n", "forgetting": "forgetting", "grand": "grand",
                  "large_loss": "loss", "prototypicality": "prototypicality", "vog": "vog", "allsh": "allsh"}
shuffled = {"conf_agree", "data_iq", "data_maps", "grand", "prototypicality", "vog", "allsh"}  # loop over `dataloader`
reversed_direction = {"prototypicality"}  # documented as high = hard; the number is a cosine similarity


def plugin_of(name: str, case: c.Case):
    "A plugin with its data and the record of what it will do."
    handler = DataHandler(case.inputs(), torch.from_numpy(case.samples.y), batch_size=c.training.batch_size)
    model = c.Dressed(case.network(), case.samples.is_image)
    optimizer = torch.optim.Adam(model.parameters(), lr=c.training.lr)
    extra = {"total_samples": len(case.samples)} if name == "forgetting" else {}
    plugin = Plugins().get(name, model=model, criterion=torch.nn.CrossEntropyLoss(), optimizer=optimizer,
                           lr=c.training.lr, epochs=c.training.n_epochs, num_classes=case.samples.n_classes, **extra)
    record = c.Record(plugin.model.network, plugin.optimizer, len(case.samples))  # the plugin trains copies
    order = c.logged_order(handler.dataset, record, plugin.model)
    handler.dataloader = torch.utils.data.DataLoader(handler.dataset, batch_size=c.training.batch_size, sampler=order)
    return plugin, handler, record


def put_back(values: np.ndarray, order: list[int]) -> np.ndarray:
    "Each value at the sample that it was computed from."
    placed = np.empty_like(values)
    placed[np.asarray(order)] = values
    return placed


def repaired_values(name: str, plugin, values: np.ndarray, record: c.Record) -> np.ndarray:
    "What the plugin computed, at the samples that it computed it from."
    if name not in shuffled: return values
    if name != "vog": return put_back(values, record.scoring_orders[-1])
    gradients = {int(i): [] for i in range(len(values))}  # a gradient an epoch, each from a pass of its own order
    for epoch, order in enumerate(record.scoring_orders):
        for place, sample in enumerate(order): gradients[sample].append(plugin.vog[place][epoch])
    plugin.vog = {i: gradients[i] for i in range(len(values))}
    return np.asarray(plugin.compute_scores(recompute=True))


def compare(name: str, case: c.Case, alone, folder: Path) -> dict:
    "One plugin on one case."
    score = theirs_to_ours[name]
    plugin, handler, record = plugin_of(name, case)
    _, seconds = c.timed(plugin.fit, handler, workspace=folder / name)
    scores = plugin.scores
    values = np.asarray(scores[0] if isinstance(scores, tuple) else scores, np.float64)
    second = np.asarray(scores[1], np.float64) if isinstance(scores, tuple) else None
    sign = -1 if plugin.hard_direction() == "low" else 1
    (_, _, top), _ = plugin.extract_datapoints(method="top_n", n=int(case.flags.sum()), sort_by_index=False)
    mended = np.asarray(repaired_values(name, plugin, values, record), np.float64)
    hard = -mended if name in reversed_direction else sign * mended
    ours = c.ours_on(record, case, [score])[score] if score != "allsh" else alone.hardness("allsh")
    twin = c.ours_as_theirs(score, record, case)
    if name in ("data_iq", "data_maps"):  # only the last epoch is left
        twin = c.ours_as_theirs("cleanlab", record, case)
    return c.row(case, score, sign * values, hard, twin, ours, alone.hardness(score), values=mended, their_name=name,
                 direction=plugin.hard_direction(), top_n=float(case.flags[list(map(int, top))].mean()),
                 shuffled=name in shuffled, reversed=name in reversed_direction, seconds=seconds,
                 second_spread=float(np.ptp(second)) if second is not None else np.nan)


def stale_cache(folder: Path) -> float:
    "Largest change of EL2N when a second plugin is fitted to other labels in the same workspace: 0 = not computed."
    found = []
    for seed in (0, 1):
        case = c.Case("breast-cancer", "uniform", .1, None, seed)
        plugin, handler, _ = plugin_of("el2n", case)
        plugin.fit(handler, workspace=folder / "same")
        found.append(np.asarray(plugin.scores))
    return float(np.abs(found[0] - found[1]).max())


if __name__ == "__main__":
    args = c.arguments(__doc__)
    for case in c.cases(args):
        alone, seconds_alone = c.timed(c.ours_alone, case)
        rows = []
        for name in theirs_to_ours:
            if name == "allsh" and not case.samples.is_image: continue
            with tempfile.TemporaryDirectory() as folder:
                try: found = compare(name, case, alone, Path(folder))
                except Exception as error:
                    print(case, name, type(error).__name__, str(error)[:300], flush=True)
                    found = {**c.asdict(case), "score": theirs_to_ours[name], "their_name": name,
                             "error": f"{type(error).__name__}: {error}"[:200]}
            rows.append(found | {"seconds_alone": seconds_alone, "shim": shim and name == "grand"})
        with tempfile.TemporaryDirectory() as folder: stale = stale_cache(Path(folder))
        c.write([r | {"stale_cache": stale} for r in rows], "datagnosis", args.out, "datagnosis", "aum")
        print(case, c.pd.DataFrame(rows).set_index("score").filter(
            ["theirs", "repaired", "ours", "ours_alone", "difference", "top_n", "seconds"]).round(3), flush=True)
