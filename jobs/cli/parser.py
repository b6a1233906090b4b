"""The commands and the options of each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

STAGES = {
    "run": "every stage that is not done, then the report",
    "write-shards": "read the annotations, decode every clip once, write the shards",
    "split": "draw who is labelled",
    "pretrain": "pre-training on the videos alone: GITDL of f_A, and TCLR of f_E where that is its start",
    "train": "both encoders of every round whose inputs are there",
    "embed": "embed labelled and unlabelled clips",
    "score": "align the pool with the gallery and make pseudo-labels",
    "evaluate": "test the action encoder of the last round",
    "report": "write report.html of a run and print its table",
}
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

MAKES_A_RUN = frozenset({"run", "write-shards", "compare", "reproduce"})
"""Commands that may begin a run, and write its config.yaml."""


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    main_parser = argparse.ArgumentParser(
        prog="finepseudo", description="Semi-supervised fine-grained action recognition.", allow_abbrev=False
    )
    main_parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="command")
    _stages(commands)
    _compare(_command(commands, "compare", "run methods on the same seeds, or take finished runs: one table"))
    _reproduce(_command(commands, "reproduce", "run a table of a paper: ours beside the published numbers"))
    _submit(commands)
    _init(_command(commands, "init", "make a list and a recipe of a folder of videos"))
    _check(commands)
    _operating(commands)
    _measuring(commands)
    _status(commands)
    _weights(commands)
    _predict(_command(commands, "predict", "classify videos with a trained run and show what they align with"))
    _export(_command(commands, "export", "write the trained encoders, or features of videos, for other programs"))
    _review(_command(commands, "review", "a page on which a person names the clips that help most next"))
    _describing(commands)
    return main_parser


def parse(line: Sequence[str]) -> argparse.Namespace:
    """Read a command line; what a command does not take is refused with what that command takes."""
    arguments, unknown = parser().parse_known_args(line)
    if unknown:
        arguments.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    return arguments


def _command(commands: Commands, name: str, text: str, *, allow_abbrev: bool = True) -> argparse.ArgumentParser:
    """Add a command; its line in the list heads its own help too."""
    said = f"{text[:1].upper()}{text[1:]}."
    command = commands.add_parser(name, help=text, description=said, allow_abbrev=allow_abbrev)
    command.set_defaults(refuse=command.error)
    return command


def _stages(commands: Commands) -> None:
    for name, text in STAGES.items():
        command = _command(commands, name, text, allow_abbrev=False)
        _common(command)
        _dry(command)
        if name in MAKES_A_RUN:
            _forced(command)
    _run_by_name(commands.choices["report"])
    which = commands.choices["write-shards"].add_mutually_exclusive_group()
    which.add_argument("--part", metavar="i/n", help="write only every n-th shard, from i on")
    which.add_argument("--verify", action="store_true", help="compare every byte with what was written; writes nothing")
    which.add_argument("--repair", action="store_true", help="the same, and write what is damaged again")
    commands.choices["run"].add_argument(
        "--verify",
        action="store_true",
        help="hash all that is there first, not only what has another size or time",
    )
    commands.choices["run"].add_argument(
        "--draw",
        type=_count,
        metavar="I",
        help="only the I-th label draw of `seeds`, counted from 0, beside the others; the last one reports",
    )
    commands.choices["run"].add_argument(
        "--shared",
        action="store_true",
        help="only what all label draws share, before they run side by side: shards and pre-training",
    )


def _submit(commands: Commands) -> None:
    submit = _command(commands, "submit", "submit a run to Slurm: shards, then one job a label draw")
    submit.add_argument("target", nargs="?", metavar="RECIPE", help="recipe to run, the same as --recipe")
    submit.add_argument(
        "--cluster", choices=("slurm", "local", "dry-run"), default="slurm", help="where (default: slurm)"
    )
    submit.add_argument("--sbatch", default="", metavar="OPTIONS", help="options of sbatch for the Ray jobs")
    submit.add_argument("--parts", type=_parts, help="array tasks that write shards (default: 16)")
    _common(submit)
    _dry(submit)
    _forced(submit)


def _check(commands: Commands) -> None:
    check = _command(commands, "check", "check annotations and videos before anything is trained")
    check.add_argument("target", nargs="?", help="recipe to check, the same as --recipe")
    check.add_argument(
        "--decode",
        type=_clips,
        default=32,
        metavar="N|all",
        help="open and decode so many videos, spread over the data set (default: 32; 0 = none)",
    )
    check.add_argument("--missing", type=Path, metavar="FILE", help="write the paths that are missing to a file")
    _common(check)


def _operating(commands: Commands) -> None:
    clean = _command(commands, "clean", "list what of a run can go, with its bytes, and remove it with --yes")
    _run_by_name(clean)
    clean.add_argument("--yes", action="store_true", help="remove what is listed")
    clean.add_argument(
        "--keep-rounds",
        type=_parts,
        metavar="N",
        help="newest rounds of each method whose embeddings and scores stay (default: embed.keep_rounds, else 1)",
    )
    _common(clean)
    plan = _command(commands, "plan", "hours, bytes and memory of a run on a cluster, from measured rates")
    plan.add_argument("target", nargs="?", metavar="RECIPE", help="recipe to plan, the same as --recipe")
    _cluster(plan)
    plan.add_argument("--calibrate", action="store_true", help="measure the training steps here first, a minute or so")
    _common(plan)
    doctor = _command(commands, "doctor", "is this machine, cluster and folder fit for a run; one check a line")
    doctor.add_argument("target", nargs="?", metavar="RECIPE", help="check its weights and videos too")
    doctor.add_argument("--json", action="store_true", help="print a list of check, state, found, todo")
    _common(doctor)
    _dry(doctor, "list the checks and run none")


def _measuring(commands: Commands) -> None:
    tune = _command(commands, "tune", "search the keys that a space file names, with Ray Tune")
    tune.add_argument("space", help="YAML file such as tune_spaces/alignability.yaml")
    tune.add_argument("--best", type=Path, metavar="FILE", help="write a recipe with the values of the best trial")
    _common(tune)
    _dry(tune)
    _forced(tune)
    bench = _command(
        commands,
        "bench",
        "measure: method (does it work); methods, alignment, data, train, predict, cluster, gpu (how fast); chaos",
    )
    what = ("method", "methods", "alignment", "data", "train", "predict", "cluster", "gpu", "chaos")
    bench.add_argument("what", choices=what)
    bench.add_argument("options", nargs=argparse.REMAINDER, help="options of that benchmark; see `bench WHAT --help`")


def _status(commands: Commands) -> None:
    status = _command(commands, "status", "where a run stands, from its files alone, while it runs or after")
    _run_by_name(status)
    status.add_argument("--all", action="store_true", help="a line for each run below out=")
    _common(status)


def _weights(commands: Commands) -> None:
    weights = _command(commands, "weights", "say what a checkpoint is and which encoders it fits")
    weights.add_argument("files", nargs="+", metavar="FILE", help="a file of published weights")


def _describing(commands: Commands) -> None:
    keys = _command(commands, "keys", "print each key with its value, help, type, default and source")
    keys.add_argument("section", nargs="?", default="", help="only this section or key, such as frame_stage.train")
    _common(keys)
    methods = _command(commands, "methods", "list the methods: where each comes from, what it needs, its keys")
    methods.add_argument("method", nargs="?", default="", help="only this one, its keys with defaults and sources")
    _command(commands, "schema", "print the JSON schema of recipes, for editors")


class _Version(argparse.Action):
    """Print version and hash of the code, which are read only when they are asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from jobs.pipeline.provenance import source_version

        sys.stdout.write(f"finepseudo {source_version()}\n")
        parser.exit()


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
    command.add_argument(
        "--shared", action="store_true", help="with --part: only what the methods of every n-th seed share"
    )
    _common(command)
    _dry(command)
    _forced(command)


