"""The audit: what it finds and refuses, and its page in headless Chromium, as wide as a desk and as a phone."""
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from browser import chromium, needs, wait
from scipy.stats import spearmanr

from ambiguity_nb.data import from_arrays
from ambiguity_nb.duplicates import find_duplicates
from ambiguity_nb.hardness_types import inject
from ambiguity_nb.jobs.audit import (AuditOptions, _add_boundary, _between_section, _doubted, _estimate,
                                       _fit_weighted, _found_planted, _from_verdicts, _interval, audit)
from ambiguity_nb.jobs.cli import main
from ambiguity_nb.models import build_model, predict_logits
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, fit

QUICK = AuditOptions(boundary=False)


@pytest.fixture(scope="module")
def wrong():
    "A table of 569 rows of which 28 have a wrong label."
    return inject(load_samples("breast-cancer", "all"), "uniform", .05, seed=0)


@pytest.fixture(scope="module")
def found(wrong): return audit(wrong.samples, options=QUICK, training=Training(n_epochs=20))


def strange_names():
    "Digits whose classes have names of every length and script, one of them with markup, and copies among them."
    digits = load_samples("digits", "all").subset(slice(0, 400))
    names = ["<script>alert(1)</script>", "猫（ねこ）", "Hund & Katze", "قطة", "x" * 120, "five", "'six\"", "seven",
             "8️⃣", "9"]
    x, y = np.concatenate([digits.x, digits.x[:6]]), np.concatenate([digits.y, (digits.y[:6] + 1) % 10])
    return from_arrays(x, y, names, "a <b>strange</b> set", [f"img/{i:03d} ü.png" for i in range(406)])


# --------------------------------------------------------------------------------------------------- what it finds
def test_planted_errors_are_on_the_list_with_their_true_label(wrong, found):
    listed = found.top("mislabeled", 99)
    at = found.positions(listed["id"])
    hits = wrong.flags[at]
    assert hits.mean() >= .7 and hits.sum() >= .6 * wrong.flags.sum()
    true = load_samples("breast-cancer", "all").y[at[hits]]
    names = np.asarray(wrong.samples.classes)
    assert (listed["suggested"].to_numpy()[hits] == names[true]).mean() == 1
    assert list(found.issues) == ["id", "path", "given", "suggested", "kind", "probability", "p_value", "reason"]
    assert found.summary[0].startswith(f"{len(listed)} of 569 labels look wrong")


def test_clean_labels_are_hardly_doubted():
    clean = audit(load_samples("wine", "all"), options=QUICK, training=Training(n_epochs=20))
    assert (clean.issues["kind"] == "mislabeled").sum() <= 4                       # of 178
    assert not clean.classes[["wrong", "low", "high"]].notna().any().any()         # no rate is claimed below 4,000 rows


def test_few_rows_are_ranked_and_no_kind_is_named(found):
    assert any("too few" in note for note in found.notes)
    assert set(found.issues["kind"]) <= {"mislabeled", "unsure"} and found.issues["probability"].isna().all()


def test_a_rare_class_does_not_fill_the_list():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [950, 50])
    p = np.where(y == 1, .3, .05) + rng.uniform(-.04, .04, 1000)                   # never sure of class 1
    p[:3] = .6
    doubted = _doubted(np.stack([1 - p, p], 1), y)
    assert doubted[:3].all() and not doubted[950:].any()
    assert (p[950:] < .5).all()                                                    # the plain rule would take them all


