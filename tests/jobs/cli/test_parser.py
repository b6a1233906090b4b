"""The commands and flags that users' scripts rely on: a change here is a change for them (CHANGELOG.md)."""

import argparse
import re

import pytest

from jobs.cli.main import main
from jobs.cli.parser import parser

COMMON = ["--data", "--name", "--print-config", "--recipe", "--set"]
PLANNED = [*COMMON, "--dry-run"]
MADE = [*PLANNED, "--force"]
FLAGS = {
    "run": [*MADE, "--draw", "--shared", "--verify"],
    "write-shards": [*MADE, "--part", "--repair", "--verify"],
    "split": PLANNED,
    "pretrain": PLANNED,
    "train": PLANNED,
    "embed": PLANNED,
    "score": PLANNED,
    "evaluate": PLANNED,
    "report": ["run", *PLANNED],
    "submit": ["target", *MADE, "--cluster", "--parts", "--sbatch"],
    "compare": ["runs", *MADE, "--methods", "--out", "--part", "--seeds", "--shared"],
    "reproduce": [
        "table",
        "--cores",
        "--dry-run",
        "--force",
        "--gpus",
        "--nodes",
        "--only",
        "--seeds",
        "--set",
        "--synthetic",
    ],
    "check": ["target", *COMMON, "--decode", "--missing"],
    "clean": ["run", *COMMON, "--keep-rounds", "--yes"],
    "plan": ["target", *COMMON, "--calibrate", "--cores", "--gpus", "--nodes"],
    "doctor": ["target", *PLANNED, "--json"],
    "tune": ["space", *MADE, "--best"],
    "bench": ["what", "options"],
    "predict": ["videos", *COMMON, "--matches", "--method", "--out", "--seed", "--top"],
    "export": ["what", "--method", "--out", "--seed"],
    "review": ["run", "--count", "--method", "--out", "--seed"],
    "keys": ["section", *COMMON],
    "status": ["run", *COMMON, "--all"],
    "methods": ["method"],
    "schema": [],
    "weights": ["files"],
    "init": ["folder", "--device", "--force", "--list", "--out", "--test-share"],
}


def test_the_version_names_the_code(capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args(["--version"])
    assert stop.value.code == 0
    assert re.fullmatch(r"finepseudo \S+\+[0-9a-f]{12}\n", capsys.readouterr().out)


@pytest.mark.parametrize("line", [["check", "--force"], ["status", "--dry-run"], ["report", "runs/demo", "more"]])
def test_what_a_command_does_not_take_is_answered_with_what_it_takes(line, capsys):
    with pytest.raises(SystemExit) as stop:
        main(line)
    said = capsys.readouterr().err
    assert (stop.value.code, said.startswith(f"usage: finepseudo {line[0]} ")) == (2, True)
    assert f"finepseudo {line[0]}: error: unrecognized arguments: {line[-1]}" in said


def test_the_command_line_is_pinned():
    (commands,) = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    found = {
        name: sorted(option for action in command._actions for option in action.option_strings or [action.dest])
        for name, command in commands.choices.items()
    }
    assert found == {name: sorted([*flags, "-h", "--help"]) for name, flags in FLAGS.items()}
