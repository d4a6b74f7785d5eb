"""Writes what `ambiguity COMMAND --help` says to a file, so that it need not import what it describes."""
import json
import os
from pathlib import Path

path = Path(__file__).resolve().parent.parent / "ambiguity_nb" / "assets" / "help.json"


def helps() -> dict[str, str]:
    "The help of every command, a hundred columns wide."
    from ambiguity_nb.jobs.cli import COMMANDS, make_parser

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try: return {command: make_parser(command).format_help() for command in COMMANDS}
    finally: os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)


if __name__ == "__main__":
    path.write_text(json.dumps(helps(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
