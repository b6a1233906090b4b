"""The commands and the options of each."""

from __future__ import annotations

import argparse
from pathlib import Path

STAGES = {
    "run": "every stage that is not done, then the report",
    "write-shards": "read the annotations, decode every clip once, write the shards",
    "split": "draw who is labelled",
    "pretrain": "GITDL pre-training of the alignability encoder",
    "train": "both encoders of every round whose inputs are there",
    "embed": "embed labelled and unlabelled clips",
    "score": "align the pool with the gallery and make pseudo-labels",
    "evaluate": "test the action encoder of the last round",
    "report": "write report.html of a run and print its table",
}
MAKES_A_RUN = frozenset({"run", "write-shards", "compare"})
"""Commands that may begin a run, and write its config.yaml."""


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    main_parser = argparse.ArgumentParser(
        prog="finepseudo", description="Semi-supervised fine-grained action recognition.", allow_abbrev=False
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in STAGES.items():
        _common(commands.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False))
    which = commands.choices["write-shards"].add_mutually_exclusive_group()
    which.add_argument("--part", metavar="i/n", help="write only every n-th shard, from i on")
    which.add_argument("--verify", action="store_true", help="compare every byte with what was written; writes nothing")
    which.add_argument("--repair", action="store_true", help="the same, and write what is damaged again")
    commands.choices["run"].add_argument(
        "--verify",
        action="store_true",
        help="hash all that is there first, not only what has another size or time",
    )
    _compare(commands.add_parser("compare", help="run methods on the same seeds, or take finished runs: one table"))
    launch = commands.add_parser("launch", help="submit a run to Slurm: shards, one job a label draw, report")
    launch.add_argument(
        "--cluster", choices=("slurm", "local", "dry-run"), default="slurm", help="where (default: slurm)"
    )
    launch.add_argument("--sbatch", default="", metavar="OPTIONS", help="options of sbatch for the Ray jobs")
    launch.add_argument("--parts", type=_parts, help="array tasks that write shards (default: 16)")
    _common(launch)
    _init(commands.add_parser("init", help="make a list and a recipe of a folder of videos"))
    check = commands.add_parser("check", help="check annotations and videos before anything is trained")
    check.add_argument("target", nargs="?", help="recipe to check, the same as --recipe")
    check.add_argument(
        "--decode",
        type=_clips,
        default=32,
        metavar="N|all",
        help="open and decode so many videos, spread over the data set (default: 32; 0 = none)",
    )
    _common(check)
    tune = commands.add_parser("tune", help="search the keys that a space file names, with Ray Tune")
    tune.add_argument("space", help="YAML file such as tune_spaces/alignability.yaml")
    _common(tune)
    bench = commands.add_parser(
        "bench", help="measure: method (does it work), methods, alignment, data, train, gpu (how fast)"
    )
    bench.add_argument("what", choices=("method", "methods", "alignment", "data", "train", "gpu"))
    bench.add_argument("options", nargs=argparse.REMAINDER, help="options of that benchmark; see `bench WHAT --help`")
    status = commands.add_parser("status", help="where a run stands, from its files alone, while it runs or after")
    status.add_argument("--all", action="store_true", help="a line for each run below out=")
    _common(status)
    weights = commands.add_parser("weights", help="say what a checkpoint is and which encoders it fits")
    weights.add_argument("files", nargs="+", metavar="FILE", help="a file of published weights")
    predict = commands.add_parser("predict", help="classify one video with a trained run and show what it aligns with")
    predict.add_argument("video", help="a video file")
    _common(predict)
    keys = commands.add_parser("keys", help="print each key with its value, help, type, default and source")
    keys.add_argument("section", nargs="?", default="", help="only this section or key, such as frame_stage.train")
    _common(keys)
    methods = commands.add_parser("methods", help="list the methods: where each comes from, what it needs, its keys")
    methods.add_argument("method", nargs="?", default="", help="only this one, its keys with defaults and sources")
    commands.add_parser("schema", help="print the JSON schema of recipes, for editors")
    return main_parser


def _compare(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="compare these run folders; nothing is run")
    command.add_argument("--methods", type=_names, metavar="a,b,..", help="rows of the table (default: the recipe's)")
    command.add_argument("--seeds", type=_seeds, metavar="0,1,..", help="label draws (default: the recipe's)")
    command.add_argument(
        "--out", type=Path, metavar="PREFIX", help="write PREFIX.csv, .md, .tex, .html (default: compare in the run)"
    )
    command.add_argument(
        "--part", metavar="i/n", help="run every n-th method and seed, from i on; who ends last makes the table"
    )
    _common(command)


def _names(text: str) -> list[str]:
    """Read names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _seeds(text: str) -> list[int]:
    """Read seeds with commas between them."""
    if not all(name.isdecimal() for name in _names(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: write whole numbers with commas between them, such as 0,1,2")
    return [int(name) for name in _names(text)]


def _init(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "folder", type=Path, help="videos in a folder for each class and unlabelled/, or beside a list"
    )
    command.add_argument(
        "--list",
        type=Path,
        help="list of the videos, or what Label Studio, CVAT or FiftyOne export (default: the one in the folder)",
    )
    command.add_argument("--out", type=Path, help="list to write, the recipe beside it (default: <folder>.csv, here)")
    command.add_argument(
        "--test-share",
        type=float,
        default=0.2,
        help="share of the labelled clips that is the test, where there is none",
    )
    command.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="what the recipe is for")
    command.add_argument("--force", action="store_true", help="write over an older list and recipe")


def _parts(text: str) -> int:
    """Read a number of array tasks."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tasks; at least 1")
    return int(text)


def _clips(text: str) -> int | None:
    """Read a number of clips; None is all of them."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor `all`")
    return int(text)


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--recipe", default=None, help="name of a recipe or a YAML file (default: smoke)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="section.key=value",
        help="lay a value over the recipe; --set may be left out",
    )
    command.add_argument(
        "--data",
        help="csv:<list or folder of lists>, csv:labelled=..,unlabelled=..,test=.., or folder:<videos by class>",
    )
    command.add_argument("--name", help="folder of the run below `out` (default: the recipe's name)")
    command.add_argument(
        "--print-config", action="store_true", help="print every key with its value, help and source, and stop"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="print what would be done and check what can be checked"
    )
    command.add_argument("--force", action="store_true", help="start over what the run folder was made with")
