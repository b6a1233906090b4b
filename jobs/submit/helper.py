"""A step inside its job, or on this machine: the command line is called, and a preempted helper is put back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.cluster.preempt import EXIT_CODE
from jobs.cluster.restarts import ATTEMPT, too_many
from jobs.submit.steps import Step

Main = Callable[[Sequence[str]], int]
"""The command line: takes arguments, returns an exit code. Jobs without a batch script call it."""
REQUEUE_S = 300
"""Longer than Slurm takes to end a job that it puts back into the queue."""


def run_here(step: Step, main: Main) -> None:
    """Run a step's command in this process, of an array every task one after the other."""
    for arguments in _lines(step):
        with _attempt(step) as attempt:
            code = main(arguments)
        if code == EXIT_CODE and attempt is not None and not too_many(attempt.with_suffix(".restarts.json"), attempt):
            _requeue(step)
        if code:
            raise RuntimeError(f"step {step.name} ended with code {code}; its log says why; submit again to go on")


def _lines(step: Step) -> list[list[str]]:
    if step.script is None:
        return [list(step.arguments)]
    return [["run", *step.arguments, "--draw", str(task)] for task, _ in step.tasks] or [["run", *step.arguments]]


@contextmanager
def _attempt(step: Step) -> Iterator[Path | None]:
    """Inside a Slurm job: a folder where the command says what it works in, to see whether restarts get on."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or ATTEMPT in os.environ:
        yield None
        return
    folder = step.cfg.folder / "submitit" / f"{step.name}-{job}"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[ATTEMPT] = str(folder)
    try:
        yield folder
    finally:
        del os.environ[ATTEMPT]


def _requeue(step: Step) -> None:
    """Put this job back into the queue and wait for its end, which that brings."""
    sys.stdout.write(f"step {step.name}: everything done so far is on disk, back into the queue\n")
    sys.stdout.flush()
    subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False, timeout=120)
    time.sleep(REQUEUE_S)
