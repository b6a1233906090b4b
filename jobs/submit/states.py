"""Where the Slurm jobs of a run stand: from dag.json, and from squeue and scontrol where there are any."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.config.run import RunConfig
from jobs.submit.draws import draw_of
from jobs.submit.slurm import how_it_ended
from jobs.submit.steps import entry_of
from jobs.submit.submit import DAG, read_dag

UNKNOWN = "no squeue here"
WAITS_FOR_EVER = "DependencyNeverSatisfied"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobState:
    """One job of a chain. state: what Slurm says, or why it is not asked; alive: None where nobody knows;
    line: the command that submits again what has died.
    """

    entry: str
    job: str
    state: str
    alive: bool | None
    line: str = ""

    def shown(self) -> str:
        """Write it for a terminal."""
        return f"{self.entry:10} job {self.job}: {self.state}"


def job_states(folder: Path, ask: Callable[[str], str] | None = None) -> list[JobState]:
    """Ask for every job that the run was submitted as; those that are done and no longer listed are left out."""
    known = read_dag(folder / DAG)
    asker = ask or squeue
    return [
        replace(_state_of(entry, str(step["job"]), asker), line=step.get("line", "")) for entry, step in known.items()
    ]


def _state_of(entry: str, job: str, ask: Callable[[str], str]) -> JobState:
    said = ask(job)
    if said == UNKNOWN:
        return JobState(entry=entry, job=job, state=f"{UNKNOWN}, its state is not known", alive=None)
    if said:
        return JobState(entry=entry, job=job, state=said, alive=WAITS_FOR_EVER not in said)
    return JobState(entry=entry, job=job, state=f"ended ({how_it_ended(job)})", alive=False)


def squeue(job: str) -> str:
    """Give state, time so far and reason of a job in the queue, as `RUNNING 1:02:03 of 1-00:00:00`; else nothing."""
    if shutil.which("squeue") is None:
        return UNKNOWN
    line = ["squeue", "--noheader", "--jobs", job, "--format", "%T|%M|%l|%r"]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
    if not done.stdout.strip():
        return "" if done.returncode == 0 or "Invalid job id" in done.stderr else UNKNOWN
    state, spent, limit, reason = done.stdout.strip().splitlines()[0].split("|")
    return f"{state} {spent} of {limit}" if state == "RUNNING" else f"{state} ({reason})"


def chain_lines(done: Mapping[str, bool], jobs: list[JobState]) -> Iterator[str]:
    """Write the jobs, and when the chain has died which line goes on.

    done: name of a step in dag.json -> whether its results are there.
    """
    open_jobs = [job for job in jobs if not done.get(job.entry, False)]
    for job in open_jobs:
        yield f"{'job' if job is open_jobs[0] else '':12}{job.shown()}"
    dead = [job for job in open_jobs if job.alive is False]
    if dead:
        names = ", ".join(job.entry for job in dead)
        yield f"{'':12}the chain has died at {names}; nothing waits for it any more"
        yield f"{'to go on':12}{dead[0].line}"


def parts_done(cfg: RunConfig, lacks: Callable[[RunConfig, str], bool]) -> dict[str, bool]:
    """Tell of every step of a chain whether its results are there."""
    data = not lacks(cfg, "data")
    draws = {entry_of(seed): not lacks(draw_of(cfg, seed), "report") for seed in cfg.seeds}
    return {"shards": data, "manifest": data, "pretrain": not lacks(cfg, "pretrain"), **draws}
