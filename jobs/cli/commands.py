"""What each command does with its arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finepseudo.report import render_text, summary_table
from jobs.cluster import preempt
from jobs.cluster.resources import check_room, share_of_gpus, uses_gpu
from jobs.cluster.session import ray_session
from jobs.config.recipes import load, to_yaml
from jobs.config.run import RunConfig
from jobs.pipeline.plan import COMMANDS, TRAINING, Plan, make_plan, unfinished
from jobs.pipeline.provenance import source_version, write_environment
from jobs.pipeline.run_folder import locked, record_forced, refuse_other_data
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.stage_maker import Task
from jobs.pipeline.stages.stages import Stages
from jobs.progress import Reporter
from shards.errors import UserError

LIST_ROLES = ("all", "labelled", "unlabelled", "train", "test")
LIST_SUFFIXES = (".csv", ".tsv", ".txt")
NO_RAY = frozenset({"split", "report"})
"""Commands that start no Ray."""
MAKES_A_RUN = frozenset({"run", "write-shards"})
"""Commands that may begin a run; the others work in one."""


def dispatch(arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    """Run one parsed command; return its exit code. `main` is the command line, which the jobs of a launch call."""
    if arguments.command == "bench":
        from jobs.cli.bench import bench

        return bench(arguments.what, arguments.options)
    cfg = configure(arguments)
    if arguments.print_config:
        sys.stdout.write(to_yaml(cfg))
        return 0
    if arguments.dry_run and arguments.command == "tune":
        from jobs.tune import tune

        return tune.dry_run(cfg, Path(arguments.space))
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


def run(cfg: RunConfig, command: str, *, force: bool = False) -> int:
    """Run all stages (`run`) or those of one command, then print the table where there is a report."""
    if command not in MAKES_A_RUN and not cfg.folder.is_dir():
        raise UserError(f"{command}: {cfg.folder}: no such run; name one with --name and out=, or begin with `run`")
    with locked(cfg.folder), Reporter(cfg.folder) as reporter:
        changes = refuse_other_data(cfg, force=force)
        stages = Stages(cfg, reporter)
        plan = make_plan(cfg, stages)
        ran = 0
        if todo := unfinished(plan, COMMANDS.get(command)):
            for key, was, now in changes:
                reporter.say(f"{key} was {was} and is {now}: what depends on it is made again")
            record_forced(cfg, changes)
            ran = _run_unfinished(cfg, command, stages, plan, todo)
        if not ran:
            reporter.say("nothing to do: every stage is done")
        if command in ("run", "report"):
            reporter.say(render_text(summary_table(cfg.folder)))
            reporter.say(f"report: {cfg.folder / 'report.html'}")
    return 0


def _run_unfinished(cfg: RunConfig, command: str, stages: Stages, plan: Plan, todo: Sequence[Task]) -> int:
    version = source_version()
    if command in NO_RAY:
        return run_plan(cfg, stages, plan, version, COMMANDS[command])
    with ray_session():
        preempt.clear(cfg.folder)
        preempt.install(cfg.folder)
        write_environment(cfg, version)
        if gpus := check_devices(cfg, todo):
            stages.reporter.say(gpus)
        return run_plan(cfg, stages, plan, version, COMMANDS.get(command))


def check_devices(cfg: RunConfig, todo: Sequence[Task]) -> str | None:
    """Refuse devices that this cluster lacks before anything runs: training may be hours away.

    Returns a line on how many GPUs there are and what takes how many of them, None where none is used.
    """
    left = {task.stage.kind for task in todo}
    if not left & {*TRAINING, "embeddings", "scores", "evaluation"}:
        return None
    gpu = uses_gpu(cfg.resources)
    if left & TRAINING:
        check_room(cfg.resources, gpu)
    return share_of_gpus(cfg.resources) if gpu else None
