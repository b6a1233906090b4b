"""What each command does with its arguments."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

import finepseudo
import jobs
import shards
from finepseudo.artifacts import code_version, environment, is_done, write_json, write_text
from finepseudo.report import render_text, summary_table
from jobs import preempt
from jobs.config import IDENTITY, RunConfig, from_yaml, load, part, to_yaml
from jobs.progress import Reporter
from jobs.ray_session import ray_session
from jobs.rounds import COMMANDS, Plan, make_plan, run_plan
from jobs.stages import Stages
from jobs.train import check_room, uses_gpu
from jobs.typed import Value, plain
from shards.types import UserError

LIST_ROLES = ("all", "labelled", "unlabelled", "train", "test")
LIST_SUFFIXES = (".csv", ".tsv", ".txt")
TRAINING = frozenset({"pretrain", "frame_encoder", "action_encoder"})
"""Kinds of stages that train."""
NO_RAY = frozenset({"split", "report"})
"""Commands that start no Ray."""


def dispatch(arguments: argparse.Namespace) -> int:
    """Run one parsed command; return its exit code."""
    if arguments.command == "bench":
        from jobs.bench import bench

        return bench(arguments.what, arguments.options)
    cfg = configure(arguments)
    if arguments.print_config:
        sys.stdout.write(to_yaml(cfg))
        return 0
    if arguments.dry_run and arguments.command != "launch":
        from jobs.dry_run import dry_run

        return dry_run(cfg, arguments.command)
    return _run_command(cfg, arguments)


def _run_command(cfg: RunConfig, arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "check":
            from jobs.dry_run import check

            return check(cfg)
        case "launch":
            from jobs.launch import launch

            return launch(cfg, arguments)
        case "write-shards" if arguments.part:
            from jobs.write_part import write_part

            return write_part(cfg, arguments.part, force=arguments.force)
        case "tune":
            from jobs.tune import tune

            return tune(cfg, Path(arguments.space), force=arguments.force)
        case "predict":
            from jobs.predict import predict

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
    prepare_folder(cfg, force=force)
    version = source_version()
    with locked(cfg.folder), Reporter(cfg.folder) as reporter:
        stages = Stages(cfg, reporter)
        plan = make_plan(cfg, stages)
        if command in NO_RAY:
            ran = run_plan(cfg, stages, plan, version, COMMANDS[command])
        else:
            with ray_session():
                preempt.clear(cfg.folder)
                preempt.install(cfg.folder)
                write_environment(cfg, version)
                check_devices(cfg, plan, COMMANDS.get(command))
                ran = run_plan(cfg, stages, plan, version, COMMANDS.get(command))
        if not ran:
            reporter.say("nothing to do: every stage is done")
        if command in ("run", "report"):
            reporter.say(render_text(summary_table(cfg.folder)))
            reporter.say(f"report: {cfg.folder / 'report.html'}")
    return 0


def check_devices(cfg: RunConfig, plan: Plan, kinds: Collection[str] | None) -> None:
    """Refuse devices that this cluster lacks before anything runs: training may be hours away."""
    tasks = [task for group in plan for task in group if kinds is None or task.stage.kind in kinds]
    left = {task.stage.kind for task in tasks if not is_done(task.stage)}
    if left & {*TRAINING, "embeddings", "scores", "evaluation"}:
        gpu = uses_gpu(cfg.resources)
        if left & TRAINING:
            check_room(cfg.resources, gpu)


def source_version() -> str:
    """Identify the code of the three packages."""
    return code_version([Path(str(package.__file__)).parent for package in (shards, finepseudo, jobs)])


def prepare_folder(cfg: RunConfig, *, force: bool) -> None:
    """Make the run folder, or refuse one that was made for another data set or split."""
    path = cfg.folder / "config.yaml"
    differing = _differences(path, cfg) if path.exists() else []
    if differing and not force:
        key, old, new = differing[0]
        raise UserError(
            f"{cfg.folder} was made with {key}={old}, now it is {new}; use another --name, or --force to start it over"
        )
    write_text(path, to_yaml(cfg))
    if differing:
        forced = [{"key": key, "was": old, "is": new} for key, old, new in differing]
        write_json(cfg.folder / "forced.json", forced)


def _differences(path: Path, cfg: RunConfig) -> list[tuple[str, Any, Any]]:
    """List the keys (dotted, old, new) of the sections a run folder is made for that differ."""
    try:
        stored = from_yaml(path)  # keys that are newer than the folder have their defaults
    except (OSError, yaml.YAMLError, UserError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read by this version ({reason}); use another --name") from error
    old, new = ({n: flat for s in IDENTITY for n, flat in _leaves(plain(getattr(v, s)), s)} for v in (stored, cfg))
    return [(name, old.get(name), new.get(name)) for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def _leaves(value: Value, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{prefix}.{key}")
    else:
        yield prefix, value


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder: two commands at the same time would write into each other's stages."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another command works in it; wait for its end or use another --name") from error
        yield
    finally:
        os.close(descriptor)


def write_environment(cfg: RunConfig, version: str) -> None:
    """Record versions, machine and the stage-independent facts of this run."""
    import ray

    resources = {name: value for name, value in ray.cluster_resources().items() if name in ("CPU", "GPU", "memory")}
    device = "gpu" if resources.get("GPU") and cfg.resources.device != "cpu" else "cpu"
    record = environment(version, device)
    record |= {"nodes": len(ray.nodes()), "cluster": resources, "recipe": part(cfg, "resources")["resources"]}
    write_json(cfg.folder / "environment.json", record)
