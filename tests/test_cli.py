"""The command line as a user meets it, and every configuration file that ships."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import write_help

from ambiguity_nb.jobs.cli import COMMANDS, main, make_parser, parse

root = Path(__file__).resolve().parent.parent
configs = sorted((root / "experiments").rglob("*.yml"))


def test_there_are_configurations(): assert len(configs) > 10


@pytest.mark.parametrize("path", configs, ids=lambda p: p.relative_to(root / "experiments").as_posix())
def test_configurations_fit_their_command(path):
    settings = parse(path.parent.name, ["--config", str(path)])
    assert settings is not None


def test_flags_override_the_file():
    file = str(root / "experiments" / "gasten" / "mnist_7v1.yml")
    groups = parse("gasten", ["--config", file, "--step2_epochs", "3", "--alphas", "[25]"])
    flat = {name: value for group in groups.values() for name, value in getattr(group, "__dict__", {}).items()}
    assert (flat["step2_epochs"], flat["alphas"], flat["pos"]) == (3, [25.0], "7")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_has_help(command, capsys):
    with pytest.raises(SystemExit): make_parser(command).parse_args(["--help"])
    help_text = capsys.readouterr().out
    bare = [a.dest for a in make_parser(command)._actions
            if a.dest not in ("help", "print_config") and not (a.help or "").strip(" ")]
    assert not bare, f"settings of {command} without help: {bare}"
    assert "--config" in help_text


def test_a_wrong_setting_is_named_with_its_place(tmp_path, capsys):
    (tmp_path / "a.yml").write_text("dataset: mnist-5k\nalpas: [25]\n")
    assert main(["gasten", "--config", str(tmp_path / "a.yml")]) == 2
    said = capsys.readouterr().err
    assert "alpas" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("words", [["--epohcs", "3"], ["--lr", "fast"], ["--lr"], ["--seed", "1.5"]])
def test_a_wrong_flag_is_answered_in_one_paragraph_without_the_usage(words, capsys):
    assert main(["hardness", "--data", "wine", *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("ambiguity hardness: ") and words[0].strip("-") in said and "usage:" not in said


def test_what_a_user_can_mend_is_one_line_and_exit_code_2(tmp_path):
    words = [sys.executable, "-m", "ambiguity_nb", "hardness", "--data", str(tmp_path / "none.csv")]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 2 and "Traceback" not in result.stderr and "none.csv" in result.stderr.splitlines()[-1]


def test_help_answers_without_torch():
    code = "import sys; from ambiguity_nb.jobs.cli import main; main(['--help']); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"


def test_the_help_that_is_written_is_that_of_the_parsers():
    def words(text): return text.split()

    written = json.loads(write_help.path.read_text())
    stale = [command for command, said in write_help.helps().items() if words(written.get(command, "")) != words(said)]
    assert not stale, f"the help of {stale} has changed; run python tests/write_help.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_answers_without_torch(command):
    run = f"main([{command!r}, '--help'])"
    code = f"import sys; from ambiguity_nb.jobs.cli import main; {run}; print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *said, modules = result.stdout.splitlines()
    assert not {"'torch'", "'pandas'", "'jsonargparse'", "'yaml'"} & set(modules[1:-1].split(", "))
    assert said[0].startswith(f"usage: ambiguity {command}") and "--config" in result.stdout


def test_settings_of_a_grid_are_flags_too():
    from ambiguity_nb.jobs.benchmark import _choose

    file = str(root / "experiments" / "benchmark" / "quick.yml")
    words = ["--grid.max_samples", "100", "--grid.scores", "[aum, random]", "--grid.datasets", "mine",
             "--grid.data.mine", "my.csv", "--grid.by_epoch", "true"]
    settings = parse("benchmark", ["--config", file, *words])
    grid, _ = _choose(settings["preset"], settings["grid"], settings["hcat"])
    assert (grid.max_samples, grid.scores, grid.by_epoch) == (100, ("aum", "random"), True)
    assert (grid.datasets, grid.data, grid.part) == (("mine",), {"mine": "my.csv"}, "all")


def test_hcat_takes_a_word_or_the_fields_of_a_source():
    word = parse("benchmark", ["--hardness", "uniform", "--dataset", "cifar"])["hcat"]
    fields = parse("benchmark", ["--hardness", "uniform", "--data", "{data: my/own.csv, label: kind}"])["hcat"]
    assert (word.grid().datasets, dict(word.grid().data)) == (("cifar10",), {})
    assert (fields.grid().datasets, fields.grid().data) == (("own",), {"own": {"data": "my/own.csv", "label": "kind"}})
