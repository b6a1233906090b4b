"""From arguments to a command; what a command needs is imported when it runs: errors of keys come without torch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finepseudo.run_folder.layout import RunPaths
from jobs.config.keys import described, explained_yaml
from jobs.config.recipes import load
from jobs.config.run import RunConfig
from jobs.config.schema import recipe_schema
from shards.errors import UserError

LIST_ROLES = ("all", "labelled", "unlabelled", "train", "test")
LIST_SUFFIXES = (".csv", ".tsv", ".txt")
WORKS_IN_A_RUN = frozenset({"split", "pretrain", "train", "embed", "score", "evaluate", "report", "predict"})
"""Commands that work in a run as it was made."""


def dispatch(arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    """Run one parsed command; return its exit code. `main` is the command line, which the jobs of a launch call."""
    if arguments.command == "bench":
        from jobs.cli.bench import bench

        return bench(arguments.what, arguments.options, arguments.overrides)
    if arguments.command == "schema":
        sys.stdout.write(json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n")
        return 0
    cfg = configure(arguments)
    if arguments.command == "keys" or arguments.print_config:
        section = arguments.section if arguments.command == "keys" else ""
        sys.stdout.write(explained_yaml(cfg) if arguments.print_config else described(cfg, section))
        return 0
    if arguments.dry_run and arguments.command == "tune":
        from jobs.tune import tune

        return tune.dry_run(cfg, Path(arguments.space))
    if arguments.dry_run and arguments.command != "launch":
        from jobs.cli.dry_run import dry_run

        return dry_run(cfg, arguments.command, force=arguments.force)
    return _run_command(cfg, arguments, main)


def _run_command(cfg: RunConfig, arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    match arguments.command:
        case "check":
            from jobs.cli.dry_run import check

            return check(cfg, arguments.decode)
        case "launch":
            from jobs.submit.launch import launch

            return launch(cfg, arguments, main)
        case "write-shards" if arguments.part or arguments.verify or arguments.repair:
            return _shards(cfg, arguments)
        case "tune":
            from jobs.tune.tune import tune

            return tune(cfg, Path(arguments.space), force=arguments.force)
        case "predict":
            from jobs.cli.predict import predict

            return predict(cfg, Path(arguments.video))
        case _:
            from jobs.cli.run import run

            verify_first = getattr(arguments, "verify", False)
            return run(cfg, arguments.command, force=arguments.force, verify_first=verify_first)


def _shards(cfg: RunConfig, arguments: argparse.Namespace) -> int:
    if arguments.part:
        from jobs.cli.write_part import write_part

        return write_part(cfg, arguments.part, force=arguments.force)
    from jobs.cli.shard_check import repair, verify

    return repair(cfg, force=arguments.force) if arguments.repair else verify(cfg)


def configure(arguments: argparse.Namespace) -> RunConfig:
    """Make the configuration that the command line describes.

    A command that works in a run reads what that run was made with; what its line says otherwise is refused.
    """
    extra: dict[str, Any] = {}
    if arguments.data:
        extra.update(data_section(arguments.data))
    if arguments.name:
        extra["name"] = arguments.name
    recipe = arguments.recipe or getattr(arguments, "target", None)
    asked = load(recipe or "smoke", arguments.overrides, extra)
    if arguments.command in WORKS_IN_A_RUN and RunPaths(asked.folder).config.is_file():
        from jobs.cli.in_folder import of_folder

        return of_folder(asked, arguments.command, arguments.overrides, said=bool(recipe or arguments.data))
    return asked


def data_section(text: str) -> dict[str, Any]:
    """Read `--data csv:...`: one list, a folder of lists named by role, or `role=list` pairs."""
    kind, _, rest = text.partition(":")
    if kind != "csv" or not rest:
        raise UserError(f"--data {text!r}: write csv:LIST, csv:FOLDER or csv:labelled=LIST,unlabelled=LIST,test=LIST")
    data: dict[str, Any] = {"name": "csv"}
    if "=" in rest:
        data["lists"] = {role: path for role, _, path in (pair.partition("=") for pair in rest.split(","))}
    elif Path(rest).is_dir():
        data |= _folder_of_lists(Path(rest))
    else:
        data["lists"] = {"all": rest}
    data["lists"] = {role: str(Path(data.get("root", "")) / path) for role, path in data["lists"].items()}
    data.pop("root", None)
    return {"data": data}


def _folder_of_lists(folder: Path) -> dict[str, Any]:
    lists = {}
    for role in LIST_ROLES:
        found = [folder / (role + suffix) for suffix in LIST_SUFFIXES if (folder / (role + suffix)).is_file()]
        if found:
            lists[role] = found[0].name
    if not lists:
        raise UserError(
            f"--data csv:{folder}: no list in it; name one of them {', '.join(LIST_ROLES)} with .csv or .txt"
        )
    classes = {"classes": str(folder / "classes.txt")} if (folder / "classes.txt").is_file() else {}
    return {"root": str(folder), "lists": lists, **classes}