def test_the_list_holds_suspects_and_without_any_what_is_called_mislabeled():
    kinds, at = np.array(["typical", "mislabeled", "typical", "unsure"], object), pd.Index(list("abcd"), name="id")
    frame = pd.DataFrame({"kind": kinds, "p_value": [.001, .2, .4, .6]}, at)
    verdicts = SimpleNamespace(samples=range(4), frame=frame, suspicion=np.arange(4.)[::-1], ranks=None, notes=(),
                               wrong_labels=None, suspects=lambda: frame.iloc[:1], probabilities=np.full((4, 4), .25))
    found = _from_verdicts(verdicts, None)
    assert found.doubted.tolist() == [True, False, False, False] and found.wrong.tolist() == [.25] * 4
    verdicts.suspects = lambda: frame.iloc[:0]
    assert _from_verdicts(verdicts, None).doubted.tolist() == [False, True, False, False]
    frame["p_value"] = np.nan                                                     # withdrawn: by confident learning
    verdicts.samples = from_arrays(np.zeros((4, 2), np.float32), np.array([0, 0, 1, 1]))
    probs = np.array([[.9, .1], [.1, .9], [.2, .8], [.2, .8]])
    assert _from_verdicts(verdicts, probs).doubted.tolist() == _doubted(probs, verdicts.samples.y).tolist()


def test_the_list_is_checked_by_what_was_planted():
    rng, n = np.random.default_rng(0), 1000
    ranks = pd.DataFrame({"training 1": rng.random(n), "training 2": rng.random(n)})
    ranks.loc[:99, "training 1"] = np.nan                                          # probes of the first training
    planted = pd.DataFrame({"run": [0, 0, 1, 1], "kind": ["mislabeled"] * 3 + ["ambiguous"],
                            "generator": ["uniform", "instance", "uniform", "half of each"],
                            "consensus": [.99, .5, .99, .99]})
    hits = _found_planted(SimpleNamespace(planted=planted, ranks=ranks), 100)
    assert hits.tolist() == [True, False, True] and list(hits.index) == ["uniform", "instance", "uniform"]
    planted["consensus"] = np.nextafter(np.sort(ranks["training 2"])[-100], 0)      # just below the last of the list
    assert not _found_planted(SimpleNamespace(planted=planted, ranks=ranks), 100)["uniform"].iloc[1]


def test_scores_and_trainings_say_how_far_they_agree(found):
    opinions, doubted, ranks = found.opinions(), found.judged.doubted, found.judged.ranks
    assert list(opinions.index) == ["AUM", "margin", "neighbors", "training 1", "training 2"]
    for name in opinions.index:
        assert opinions["correlation"][name] == pytest.approx(spearmanr(ranks[name], ranks["consensus"]).statistic)
        worst = ranks[name].to_numpy() >= np.sort(ranks[name])[-doubted.sum()]
        assert opinions["agrees"][name] == pytest.approx(worst[doubted].mean())
    assert "doubted by" in found.card(0)["numbers"] and found.check().empty    # too few rows to plant any
    assert np.allclose(ranks["consensus"], (2 * ranks["AUM"] + 2 * ranks["margin"] + ranks["neighbors"]) / 5)


def test_the_estimate_has_every_part(wrong):
    build = lambda seed: build_model("tabular_mlp", wrong.samples)
    ask = lambda **o: _estimate(build, wrong.samples, Training(n_epochs=2), AuditOptions(**o), torch.device("cpu"))[0]
    assert set(ask()) == {"trainings", "verdicts", "duplicates", "boundary"}
    assert set(ask(duplicates=False, boundary=False)) == {"trainings", "verdicts"}


def test_rows_between_classes_are_undecided(wrong):
    result = audit(wrong.samples, options=AuditOptions(duplicates=False), training=Training(n_epochs=5))
    between, = result.boundary                                                     # two classes: one pair
    assert set(between.pair) == set(wrong.samples.classes) and (abs(between.inputs.p - .5) <= .1).all()
    section = _between_section(result, 0, between)
    assert section["columns"] == list(between.inputs.changes) and len(section["rows"]) == 20


