"""`finepseudo run` and the commands of single stages: what is not done is made, then reported."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from finepseudo.report import render_text, summary_table
from finepseudo.run_folder.done import set_aside_damaged
from finepseudo.run_folder.layout import REPORT, RunPaths
from finepseudo.run_folder.others import no_run
from jobs.cli.dry_run import refuse_early
from jobs.cli.parser import MAKES_A_RUN
from jobs.cluster import preempt
from jobs.cluster.resources import check_room, share_of_gpus, uses_gpu
from jobs.cluster.session import in_session, ray_session
from jobs.config.run import RunConfig
from jobs.pipeline.freeing import bring_back_read
from jobs.pipeline.plan import COMMANDS, Plan, make_plan, refuse_without_weights
from jobs.pipeline.provenance import source_version, write_environment
from jobs.pipeline.run_folder import locked, mend_config, record_forced, refuse_other_data
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run, Stage
from jobs.pipeline.survey import loss_lines, open_stages, survey
from jobs.progress import Reporter
from shards.errors import counted
from shards.settings import shown

NO_RAY = frozenset({"split", "report"})
"""Commands that start no Ray."""


def run(cfg: RunConfig, command: str, *, force: bool = False, verify_first: bool = False) -> int:
    """Run all stages (`run`) or those of one command, then print the table where there is a report."""
    if command not in MAKES_A_RUN and not cfg.folder.is_dir():
        raise no_run(command, cfg.folder, "name one with --name and out=, or begin with `run`")
    fresh = command in MAKES_A_RUN and not RunPaths(cfg.folder).config.exists()
    if fresh:
        refuse_early(cfg, command)
    with locked(cfg.folder), Reporter(cfg.folder, tracker=cfg.tracker) as reporter:
        changes = refuse_other_data(cfg, force=force)
        context = Run(cfg, reporter)
        plan = make_plan(context)
        if verify_first:
            verify(plan, reporter)
        for stage in bring_back_read(plan):
            reporter.say(f"{stage.name}: was removed as an old round and is read again; it is made again")
        kinds = COMMANDS.get(command)
        states = survey(plan, kinds)
        ran = 0
        if todo := open_stages(states):
            for key, was, now in changes:
                reporter.say(f"{key} was {shown(was)} and is {shown(now)}: what depends on it is made again")
            if not fresh:
                refuse_without_weights(cfg, todo)
            for line in loss_lines(states):
                reporter.say(line)
            record_forced(cfg, changes)
            ran = _run_unfinished(context, command, plan, todo)
        if not ran and command in MAKES_A_RUN and (fresh or force):
            mend_config(cfg)
        if not ran:
            reporter.say(f"nothing to do: {_why_nothing(cfg, plan, kinds)}")
        if command == "report" and (old := [s for group in survey(plan) for s in group if s.lost]):
            reporter.say(
                f"{counted(len(old), 'finished stage is', 'finished stages are')} of another configuration, first "
                f"{old[0].stage.name}: their numbers are shown until `finepseudo run` makes them again"
            )
        if command in ("run", "report"):
            reporter.say(render_text(summary_table(cfg.folder)))
            reporter.say(f"report: {context.paths.root / REPORT}")
    return 0


def _why_nothing(cfg: RunConfig, plan: Plan, kinds: Collection[str] | None) -> str:
    if kinds is None or any(stage.kind in kinds for group in plan for stage in group):
        return "every stage is done"
    return f"no method of this run ({', '.join(cfg.methods)}) asks for such a stage"


def verify(plan: Plan, reporter: Reporter) -> None:
    """Hash every output of the finished stages; what was changed is moved aside, so that it is made again."""
    for stage in (stage for group in plan for stage in group):
        for path in set_aside_damaged(stage.identity):
            reporter.say(f"{stage.name}: {path.name} was changed after it was written; it is made again")


def _run_unfinished(run: Run, command: str, plan: Plan, todo: Sequence[Stage]) -> int:
    version, kinds, cfg = source_version(), COMMANDS.get(command), run.cfg
    write = command in MAKES_A_RUN
    if command in NO_RAY:
        return run_plan(run, plan, version, kinds, write=write)
    preempt.clear(cfg.folder)
    preempt.install(cfg.folder)  # a notice may come while Ray starts
    if not in_session():
        run.reporter.tell("attaching to Ray" if os.environ.get("RAY_ADDRESS") else "starting Ray")
    with ray_session():
        preempt.install(cfg.folder)  # Ray has taken SIGTERM for itself
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
    return share_of_gpus(cfg.resources, cfg.batches.values()) if gpu else None
