"""`finepseudo run` and the commands of single stages: what is not done is made, then reported."""

from __future__ import annotations

from collections.abc import Sequence

from finepseudo.report import render_text, summary_table
from jobs.cluster import preempt
from jobs.cluster.resources import check_room, share_of_gpus, uses_gpu
from jobs.cluster.session import ray_session
from jobs.config.expected_input import require_weights
from jobs.config.run import RunConfig
from jobs.pipeline.plan import COMMANDS, TRAINING, Plan, make_plan, unfinished
from jobs.pipeline.provenance import source_version, write_environment
from jobs.pipeline.run_folder import locked, record_forced, refuse_other_data
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.stage_maker import Task
from jobs.pipeline.stages.stages import Stages
from jobs.progress import Reporter
from shards.errors import UserError

NO_RAY = frozenset({"split", "report"})
"""Commands that start no Ray."""
MAKES_A_RUN = frozenset({"run", "write-shards"})
"""Commands that may begin a run; the others work in one."""


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
            check_weights(cfg, todo)
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


STARTS = {"frame_encoder": "pretrain", "action_encoder": "action_encoder"}
"""The kind of stage in which each encoder takes up its weights."""


def check_weights(cfg: RunConfig, todo: Sequence[Task]) -> None:
    """Refuse to begin without the weights that a stage to come starts from: it may be hours away."""
    left = {task.stage.kind for task in todo}
    require_weights({name: getattr(cfg, name) for name, kind in STARTS.items() if kind in left})


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
