"""What the library computes is what it computed before: `unchanged.py` says what, `assets/unchanged.*` hold numbers.

A result that changes on purpose is recorded again with `python tests/unchanged.py --record SUBJECT`; the change log
says which and why.
"""
import re

import numpy as np
import pytest
from unchanged import SUBJECTS, compute, read

# How far numbers may be from the stored ones, as a share of each and of the largest of its entry. Other processors and
# numbers of threads round differently; these leave at least four times what was seen of that, pixels and counts aside.
# The first pattern that fits "subject: entry" counts.
TOLERANCES = [
    (r"autocast", 5e-3),                                   # bfloat16
    (r"conf_agree_ambiguity|allsh", 1e-2),                 # small differences of probabilities
    (r"scores.*settling", 5e-3),                           # correlations of ranks
    (r"(^|_)(gan|gasten).*: (histogram|yield|coverage|density|ambiguous)", .1),  # counts of images
    (r"(^|_)(gan|gasten).*(images|loaded)", 5e-2),         # Adam's first steps are of one size, whatever the gradient
    (r"(^|_)gasten", 2e-2),
    (r"^gan", 5e-3),
    (r"^benchmarks: (images|stability|agreement)", 5e-2),  # ranks of samples that are all but alike
    (r"^(benchmarks|study|explanations)", 5e-3),
    (r"^(data|distances: (frechet |cov|weight|bootstrap|kid|density)|prototypes|benchmark_tables)", 1e-5),  # untrained
    (r"", 3e-4),
]

# Whole numbers and words that may differ in one of fifty places: columns that compare numbers of a training with a
# threshold. All others are as they were.
LOOSE = (r"scores.*_(group|issue|learned|unforgettable)$|scores_from_elsewhere: flags: flagged"
         r"|study: .*: (pattern|prediction|suspect)")

# Entries with other names than those stored, and settings of the command line with other names than when stored.
RENAMED = {"grid_of_gasten: classifier": "model", "grid_of_gasten: frechet_ambiguous": "frechet_ambiguous_to_all"}
SETTINGS = {"epochs": "n_epochs", "dataset": "data", "root": "run_folder", "data_root": "data_folder",
            "together": "ensemble", "model_name": "model", "method": "explainer"}

stored = read()


def check(name: str, new: np.ndarray, old: np.ndarray) -> None:
    "Raise when an entry is not what it was."
    assert new.shape == old.shape, f"shape {new.shape}, was {old.shape}"
    if old.dtype.kind == "f":
        tolerance = next(t for pattern, t in TOLERANCES if re.search(pattern, name))
        np.testing.assert_allclose(new, old, rtol=tolerance, atol=tolerance * np.nanmax(np.abs(old), initial=0))
    elif re.search(LOOSE, name) and old.size > 20:
        assert (new != old).mean() <= .02, f"{(new != old).mean():.1%} differ"
    else: np.testing.assert_array_equal(_plain(new), _plain(old))


def _plain(values: np.ndarray) -> np.ndarray:
    "Numbers written as text in one way: 5.0 is 5."
    if values.dtype.kind != "U": return values
    return np.array([re.sub(r"^(\d+)\.0$", r"\1", v) for v in values.ravel()]).reshape(values.shape)


def check_settings(new: dict, old: dict) -> None:
    "Raise when a setting has another value; there may be more settings than there were."
    for key, value in old.items():
        name = next((k for k in (key, SETTINGS.get(key)) if k in new), None)
        assert name is not None, f"setting {key!r} is gone"
        if (name, value) == ("name", None): value = "default"        # which stands for a name made from the settings
        assert new[name] == value, f"{name} is {new[name]!r}, was {value!r}"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_results_are_what_they_were(subject):
    new, wrong = compute(subject), {}
    assert stored.get(subject), f"nothing is stored of {subject!r}; run python tests/unchanged.py --record {subject}"
    for name, old in stored[subject].items():
        now = new.get(RENAMED.get(f"{subject}: {name}", name))
        try:
            assert now is not None, "no longer computed"
            check_settings(now, old) if isinstance(old, dict) else check(f"{subject}: {name}", now, old)
        except AssertionError as error: wrong[name] = str(error).strip()
    shown = "\n".join(f"{name}: {error}" for name, error in list(wrong.items())[:10])
    assert not wrong, f"{len(wrong)} of {len(stored[subject])} entries changed\n{shown}"