def _reproduce(command: argparse.ArgumentParser) -> None:
    command.add_argument("table", nargs="?", default="", metavar="TABLE", help="which one (default: list them)")
    _dry(command, "say what it needs: files, weights, hours")
    command.add_argument("--synthetic", action="store_true", help="the same code, small, on rendered dives")
    command.add_argument("--seeds", type=_seeds, metavar="0,1,..", help="label draws (default: the recipes')")
    command.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="only the runs of rows or columns with this word"
    )
    _forced(command, "start over what the run folders were made with")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="section.key=value",
        help="lay a value over all of it; --set may be left out",
    )
    _cluster(command)


def _cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument("--nodes", type=_parts, default=1, help="nodes of the cluster (default: 1)")
    command.add_argument("--gpus", type=_parts, default=1, help="GPUs of a node (default: 1)")
    command.add_argument("--cores", type=_parts, default=16, help="cores of a node (default: 16)")


def _names(text: str) -> list[str]:
    """Read names with commas between them, at least one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r}: write one or more, with commas between them; or leave it out")
    return names


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
    _forced(command, "write over an older list and recipe")


def _predict(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of them, lists (.csv, .tsv, .txt), URLs, folders of frames",
    )
    command.add_argument("--out", type=Path, help="table to write: .csv, .jsonl or .parquet (default: the terminal)")
    command.add_argument("--method", help="method whose encoders answer (default: the one the report shows in detail)")
    command.add_argument(
        "--seed", type=_seed, help="label draw whose encoders answer, or `all` for their mean (default: the first)"
    )
    command.add_argument("--top", type=_positive, default=5, help="most likely classes to give (default: 5)")
    command.add_argument("--matches", type=_clips, default=3, help="best-aligned labelled clips to give (default: 3)")
    _common(command)


def _export(command: argparse.ArgumentParser) -> None:
    command.add_argument("what", nargs="+", metavar="RUN", help="folder of a run; or: features RUN VIDEO...")
    command.add_argument(
        "--out",
        type=Path,
        help="folder to write (default: export in the run); of features a .parquet or .safetensors file",
    )
    command.add_argument("--method", help="method whose encoders (default: the one the report shows in detail)")
    command.add_argument("--seed", type=_number, help="label draw whose encoders (default: the first)")


def _review(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", metavar="RUN", help="folder of a run")
    command.add_argument("--count", type=_positive, default=50, help="clips to ask for (default: 50)")
    command.add_argument("--out", type=Path, help="page to write (default: review.html in the run)")
    command.add_argument("--method", help="method whose labels (default: the one the report shows in detail)")
    command.add_argument("--seed", type=_number, help="label draw whose labels (default: the first)")


def _number(text: str) -> int:
    """Read the number of a label draw."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a label draw")
    return int(text)


