"""From arguments to a command. What a command needs is imported when it runs: a wrong key is told without torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.config.expected_input import require_weights
from jobs.config.recipes import load, to_yaml
from jobs.config.run import RunConfig
from shards.errors import UserError

LIST_ROLES = ("all", "labelled", "unlabelled", "train", "test")
LIST_SUFFIXES = (".csv", ".tsv", ".txt")


def dispatch(arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    """Run one parsed command; return its exit code. `main` is the command line, which the jobs of a launch call."""
    if arguments.command == "bench":
        from jobs.cli.bench import bench

        return bench(arguments.what, arguments.options)
    if arguments.command == "weights":
        from jobs.cli.weights import weights

        return weights(arguments.files)
    cfg = configure(arguments)
    if arguments.print_config:
        sys.stdout.write(to_yaml(cfg))
        return 0
    if arguments.dry_run and arguments.command != "launch":
        from jobs.cli.dry_run import dry_run

        return dry_run(cfg, arguments.command)
    return _run_command(cfg, arguments, main)


def _run_command(cfg: RunConfig, arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    match arguments.command:
        case "check":
            from jobs.cli.dry_run import check

            return check(cfg)
        case "launch":
            from jobs.submit.launch import launch

            if not arguments.dry_run and arguments.cluster != "dry-run":
                require_weights({"frame_encoder": cfg.frame_encoder, "action_encoder": cfg.action_encoder})
            return launch(cfg, arguments, main)
        case "write-shards" if arguments.part:
            from jobs.cli.write_part import write_part

            return write_part(cfg, arguments.part, force=arguments.force)
        case "tune":
            from jobs.tune.tune import tune

            return tune(cfg, Path(arguments.space), force=arguments.force)
        case "predict":
            from jobs.cli.predict import predict

            return predict(cfg, Path(arguments.video))
        case _:
            from jobs.cli.run import run

            return run(cfg, arguments.command, force=arguments.force)


def configure(arguments: argparse.Namespace) -> RunConfig:
    """Make the configuration that the command line describes."""
    extra: dict[str, Any] = {}
    if arguments.data:
        extra.update(data_section(arguments.data))
    if arguments.name:
        extra["name"] = arguments.name
    recipe = arguments.recipe or getattr(arguments, "target", None) or "smoke"
    return load(recipe, arguments.overrides, extra)


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
    drawn = {"split.method": "lists"} if "labelled" in data["lists"] else {}
    return {"data": data, **drawn}


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
