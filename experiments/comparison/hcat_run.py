"""H-CAT's scores and its evaluator beside ours, on the same samples, labels, network, epochs and learning rate.

H-CAT is no package: clone github.com/seedatnabeel/H-CAT (Apache-2.0) into a folder outside this repository, then

    python -m venv other && other/bin/pip install augly aum cleanlab .
    other/bin/python experiments/comparison/hcat_run.py --hcat FOLDER

Its trainer computes all scores in one training, which is recorded from outside so that our scores see the same one.
Its detector needs weights that come with the clone; without them it is left out.
"""
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader, Dataset

import common as c

theirs_to_ours = {"aum": "aum", "cleanlab": "cleanlab", "conf_agree": "conf_agree", "dataiq": "data_iq",
                  "datamaps": "data_maps", "el2n": "el2n", "forgetting": "forgetting", "grand": "grand", "loss": "loss",
                  "prototypicality": "prototypicality", "vog": "vog", "allsh": "allsh"}
high_is_hard = {"el2n", "grand", "loss", "forgetting"}  # for its evaluator; all others count as low = hard
reversed_direction = {"vog", "allsh"}  # which its evaluator counts as low = hard
vog_epochs = [0, 2, 4]  # the epochs, from 0, at which its trainer takes gradients


class Quadruples(Dataset):
    "Samples as H-CAT's loader gives them: input, true label, given label, position."

    def __init__(self, case: c.Case):
        self.x, self.y = case.inputs(), torch.from_numpy(case.samples.y)
        self.true = torch.from_numpy(case.injected.true_y)

    def __len__(self): return len(self.y)

    def __getitem__(self, i): return self.x[i], self.true[i], self.y[i], i


def trained(case: c.Case):
    "H-CAT's trainer after its training, the record of it, and the seconds."
    from src.trainer import PyTorchTrainer
    from src.utils import seed_everything

    seed_everything(case.seed)
    model, data = c.Dressed(case.network(), case.samples.is_image), Quadruples(case)
    optimizer = torch.optim.Adam(model.parameters(), lr=c.training.lr)
    methods = ["aum", "data_uncert", "el2n", "grand", "cleanlab", "forgetting", "vog", "prototypicality", "loss",
               "conf_agree", *(["allsh"] if case.samples.is_image else [])]
    record = c.Record(model.network, optimizer, len(case.samples))
    size = c.training.batch_size
    shuffled = DataLoader(data, size, sampler=c.logged_order(data, record, model))
    trainer = PyTorchTrainer(model, torch.nn.CrossEntropyLoss(), optimizer, torch.device("cpu"), c.training.lr,
                             c.training.n_epochs, len(data), case.samples.n_classes, methods)
    _, seconds = c.timed(trainer.fit, shuffled, DataLoader(data, size, shuffle=False))
    return trainer, record, seconds


def compare(case: c.Case) -> list[dict]:
    "All scores on one case."
    from src.evaluator import Evaluator

    alone, seconds_alone = c.timed(c.ours_alone, case)
    trainer, record, seconds = trained(case)
    flags = case.flags.astype(int)
    (judged, raw), seconds_scores = c.timed(Evaluator(trainer.get_hardness_methods(), flags, case.prop).compute_results)
    on_theirs = c.ours_on(record, case)
    if case.samples.is_image: on_theirs["allsh"] = alone.hardness("allsh")
    rows = []
    for name, score in theirs_to_ours.items():
        if name not in judged: continue
        values = np.asarray(raw[name], np.float64)
        theirs = values if name in high_is_hard else -values
        repaired = -theirs if name in reversed_direction else theirs
        twin = c.ours_as_theirs(score, record, case, vog_epochs=vog_epochs)
        rows.append(c.row(
            case, score, theirs, repaired, twin, on_theirs[score], alone.hardness(score), values=values,
            their_name=name, reversed=name in reversed_direction, auroc_stated=judged[name]["auc_roc"],
            auprc_stated=judged[name]["auc_prc"], ours_auprc=average_precision_score(case.flags, on_theirs[score]),
            flagged_by_threshold=flagged(trainer, case, name), seconds=seconds + seconds_scores,
            seconds_alone=seconds_alone))
    return rows


def flagged(trainer, case: c.Case, name: str) -> float:
    "Share of all samples that H-CAT's own threshold flags; NaN where it has none of its own."
    from src.evaluator import Evaluator

    if name != "aum": return np.nan
    judge = Evaluator(trainer.get_hardness_methods(), case.flags.astype(int), case.prop)
    return float(np.mean(judge.aum_scores()))


if __name__ == "__main__":
    folder = sys.argv[sys.argv.index("--hcat") + 1]
    del sys.argv[sys.argv.index("--hcat"):sys.argv.index("--hcat") + 2]
    args = c.arguments(__doc__)
    args.out = args.out.resolve()
    sys.path.insert(0, str(Path(folder).resolve()))
    for case in c.cases(args):
        with tempfile.TemporaryDirectory() as work, contextlib.redirect_stdout(io.StringIO()):
            os.chdir(work)  # it writes aum_values.csv where it runs
            rows = compare(case)
            os.chdir(args.out.parent)
        c.write(rows, "hcat", args.out, "aum", "cleanlab")
        shown = ["theirs", "repaired", "ours", "ours_alone", "spearman", "difference", "auprc_stated", "ours_auprc"]
        print(case, c.pd.DataFrame(rows).set_index("score")[shown].round(3).to_string(), flush=True)