def _seed(text: str) -> int | str:
    """Read the number of a label draw."""
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither the number of a label draw nor `all`")
    return text if text == "all" else int(text)


def _positive(text: str) -> int:
    """Read a number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def _parts(text: str) -> int:
    """Read a number of array tasks, or of rounds."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _count(text: str) -> int:
    """Read a number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def _clips(text: str) -> int | None:
    """Read a number of clips; None is all of them."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor `all`")
    return int(text)


def _run_by_name(command: argparse.ArgumentParser) -> None:
    said = "folder of the run, or its name below out=; the same as --name"
    command.add_argument("run", nargs="?", metavar="RUN", help=said)


def _dry(
    command: argparse.ArgumentParser, text: str = "print what would be done and check what can be checked"
) -> None:
    command.add_argument("--dry-run", action="store_true", help=text)


def _forced(command: argparse.ArgumentParser, text: str = "start over what the run folder was made with") -> None:
    command.add_argument("--force", action="store_true", help=text)


def _common(command: argparse.ArgumentParser) -> None:
    common = command.add_argument_group("which run, and what it is made of")
    common.add_argument("--recipe", default=None, help="name of a recipe or a YAML file (default: smoke)")
    common.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="section.key=value",
        help="lay a value over the recipe; --set may be left out",
    )
    common.add_argument(
        "--data",
        help="csv:<list or folder of lists>, csv:labelled=..,unlabelled=..,test=.., or folder:<videos by class>",
    )
    common.add_argument("--name", help="folder of the run below `out` (default: the recipe's name)")
    common.add_argument(
        "--print-config", action="store_true", help="print every key with its value, help and source, and stop"
    )
    command.set_defaults(dry_run=False, force=False)  # where they are not offered