# -------------------------------------------------------------------------------------------- whoever is given as judge
def test_saved_probabilities_are_a_judge(wrong):
    rng, n = np.random.default_rng(0), len(wrong.samples)
    true = load_samples("breast-cancer", "all").y
    p = rng.uniform(.7, .95, n)
    late = np.stack([np.where(true == 0, p, 1 - p), np.where(true == 0, 1 - p, p)], 1)
    early = np.full_like(late, .5)
    by_epoch = audit(wrong.samples, np.stack([early, late]), QUICK)
    doubted = by_epoch.positions(by_epoch.top("mislabeled", 99)["id"])
    assert len(doubted) > 10 and wrong.flags[doubted].all()
    assert set(by_epoch.positions(by_epoch.issues["id"])) == set(np.flatnonzero(wrong.flags))
    outside = audit(wrong.samples, late, QUICK)
    order = outside.positions(outside.top("mislabeled", 99)["id"])
    margins = late[np.arange(n), wrong.samples.y]
    assert list(order) == sorted(order, key=lambda i: margins[i])
    assert "never predicted" in by_epoch.issues["reason"][0] and "never" not in outside.issues["reason"][0]


@pytest.mark.parametrize("change, said", [
    (lambda p: p[:-1], "expected"), (lambda p: p * 3, "not logits"),
    (lambda p: np.where(p == p[3], np.nan, p), "not logits"),
    (lambda p: p[:, :1], "expected")])
def test_arrays_that_are_no_probabilities_are_refused(wrong, change, said):
    p = np.full((len(wrong.samples), 2), .5)
    with pytest.raises(ValueError, match=said): audit(wrong.samples, change(p), QUICK)


def test_a_trained_network_is_kept_and_fresh_copies_of_it_judge(wrong):
    net = build_model("tabular_mlp", wrong.samples)
    fit(net, wrong.samples, Training(n_epochs=40))
    before = predict_logits(net, wrong.samples)
    result = audit(wrong.samples, net, QUICK, Training(n_epochs=20))
    assert result.model is net and np.array_equal(predict_logits(net, wrong.samples), before)
    assert all(judge is not net for judge in result.judged.models)
    hits = wrong.flags[result.positions(result.top("mislabeled", 99)["id"])]
    assert hits.mean() > .6                                # the network itself has learned the wrong labels

    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.scale = net, torch.nn.Parameter(torch.ones(1))

        def forward(self, x): return self.net(x) * self.scale

    with pytest.raises(ValueError, match="'scale' cannot be drawn again"): audit(wrong.samples, Odd(), QUICK)


def test_what_cannot_be_audited_is_refused():
    wine = load_samples("wine", "all")
    with pytest.raises(ValueError, match="expected 20 or more"): audit(wine.subset(slice(0, 5)))
    with pytest.raises(ValueError, match="has one class"): audit(wine.subset(wine.y == 0))
    with pytest.raises(ValueError, match="as the training samples"): audit(wine, test=load_samples("digits", "all"))
    with pytest.raises(ValueError, match="rate is 2"): AuditOptions(rate=2)


def test_a_test_set_shows_leaks_and_keeps_its_own_order_of_classes(wrong):
    rows = wrong.samples.subset(slice(0, 30))
    turned = from_arrays(rows.x, 1 - rows.y, rows.classes[::-1])  # the same labels
    result = audit(wrong.samples, options=QUICK, training=Training(n_epochs=5), test=turned)
    assert result.duplicates["leak"].sum() == 30 and not result.duplicates["different_labels"].any()
    same = (predict_logits(result.judged.models[0], rows).argmax(1) == rows.y).mean()
    assert result.test_accuracy == pytest.approx(same)
    assert any("not independent" in line for line in result.summary)


# ------------------------------------------------------------------------------------------------------ does it help
def test_weights_of_one_train_as_fit_does(wrong):
    one, other = (build_model("tabular_mlp", wrong.samples) for _ in range(2))
    training = Training(n_epochs=3, schedule="cosine")
    fit(one, wrong.samples, training, seed=5)
    _fit_weighted(other, wrong.samples, np.ones(len(wrong.samples)), training, 5, torch.device("cpu"))
    for a, b in zip(one.parameters(), other.parameters(), strict=True): torch.testing.assert_close(a, b)


