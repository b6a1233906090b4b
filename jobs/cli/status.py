"""`finepseudo status`: where a run stands, from its files alone, while it runs or after. Nothing is written."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from finepseudo.report.alarms import alarms
from finepseudo.report.reading import read_run
from finepseudo.run_folder.files import json_lines
from finepseudo.run_folder.layout import REPORT, RunPaths
from finepseudo.run_folder.others import no_run, runs_below
from jobs.config.run import RunConfig
from jobs.pipeline.folded import folded
from jobs.pipeline.plan import make_plan
from jobs.pipeline.run_folder import read_config, works_in
from jobs.pipeline.stages.base import Run
from jobs.pipeline.survey import StageState, bytes_text, duration, loss_lines, size_of, survey
from jobs.progress import Reporter
from jobs.submit.draws import lacks
from jobs.submit.states import chain_lines, job_states, parts_done
from jobs.submit.submit import DAG
from shards.errors import UserError

TAIL_BYTES = 1 << 16
"""How much of the end of a log is looked at for its last line."""


def status(cfg: RunConfig, *, every: bool) -> int:
    """Print where the run `cfg.folder` stands, or in a line each where every run below `cfg.out` does."""
    if not every:
        if not RunPaths(cfg.folder).config.is_file():
            if chain := list(_chain(cfg)):  # submitted, and no job has begun
                sys.stdout.write("\n".join([f"run         {cfg.folder}: submitted", *chain]) + "\n")
                return 0
            raise no_run("status", cfg.folder, "name one, with out= where it lies elsewhere, or use --all")
        sys.stdout.write("\n".join(report(cfg)) + "\n")
        return 0
    folders = runs_below(Path(cfg.out))
    if not folders:
        raise UserError(f"status: {cfg.out}: no run below it; name the folder of the runs with out=")
    sys.stdout.write("\n".join(one_line(folder) for folder in folders) + "\n")
    return 0


def states_of(cfg: RunConfig) -> list[list[StageState]]:
    """Survey every stage of a run."""
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        return survey(make_plan(Run(cfg, reporter)))


def one_line(folder: Path) -> str:
    """Say of one run how many stages are done, what works in it and what is next; or why it cannot be read."""
    try:
        states = [state for group in states_of(read_config(folder)) for state in group]
    except UserError as error:
        return f"{folder}: {error}"
    todo = [state for state in states if state.state != "done"]
    next_one = f"next {todo[0].stage.name}" if todo else "finished"
    return f"{folder}: {len(states) - len(todo)} of {len(states)} stages, {activity(folder)}, {next_one}"


def activity(folder: Path) -> str:
    """Say whether a command works in the folder now."""
    return "a command works in it" if works_in(folder) else "no command works in it"


def report(cfg: RunConfig) -> Iterator[str]:
    """Write the lines of one run."""
    folder, groups = cfg.folder, states_of(cfg)
    states = [state for group in groups for state in group]
    done = [state for state in states if state.state == "done"]
    spent, size = duration(sum(state.wall_s for state in done)), bytes_text(size_of(folder))
    yield f"run         {folder}: {activity(folder)}"
    yield f"stages      {len(done)} of {len(states)} done, {spent} of work, {size} on disk"
    counted = Counter(state.state for state in states if state.state != "done")
    if counted:
        yield f"open        {', '.join(f'{count} {name}' for name, count in counted.items())}"
        yield from (f"  {line}" for line in folded(state for state in states if state.state != "done"))
    yield from (f"            {line}" for line in loss_lines(groups))
    if (page := folder / REPORT).is_file():
        yield f"report      {page}"
    if last := last_line(folder, states):
        yield f"last line   {last}"
    yield from (f"{alarm.level:12}{alarm.text}" for alarm in alarms(read_run(folder)))
    chain = list(_chain(cfg))
    yield from chain
    if counted and not works_in(folder) and not chain:
        yield f"to go on    finepseudo run --name {cfg.name} out={cfg.out} --recipe {RunPaths(folder).config}"


def _chain(cfg: RunConfig) -> Iterator[str]:
    """Write what Slurm says of a run that was submitted to it."""
    if (cfg.folder / DAG).exists():
        yield from chain_lines(parts_done(cfg, lacks), job_states(cfg.folder))


def last_line(folder: Path, states: list[StageState]) -> str:
    """Write the newest line of the stage that is being trained, else of the run's own log."""
    logs = [state.stage.folder / RunPaths(folder).metrics.name for state in states if state.state == "goes on"]
    for log in [path for path in logs if path.is_file()] or [RunPaths(folder).metrics]:
        if not log.is_file():
            continue
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines, _ = json_lines(stream.read())
        if lines:
            return ", ".join(f"{key} {_short(value)}" for key, value in lines[-1].items() if key != "time")
    return ""


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
