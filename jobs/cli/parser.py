"""The commands and the options of each."""

from __future__ import annotations

import argparse

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


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    main_parser = argparse.ArgumentParser(
        prog="finepseudo", description="Semi-supervised fine-grained action recognition.", allow_abbrev=False
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, about in STAGES.items():
        _common(commands.add_parser(name, help=about, description=about.capitalize() + ".", allow_abbrev=False))
    commands.choices["write-shards"].add_argument(
        "--part", metavar="i/n", help="write only every n-th shard, from i on"
    )
    launch = commands.add_parser("launch", help="submit a run to Slurm: shards, one job a label draw, report")
    launch.add_argument(
        "--cluster", choices=("slurm", "local", "dry-run"), default="slurm", help="where (default: slurm)"
    )
    launch.add_argument("--sbatch", default="", metavar="OPTIONS", help="options of sbatch for the Ray jobs")
    launch.add_argument("--parts", type=int, help="array tasks that write shards (default: 16)")
    _common(launch)
    check = commands.add_parser("check", help="look over annotations and videos before anything is trained")
    check.add_argument("target", nargs="?", help="recipe to check, the same as --recipe")
    _common(check)
    tune = commands.add_parser("tune", help="search the keys that a space file names, with Ray Tune")
    tune.add_argument("space", help="YAML file such as tune_spaces/alignability.yaml")
    _common(tune)
    bench = commands.add_parser("bench", help="measure: method (does it work), alignment and data (how fast)")
    bench.add_argument("what", choices=("method", "alignment", "data"))
    bench.add_argument("options", nargs=argparse.REMAINDER, help="options of that benchmark; see `bench WHAT --help`")
    weights = commands.add_parser("weights", help="say what a checkpoint is and which encoders it fits")
    weights.add_argument("files", nargs="+", metavar="FILE", help="a file of published weights")
    predict = commands.add_parser("predict", help="classify one video with a trained run and show what it aligns with")
    predict.add_argument("video", help="a video file")
    _common(predict)
    return main_parser


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--recipe", default=None, help="name of a recipe or a YAML file (default: smoke)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="section.key=value",
        help="lay a value over the recipe; --set may be left out",
    )
    command.add_argument("--data", help="csv:<list or folder>, or csv:labelled=..,unlabelled=..,test=..")
    command.add_argument("--name", help="folder of the run below `out` (default: the recipe's name)")
    command.add_argument("--print-config", action="store_true", help="print every key with its value and stop")
    command.add_argument(
        "--dry-run", action="store_true", help="print what would be done and check what can be checked"
    )
    command.add_argument("--force", action="store_true", help="start over what the run folder was made with")
