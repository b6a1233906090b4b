"""What each command does with its arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finepseudo.report import render_text, summary_table
from finepseudo.run_folder.layout import REPORT, RunPaths
from jobs.cluster import preempt
from jobs.cluster.resources import check_room, share_of_gpus, uses_gpu
from jobs.cluster.session import ray_session
from jobs.config.build import build, plain, set_dotted
from jobs.config.recipes import load, parse_override, to_yaml
from jobs.config.run import RunConfig
from jobs.pipeline.plan import COMMANDS, Plan, make_plan, unfinished
from jobs.pipeline.provenance import source_version, write_environment
from jobs.pipeline.run_folder import differing, locked, read_config, record_forced, refuse_other_data
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run, Stage
from jobs.pipeline.survey import loss_lines, survey
from jobs.progress import Reporter
from shards.errors import UserError

LIST_ROLES = ("all", "labelled", "unlabelled", "train", "test")
LIST_SUFFIXES = (".csv", ".tsv", ".txt")
NO_RAY = frozenset({"split", "report"})
"""Commands that start no Ray."""
MAKES_A_RUN = frozenset({"run", "write-shards"})
"""Commands that may begin a run, and write its config.yaml."""
WORKS_IN_A_RUN = frozenset({*COMMANDS, "predict"}) - MAKES_A_RUN
"""Commands that work in a run as it was made."""


def dispatch(arguments: argparse.Namespace, main: Callable[[Sequence[str]], int]) -> int:
    """Run one parsed command; return its exit code. `main` is the command line, which the jobs of a launch call."""
    if arguments.command == "bench":
        from jobs.cli.bench import bench

        return bench(arguments.what, arguments.options, arguments.overrides)
    cfg = configure(arguments)
    if arguments.print_config:
        sys.stdout.write(to_yaml(cfg))
        return 0
    if arguments.dry_run and arguments.command != "launch":
        from jobs.cli.dry_run import dry_run

        return dry_run(cfg, arguments.command, force=arguments.force)
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
        return of_folder(asked, arguments.command, arguments.overrides, said=bool(recipe or arguments.data))
    return asked


def of_folder(asked: RunConfig, command: str, overrides: Sequence[str], *, said: bool) -> RunConfig:
    """Give the configuration of an existing run, where it is and on the machines that the command line says.

    said: it names a recipe or lists too, which must be what the run was made with, as its overrides must.
    """
    made = read_config(asked.folder)
    here = plain(replace(made, name=asked.name, out=asked.out))
    for text in overrides:
        set_dotted(here, *parse_override(text))
    found = build(RunConfig, here)
    for key, was, now in differing(made, asked if said else found):
        raise UserError(
            f"{command}: {asked.folder} was made with {key}={was}, now it is {now}; `finepseudo run` takes a changed "
            "key and makes again what depends on it, or use another --name"
        )
    return found


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
        context = Run(cfg, reporter)
        plan = make_plan(context)
        ran = 0
        if todo := unfinished(plan, COMMANDS.get(command)):
            for key, was, now in changes:
                reporter.say(f"{key} was {was} and is {now}: what depends on it is made again")
            for line in loss_lines(survey(plan, COMMANDS.get(command))):
                reporter.say(line)
            record_forced(cfg, changes)
            ran = _run_unfinished(context, command, plan, todo)
        if not ran:
            reporter.say("nothing to do: every stage is done")
        if command in ("run", "report"):
            reporter.say(render_text(summary_table(cfg.folder)))
            reporter.say(f"report: {context.paths.root / REPORT}")
    return 0


def _run_unfinished(run: Run, command: str, plan: Plan, todo: Sequence[Stage]) -> int:
    version, kinds, cfg = source_version(), COMMANDS.get(command), run.cfg
    write = command in MAKES_A_RUN
    if command in NO_RAY:
        return run_plan(run, plan, version, kinds, write=write)
    with ray_session():
        preempt.clear(cfg.folder)
        preempt.install(cfg.folder)
        write_environment(cfg, version)
        if gpus := check_devices(cfg, todo):
            run.reporter.say(gpus)
        return run_plan(run, plan, version, kinds, write=write)


def check_devices(cfg: RunConfig, todo: Sequence[Stage]) -> str | None:
    """Refuse devices that this cluster lacks before anything runs: training may be hours away.

    Returns a line on how many GPUs there are and what takes how many of them, None where none is used.
    """
    left = {stage.resources for stage in todo}
    if not left & {"training", "mapping"}:
        return None
    gpu = uses_gpu(cfg.resources)
    if "training" in left:
        check_room(cfg.resources, gpu)
    return share_of_gpus(cfg.resources) if gpu else None