def test_intervals_cover_the_truth():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(40):
        p = .1 + .02 * rng.standard_normal((3, 1))                                 # seeds differ a little
        difference = (rng.random((3, 300)) < p).astype(float)
        mean, low, high = _interval(difference, draws=300)
        assert low <= mean <= high
        covered += low <= .1 <= high
    assert covered >= 34


def test_mending_many_wrong_labels_helps_and_random_changes_do_not():
    made = inject(load_samples("breast-cancer", "all").subset(slice(0, 400)), "uniform", .25, seed=0)
    clean = load_samples("breast-cancer", "all").subset(slice(400, 569))
    result = audit(made.samples, options=QUICK, training=Training(n_epochs=30), test=clean)
    fixed = pd.DataFrame({"id": np.flatnonzero(made.flags),
                          "label": np.asarray(made.samples.classes)[1 - made.samples.y[made.flags]]})
    table = result.try_fixes(fixed=fixed, seeds=3)                                 # all of them, mended rightly
    assert table.loc[0, "changed"] == 100 and bool(table.loc[0, "helps"]) and table.loc[0, "gain_random"] < .02
    assert any("Mending helps" in line for line in result.summary)


def test_mending_clean_data_is_said_not_to_help():
    rows = load_samples("breast-cancer", "all")
    result = audit(rows, options=QUICK, training=Training(n_epochs=15))
    assert result.judged.doubted.any()                                             # else nothing would be tried
    table = result.try_fixes(("drop",), seeds=2)
    assert not table["helps"].any() and any("no gain" in line for line in result.summary)


def test_decisions_are_read_and_checked(found, tmp_path):
    ids = found.samples.ids[:3]
    path = tmp_path / "decisions.csv"
    pd.DataFrame({"id": ids, "decision": ["other", "drop", "unsure"], "label": ["benign", "", "benign"]}).to_csv(path)
    from ambiguity_nb.jobs.audit import _read_fixed

    assert _read_fixed(path, found).to_dict() == {ids[0]: "benign", ids[1]: ""}
    with pytest.raises(ValueError, match="lack"): _read_fixed(pd.DataFrame({"id": ids}), found)
    dog, stranger = pd.DataFrame({"id": ids[:1], "label": ["dog"]}), pd.DataFrame({"id": ["z"], "label": ["benign"]})
    with pytest.raises(ValueError, match="no class"): _read_fixed(dog, found)
    with pytest.raises(ValueError, match="such as"): _read_fixed(stranger, found)


# ------------------------------------------------------------------------------------------------------- duplicates
def test_copies_of_copies_and_blank_images():
    digits = load_samples("digits", "all").subset(slice(0, 200))
    x = np.concatenate([digits.x, digits.x[:2], digits.x[:2], np.zeros((3, 1, 8, 8), np.uint8)])
    y = np.concatenate([digits.y, digits.y[:2], digits.y[:2], [0, 1, 0]])
    pairs = find_duplicates(from_arrays(x, y), ratio=0)
    want = [(0, 200), (0, 202), (1, 201), (1, 203), (204, 205), (204, 206)]
    assert sorted(zip(pairs["a"], pairs["b"], strict=True)) == want
    assert list(pairs["different_labels"]) == [True] + [False] * 5                 # that pair comes first
    assert find_duplicates(digits, digits)["leak"].sum() == 200


# --------------------------------------------------------------------------------------------------------- the files
def test_files_agree_with_each_other(found, tmp_path):
    page = found.write(tmp_path)
    table = pd.read_csv(tmp_path / "issues.csv")
    assert list(table["id"]) == list(found.issues["id"]) and table["path"].isna().all()
    assert pd.read_parquet(tmp_path / "issues.parquet")["reason"].equals(found.issues["reason"])
    said = json.loads((tmp_path / "findings.json").read_text())
    assert [row["id"] for row in said["issues"]] == list(found.issues["id"]) and said["summary"] == found.summary
    assert "NaN" not in (tmp_path / "findings.json").read_text()
    assert found.summary[0] in page.read_text().replace("&#39;", "'")


