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

WORKS_IN_A_RUN = frozenset({"split", "pretrain", "train", "embed", "score", "evaluate", "report", "predict", "status"})
"""Commands that work in a run as it was made."""


def dispatch(arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    """Run one parsed command; return its exit code. `main` is the command line, which the jobs of a launch call."""
    if arguments.command == "compare" and arguments.runs:
        from jobs.cli.compare import compare_folders

        return compare_folders(arguments)
    if arguments.command in _WITHOUT_A_RUN:
        return _WITHOUT_A_RUN[arguments.command](arguments)
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


def _bench(arguments: argparse.Namespace) -> int:
    from jobs.cli.bench import bench

    return bench(arguments.what, arguments.options, arguments.overrides)


def _schema(_: argparse.Namespace) -> int:
    sys.stdout.write(json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n")
    return 0


def _weights(arguments: argparse.Namespace) -> int:
    from jobs.cli.weights import weights

    return weights(arguments.files)


def _init(arguments: argparse.Namespace) -> int:
    from jobs.cli.init import init_command

    return init_command(arguments)


def _methods(arguments: argparse.Namespace) -> int:
    from jobs.cli.methods import described as described_methods

    sys.stdout.write(described_methods(arguments.method))
    return 0


_WITHOUT_A_RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "bench": _bench,
    "schema": _schema,
    "init": _init,
    "weights": _weights,
    "methods": _methods,
}
"""Commands that take no configuration of a run."""


def _run_command(cfg: RunConfig, arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    match arguments.command:
        case "check":
            from jobs.cli.dry_run import check

            code = check(cfg, arguments.decode)
        case "launch":
            from jobs.cli.dry_run import to_come
            from jobs.pipeline.plan import refuse_without_weights
            from jobs.submit.launch import launch

            if not arguments.dry_run and arguments.cluster != "dry-run":
                refuse_without_weights(cfg, to_come(cfg, "run"))
            code = launch(cfg, arguments, main)
        case "write-shards" if arguments.part or arguments.verify or arguments.repair:
            code = _shards(cfg, arguments)
        case "compare":
            from jobs.cli.compare import compare

            code = compare(cfg, arguments)
        case "tune":
            from jobs.tune.tune import tune

            code = tune(cfg, Path(arguments.space), force=arguments.force)
        case "status":
            from jobs.cli.status import status

            code = status(cfg, every=arguments.all)
        case "predict":
            from jobs.pipeline.predict import predict_video

            prediction = predict_video(cfg.folder, arguments.video, cfg=cfg)
            sys.stdout.write("\n".join(prediction.lines()) + "\n")
            code = 0
        case _:
            from jobs.cli.run import run

            verify_first = getattr(arguments, "verify", False)
            code = run(cfg, arguments.command, force=arguments.force, verify_first=verify_first)
    return code


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
        from jobs.cli.data import data_section

        extra.update(data_section(arguments.data))
    if arguments.name:
        extra["name"] = arguments.name
    extra |= {key: value for key in ("methods", "seeds") if (value := getattr(arguments, key, None))}
    recipe = arguments.recipe or getattr(arguments, "target", None)
    if arguments.command in WORKS_IN_A_RUN and not getattr(arguments, "all", False):
        said = bool(recipe or arguments.data)
        where = [text for text in arguments.overrides if text.startswith(("name=", "out="))]
        asked = load(recipe or "smoke", arguments.overrides if said else where, extra)
        if RunPaths(asked.folder).config.is_file():
            from jobs.cli.in_folder import of_folder

            return of_folder(asked, arguments.command, arguments.overrides, said=said)
    return load(recipe or "smoke", arguments.overrides, extra)
