"""cleanlab beside our score that calls it, on the same probabilities, and its own cross-validation beside ours.

    pip install "cleanlab[datalab]"
    python experiments/comparison/cleanlab_run.py

Without `datasets` the column of Datalab stays empty.
"""
import numpy as np
import torch
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.base import BaseEstimator, ClassifierMixin

import common as c
from ambiguity_nb.models import predict_logits
from ambiguity_nb.replay import replay
from ambiguity_nb.scores import SCORES, characterize
from ambiguity_nb.training import fit

methods = ["self_confidence", "normalized_margin", "confidence_weighted_entropy"]
filters = ["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given"]


class Network(ClassifierMixin, BaseEstimator):
    "The network of a case for scikit-learn: `X` holds positions, so that images and tables are alike."

    def __init__(self, case=None): self.case = case

    def fit(self, X, y):
        samples = self.case.samples
        rows = np.asarray(X).ravel()
        self.classes_, self.network_ = np.arange(samples.n_classes), self.case.network()
        fit(self.network_, samples.subset(rows).replace(y=np.asarray(y)), c.training, seed=self.case.seed)
        return self

    def predict_proba(self, X):
        part = self.case.samples.subset(np.asarray(X).ravel())
        return torch.from_numpy(predict_logits(self.network_, part)).double().softmax(1).numpy()

    def predict(self, X): return self.predict_proba(X).argmax(1)


def precision_recall(issues, flags) -> dict:
    "Of a mask of suspected labels."
    hits = float((issues & flags).sum())
    return {"n_issues": int(issues.sum()), "precision": hits / max(1, issues.sum()), "recall": hits / flags.sum()}


def datalab_issues(case: c.Case, probs) -> np.ndarray | None:
    "Mask of Datalab's label issues, where it is installed."
    try: from cleanlab import Datalab
    except ImportError: return None
    try: lab = Datalab({"y": case.samples.y}, label_name="y", verbosity=0)
    except ImportError: return None
    lab.find_issues(pred_probs=probs, issue_types={"label": {}})
    return lab.get_issues("label")["is_label_issue"].to_numpy()


def compare(case: c.Case) -> list[dict]:
    "Scores and masks for probabilities in sample and out of sample, and cleanlab's own workflow."
    y, flags, rows = case.samples.y, case.flags, []
    name = "lenet" if case.samples.is_image else "tabular_mlp"
    model = name if case.dropout is None else case.network
    wanted = [SCORES["cleanlab"](), "aum"]
    inside, seconds_inside = c.timed(characterize, model, case.samples, wanted, c.training, seed=case.seed)
    blind = SCORES["cleanlab"](out_of_sample=True)
    outside, seconds_outside = c.timed(characterize, model, case.samples, [blind], c.training, seed=case.seed)
    learner = CleanLearning(Network(case), cv_n_folds=5, seed=case.seed)
    found, seconds = c.timed(learner.find_label_issues, np.arange(len(y))[:, None], y)
    probs = {"in sample": torch.from_numpy(predict_logits(inside.model, case.samples)).double().softmax(1).numpy(),
             "out of sample": learner.pred_probs if hasattr(learner, "pred_probs") else None}
    if probs["out of sample"] is None:
        from sklearn.model_selection import cross_val_predict

        probs["out of sample"] = cross_val_predict(Network(case), np.arange(len(y))[:, None], y, cv=5,
                                                   method="predict_proba")
    for origin, p in probs.items():
        for method in methods:
            values = get_label_quality_scores(y, p, method=method)
            again = replay(p[None], case.samples, [SCORES["cleanlab"](method=method)], probs=True)
            mine = again.values("cleanlab")
            rows.append(c.row(case, "cleanlab", -values, -values, mine, -mine, -mine, values=values, what="quality",
                              their_name=method, origin=origin))
        for by in filters:
            issues = np.asarray(find_label_issues(y, p, filter_by=by, n_jobs=1))
            ours = again["cleanlab"].columns["issue"] if by == filters[0] else None
            differ = np.nan if ours is None else float((issues != ours).sum())
            rows.append({**c.asdict(case), "score": "cleanlab", "what": "issues", "their_name": by, "origin": origin,
                         "n_different": differ, **precision_recall(issues, flags)})
        issues = datalab_issues(case, p)
        if issues is not None:
            differ = float((issues != again["cleanlab"].columns["issue"]).sum())
            rows.append({**c.asdict(case), "score": "cleanlab", "what": "issues", "their_name": "Datalab",
                         "origin": origin, "n_different": differ, **precision_recall(issues, flags)})
    theirs, mine = -found["label_quality"].to_numpy(), outside.hardness("cleanlab")
    rows.append(c.row(case, "cleanlab", theirs, theirs, None, mine, mine, what="workflow", their_name="CleanLearning",
                      origin="out of sample", seconds=seconds, seconds_alone=seconds_outside,
                      in_sample=c.auroc(inside.hardness("cleanlab"), flags), aum=c.auroc(inside.hardness("aum"), flags),
                      seconds_in_sample=seconds_inside,
                      **precision_recall(found["is_label_issue"].to_numpy(), flags)))
    return rows


if __name__ == "__main__":
    args = c.arguments(__doc__)
    for case in c.cases(args):
        if case.dropout is not None: continue  # nothing here depends on it
        rows = compare(case)
        c.write(rows, "cleanlab", args.out, "cleanlab")
        print(case, c.pd.DataFrame(rows)[["what", "their_name", "origin", "theirs", "ours", "difference", "n_different",
                                          "precision", "recall", "seconds"]].round(3).to_string(), flush=True)