def test_the_command_writes_a_run_folder(tmp_path, capsys):
    words = ["--data", "wine", "--n_epochs", "5", "--run_folder", str(tmp_path), "--progress", "false"]
    assert main(["audit", *words]) == 0
    folder = tmp_path / "audit" / "default"
    assert Path(capsys.readouterr().out.strip()) == folder / "report.html"
    there = {p.name for p in folder.iterdir()}
    assert there >= {"report.html", "issues.csv", "issues.parquet", "findings.json", "config.yaml"}
    assert main(["audit", "--data", "wine", "--probs", str(tmp_path / "no.npy"), "--run_folder", str(tmp_path)]) == 2


# ------------------------------------------------------------------------------------------------------ in a browser
@pytest.fixture(scope="module")
def page(tmp_path_factory):
    "The page of an audit of strange names, as a file."
    samples = strange_names()
    rng, n = np.random.default_rng(0), len(samples)
    probs = rng.dirichlet(np.full(10, .2), n) * .2
    probs[np.arange(n), np.where(np.arange(n) % 9 == 0, (samples.y + 1) % 10, samples.y)] += .8
    result = audit(samples, probs, AuditOptions(shown=60, pairs=1))
    result.model = build_model("mlp", samples, nf=32)
    fit(result.model, samples, Training(n_epochs=15))
    _add_boundary(result, 0, torch.device("cpu"))
    return result.write(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module", params=[1200, 390])
def browser(tmp_path_factory, request):
    "A Chromium as wide as a desk or a phone."
    needs()
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.width = request.param
        for domain in ("Network", "Runtime", "Log", "Page"): browser(f"{domain}.enable")
        browser("Emulation.setDeviceMetricsOverride", width=request.param, height=900, deviceScaleFactor=1,
                mobile=request.param < 500)
        yield browser


@pytest.fixture
def tab(page, browser):
    "The page, loaded anew."
    browser.run("window.before = true")
    browser("Emulation.setEmulatedMedia", media="", features=[])
    browser.events.clear()
    browser("Page.navigate", url=page.as_uri())
    wait(lambda: browser.run("return !window.before && document.readyState == 'complete'"), 90, "loading the page")
    return browser


def picture(tab, name): tab.screenshot(f"audit-{name}-{tab.width}.png", captureBeyondViewport=True)


def texts(tab, selector):
    return tab.run(f"return [...document.querySelectorAll({selector!r})].map(e => e.textContent.trim())")


def test_the_page_asks_nobody_for_anything_and_says_no_error(tab, page):
    tab.run("document.querySelectorAll('select').forEach(s => s.dispatchEvent(new Event('input', {bubbles: true})))")
    urls = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
    assert [u for u in urls if not u.startswith("data:")] == [page.as_uri()]
    complaints = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    assert not [e for e in tab.events if e["method"] in complaints]
    assert tab.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert tab.run("return document.images.length") > 60
    picture(tab, "page")


def test_the_policy_refuses_other_scripts(tab):
    tab.run("const s = document.createElement('script'); s.textContent = 'window.intruder = 1';"
            "document.body.append(s);"
            "const i = document.createElement('img'); i.setAttribute('onerror', 'window.intruder = 2');"
            "i.src = 'data:,'; document.body.append(i);")
    time.sleep(.5)
    assert tab.run("return window.intruder === undefined")


def test_patterns_between_two_classes_have_cards_with_real_samples_beside(tab):
    assert len(texts(tab, ".patterns > li h3")) == 3
    assert all("images" in heading for heading in texts(tab, ".patterns > li h3"))
    assert tab.run("return [...document.querySelectorAll('.patterns li')].every(l => "
                   "l.querySelectorAll('.own').length == 1 && l.querySelectorAll('.real').length >= 2)")
    assert tab.run("return [...document.querySelectorAll('.strip')].every(s => s.scrollWidth <= s.clientWidth + 1)")


def test_names_are_text(tab):
    assert tab.run("return document.querySelectorAll('main script').length") == 0
    assert "<script>alert(1)</script>" in " ".join(texts(tab, "#cards h3 bdi"))
    names = texts(tab, "#classes tbody th")
    assert "猫（ねこ）" in names and "قطة" in names and "x" * 120 in names


def test_nothing_is_wider_than_the_screen(tab):
    assert tab.run("return document.documentElement.scrollWidth") <= tab.width
    wide = tab.run("return [...document.querySelectorAll('.card, .controls, section')]"
                  ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className + e.id)")
    assert not wide
    columns = tab.run("return getComputedStyle(document.getElementById('cards')).gridTemplateColumns.split(' ').length")
    assert columns == (1 if tab.width < 500 else 3)


def test_filters_and_orders(tab):
    choose = ("const c = document.getElementById('controls'); c.elements['{}'].value = '{}';"
              "c.dispatchEvent(new Event('input'))")
    ranks = "return [...document.querySelectorAll('.card:not([hidden])')].map(e => +e.dataset.rank)"
    everything = tab.run(ranks)
    assert everything == list(range(len(everything))) and len(everything) > 40
    tab.run(choose.format("order", "p"))
    p = tab.run("return [...document.querySelectorAll('.card:not([hidden])')].map(e => +e.dataset.p)")
    assert p == sorted(p, reverse=True) and p[0] > p[-1]
    tab.run(choose.format("least", ".9"))
    kept = tab.run(ranks)
    assert 0 < len(kept) == sum(v >= .9 for v in p) < len(p)
    assert tab.run("return document.getElementById('count').textContent") == f"{len(kept)} of {len(everything)} shown"
    tab.run(choose.format("least", "0"))
    tab.run(choose.format("given", "seven"))
    given = tab.run("return [...document.querySelectorAll('.card:not([hidden])')].map(e => e.dataset.given)")
    assert set(given) == {"seven"}
    picture(tab, "filtered")


def test_tables_sort_by_keyboard(tab):
    column = "return [...document.querySelectorAll('#classes tbody tr')].map(r => +r.cells[1].dataset.value)"
    tab.run("document.querySelectorAll('#classes thead button')[1].focus()")
    for want in (True, False):
        tab("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
        tab("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter", windowsVirtualKeyCode=13)
        values = tab.run(column)
        assert values == sorted(values, reverse=want) and len(set(values)) > 1
    assert tab.run("return document.querySelectorAll('#classes thead th')[1].ariaSort") == "ascending"


def test_dark_and_paper(tab):
    def channel(selector, what):
        color = tab.run(f"return getComputedStyle(document.querySelector('{selector}')).{what}")
        return sum(int(v) for v in color.removeprefix("rgb(").rstrip(")").split(","))

    light = channel("body", "backgroundColor"), channel("body", "color")
    tab("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = channel("body", "backgroundColor"), channel("body", "color")
    assert light[0] > 600 > 200 > light[1] and dark[0] < 200 < 600 < dark[1]
    picture(tab, "dark")
    tab("Emulation.setEmulatedMedia", media="print")
    assert channel("body", "backgroundColor") == 765 and channel("body", "color") == 0
    assert tab.run("return getComputedStyle(document.getElementById('controls')).display") == "none"


def test_it_can_be_heard(tab):
    assert tab.run("return [...document.images].every(i => i.alt)")
    assert tab.run("return [...document.querySelectorAll('select, input')].every(e => e.labels.length)")
    levels = tab.run("return [...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1 and max(np.diff(levels)) <= 1
    assert tab.run("return document.getElementById('count').getAttribute('role')") == "status"
