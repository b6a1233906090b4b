"""The commands and flags that users' scripts rely on: a change here is a change for them (CHANGELOG.md)."""

import argparse

from jobs.cli.parser import parser

COMMON = ["--data", "--dry-run", "--force", "--name", "--print-config", "--recipe", "--set"]
FLAGS = {
    "run": [*COMMON, "--verify"],
    "write-shards": [*COMMON, "--part", "--repair", "--verify"],
    "split": COMMON,
    "pretrain": COMMON,
    "train": COMMON,
    "embed": COMMON,
    "score": COMMON,
    "evaluate": COMMON,
    "report": COMMON,
    "launch": [*COMMON, "--cluster", "--parts", "--sbatch"],
    "compare": ["runs", *COMMON, "--methods", "--out", "--part", "--seeds"],
    "check": ["target", *COMMON, "--decode"],
    "tune": ["space", *COMMON],
    "bench": ["what", "options"],
    "predict": ["video", *COMMON],
    "keys": ["section", *COMMON],
    "status": [*COMMON, "--all"],
    "methods": ["method"],
    "schema": [],
    "weights": ["files"],
    "init": ["folder", "--device", "--force", "--list", "--out", "--test-share"],
}


def test_the_command_line_is_pinned():
    (commands,) = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    found = {
        name: sorted(option for action in command._actions for option in action.option_strings or [action.dest])
        for name, command in commands.choices.items()
    }
    assert found == {name: sorted([*flags, "-h", "--help"]) for name, flags in FLAGS.items()}
