"""The authors' own package `data-iq` beside our Data-IQ and Data Maps: a network, and boosted trees.

    pip install data-iq
    python experiments/comparison/dataiq_run.py --data breast-cancer

Its class for networks feeds one sample at a time without a batch, so images with `nn.Flatten` are not for it.
"""
import warnings

import torch
from data_iq import DataIQ_SKLearn, DataIQ_Torch
from sklearn.ensemble import GradientBoostingClassifier

import common as c
from ambiguity_nb.models import evaluating
from ambiguity_nb.replay import characterize_trees
from ambiguity_nb.scores import characterize
from ambiguity_nb.training import Hook


class AfterEpoch(Hook):
    "Calls `DataIQ_Torch.on_epoch_end` with a network that gives probabilities, as that class expects."

    def __init__(self, case: c.Case):
        self.watch = DataIQ_Torch(X=case.inputs().numpy(), y=case.samples.y, sparse_labels=True)
        self.watch.gradient = lambda *args: None  # its gradient norms need a library hook of their own

    def after_epoch(self, epoch, model, samples, metrics):
        with evaluating(model): self.watch.on_epoch_end(torch.nn.Sequential(model, torch.nn.Softmax(-1)))


class Staged:
    "A boosted classifier of scikit-learn with the `iteration_range` that `DataIQ_SKLearn` asks for (as XGBoost has)."

    def __init__(self, estimator, x): self.stages = list(estimator.staged_predict_proba(x))

    def predict_proba(self, x, iteration_range): return self.stages[iteration_range[1] - 1]


def of_network(case: c.Case):
    "Their class beside ours in one training."
    hook = AfterEpoch(case)
    model = "tabular_mlp" if case.dropout is None else case.network
    found = characterize(model, case.samples, ["data_iq", "data_maps"], c.training, seed=case.seed, hooks=[hook])
    return hook.watch, found


def of_trees(case: c.Case):
    "Their class beside ours on the same fitted trees."
    x = case.samples.x.reshape(len(case.samples), -1)
    trees = GradientBoostingClassifier(n_estimators=50, random_state=case.seed).fit(x, case.samples.y)
    staged, watch = Staged(trees, x), DataIQ_SKLearn(X=x, y=case.samples.y)
    for t in range(1, 51): watch.on_epoch_end(clf=staged, iteration=t)
    return watch, characterize_trees(trees, case.samples, ["data_iq", "data_maps"])


def compare(case: c.Case) -> list[dict]:
    "Confidence, aleatoric uncertainty and variability, from a network and from trees."
    rows = []
    for model, run in (("network", of_network), ("trees", of_trees)):
        watch, found = run(case)
        confidence = found.values("data_iq")
        pairs = {"confidence": (watch.confidence, confidence, "data_iq", -1),
                 "aleatoric": (watch.aleatoric, found.ambiguity("data_iq"), "data_iq", 1),
                 "variability": (watch.variability, found.ambiguity("data_maps"), "data_maps", 1)}
        for what, (values, mine, score, sign) in pairs.items():
            rows.append(c.row(case, score, sign * values, sign * values, mine, sign * mine, sign * mine, values=values,
                              their_name=what, model=model))
    return rows


if __name__ == "__main__":
    args = c.arguments(__doc__)
    warnings.filterwarnings("ignore")
    rows = [r for case in c.cases(args) if case.data == "breast-cancer" for r in compare(case)]
    print(c.write(rows, "dataiq", args.out, "data-iq"))
    print(c.pd.DataFrame(rows)[["kind", "seed", "model", "their_name", "theirs", "ours", "difference"]].to_string())
