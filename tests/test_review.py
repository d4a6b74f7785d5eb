"""Review in a real JupyterLab, in headless Chromium: keys and clicks decide, and the file holds it."""
import pandas as pd
import pytest
from browser import needs, notebook_in_lab, wait

CELL = """
import numpy as np
from ambiguity_nb.jobs.audit import AuditOptions, audit
from ambiguity_nb.reviewing import review
from ambiguity_nb.sources import load_samples
digits = load_samples("digits", "all").subset(slice(0, 200))
probs = np.full((200, 10), .01)
probs[np.arange(200), np.where(np.arange(200) < 12, (digits.y + 1) % 10, digits.y)] = .91
reviewer = review(audit(digits, probs, AuditOptions(boundary=False)))
reviewer
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    "A notebook with a review, run."
    needs("jupyterlab")
    with notebook_in_lab(tmp_path_factory.mktemp("lab"), {"review": CELL}, "--window-size=1200,1000") as page:
        wait(lambda: page.js("!!document.querySelector('.ambiguity-review h4')"), 180, "the first finding")
        yield page


def progress(page): return page.js("document.querySelector('.ambiguity-review .ambiguity-progress').textContent") or ""


def press(page, key, code=None):
    page.js("document.querySelector('.ambiguity-review').focus()")
    for kind in ("keyDown", "keyUp"):
        page("Input.dispatchKeyEvent", type=kind, key=key, code=code or f"Key{key.upper()}")


def made(page):
    path = page.folder / "decisions.csv"
    return pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else pd.DataFrame()


@pytest.mark.slow
def test_keys_and_clicks_decide_and_the_file_holds_it(page):
    n = int(progress(page).split(" of ")[1].split(";")[0])
    assert n == 12 and page.js("[...document.querySelectorAll('.ambiguity-review img')].every(i => i.naturalWidth > 0)")
    page.screenshot("review.png")
    for i, key in enumerate("akud", 1):
        press(page, key)
        wait(lambda i=i: len(made(page)) == i and progress(page).startswith(f"{i + 1} of"), 30, f"decision {i}")
    assert made(page)["decision"].tolist() == ["accept", "keep", "unsure", "drop"]
    assert made(page)["label"].tolist() == [made(page)["suggested"][0], *made(page)["given"][1:3], ""]
    page.js("(s => { s.value = s.options[3].value; s.dispatchEvent(new Event('change')); })"
            "(document.querySelector('.ambiguity-review select'))")
    wait(lambda: len(made(page)) == 5, 30, "another label")
    assert made(page)["decision"][4] == "other" and made(page)["label"][4] not in ("", made(page)["given"][4])
    press(page, "ArrowLeft", "ArrowLeft")
    wait(lambda: progress(page).startswith("5 of"), 30, "going back")
    assert page.js("document.querySelector('.ambiguity-review select').value") == made(page)["label"][4]
    page.js("document.querySelector('.ambiguity-review [data-decision=keep]').click()")
    wait(lambda: made(page)["decision"][4] == "keep", 30, "deciding again")
    assert len(made(page)) == 5


@pytest.mark.slow
def test_a_new_widget_goes_on_where_the_last_ended(page):
    done = len(made(page))
    page.js("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    wait(lambda: progress(page).startswith(f"{done + 1} of 12; {done} decided"), 60, "taking up the review")
