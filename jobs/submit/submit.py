"""Submit a run as a chain of Slurm jobs (`steps`), or run the same steps on this machine.

Job numbers stand in `<run>/dag.json`. The same submit again submits what is neither done nor waiting nor running; of an
array, those tasks alone.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from finepseudo.run_folder.files import read_json, write_json
from jobs.config.run import RunConfig
from jobs.pipeline.run_folder import refuse_other_data
from jobs.submit.draws import draw_of, refuse_own_results
from jobs.submit.helper import Main, run_here
from jobs.submit.slurm import alive, how_it_ended, submit_slurm
from jobs.submit.steps import Step, make_steps, plan_lines
from shards.errors import UserError

DAG = "dag.json"
Submit = Callable[[Step, Sequence[str], Sequence[str]], str | None]
"""Step, jobs before it, entries -> its job number; None: it has been run here."""


def submit(cfg: RunConfig, arguments: argparse.Namespace, main: Main) -> int:
    """Print the plan and submit the steps (`slurm`), or run them one after the other on this machine (`local`)."""
    steps = steps_of(cfg, arguments)
    sys.stdout.write("".join(line + "\n" for line in plan_lines(steps)))
    sys.stdout.flush()
    if arguments.cluster == "dry-run" or arguments.dry_run:
        return 0
    refuse_other_data(cfg, force=arguments.force)
    for seed in cfg.seeds:
        refuse_own_results(cfg, seed)
        refuse_other_data(draw_of(cfg, seed), force=arguments.force)
    here, line = partial(run_here, main=main), again(steps[-1], arguments)
    if arguments.cluster == "local":
        return _run_all(steps, partial(submit_local, here=here), line)
    return _run_all(steps, partial(submit_slurm, run_here=here), line)


def steps_of(cfg: RunConfig, arguments: argparse.Namespace) -> list[Step]:
    """Make the steps that a command line describes."""
    data = ["--data", arguments.data] if arguments.data else []
    overrides = [text for text in arguments.overrides if not text.startswith("name=")]
    forced = ["--force"] if arguments.force else []  # each job looks for itself whether it may go on
    recipe = arguments.recipe or arguments.target or "smoke"
    return make_steps(cfg, recipe, [*data, *overrides, *forced], shlex.split(arguments.sbatch), arguments.parts)


def again(step: Step, arguments: argparse.Namespace) -> str:
    """Spell the command line that goes on with a chain."""
    words = ["finepseudo", "submit", *(word for word in step.arguments if word != "--force")]
    words += [f"--sbatch={arguments.sbatch}"] if arguments.sbatch else []
    words += [f"--parts={arguments.parts}"] if arguments.parts else []
    return shlex.join(words)


def _run_all(steps: Sequence[Step], submit_one: Submit, line: str) -> int:
    record = steps[0].cfg.folder / DAG
    known = read_dag(record)
    for step in steps:
        later = [entry for other in steps if step.name in other.needs for entry in other.entries]
        followers = [known[entry]["job"] for entry in later if entry in known]
        # Slurm cancels a job when one that it waits for fails: a follower in the queue says that all is well here
        said = ["done, the next waits"] if any(map(alive, followers)) else advance(step, known, submit_one)
        for entry in (entry for entry in step.entries if entry in known):
            known[entry]["line"] = line
        if known:
            record.parent.mkdir(parents=True, exist_ok=True)
            write_json(record, known)  # at once: what is submitted must not be submitted twice
        sys.stdout.write("".join(f"{step.name}: {line}\n" for line in said))
        sys.stdout.flush()
    return 0


def read_dag(record: Path) -> dict[str, Any]:
    """Read which jobs a run was submitted as; a damaged record is the user's business, in one line."""
    found = read_json(record) if record.exists() else {}
    steps = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(step, dict) and isinstance(step.get("job"), str) for step in steps):
        raise UserError(f"{record}: holds no jobs; remove it when none of the run is in the queue")
    return found


def advance(step: Step, known: dict[str, Any], submit_one: Submit) -> list[str]:
    """Submit of one step what is neither done nor on its way; keep job numbers in `known`; say what was decided."""
    said, wanted = [], []
    for entry in step.entries:
        label, old = f"{entry} " if step.tasks else "", known.get(entry, {}).get("job")
        if old and alive(old):
            said.append(f"{label}job {old} is on its way")
        elif step.done(entry):
            known.pop(entry, None)
            said.append(f"{label}done")
        else:
            wanted.append(entry)
    if not wanted:
        return said
    before = [known[name]["job"] for name in step.needs if known.get(name, {}).get("job")]
    job = submit_one(step, [identity for identity in before if alive(identity)], wanted)
    if job is None:
        return [*said, "done here"]
    return [*said, *(_note(step, entry, job, known) for entry in wanted)]


def _note(step: Step, entry: str, job: str, known: dict[str, Any]) -> str:
    task = next((f"_{task}" for task, name in step.tasks if name == entry), "")
    old = known.get(entry, {}).get("job")
    known[entry] = {"job": job + task, "needs": list(step.needs), "arguments": list(step.arguments)}
    died = f"; job {old} ended without its result ({how_it_ended(old)})" if old else ""
    return f"{f'{entry} ' if step.tasks else ''}job {job}{task} submitted{died}"


def submit_local(step: Step, _after: Sequence[str], _entries: Sequence[str], *, here: Callable[[Step], None]) -> None:
    """Run a step on this machine, in a process of its own, and wait for its end."""
    import submitit

    if step.name == "shards":
        return  # the manifest step writes them: one machine gains nothing from parts
    executor = submitit.LocalExecutor(folder=step.cfg.folder / "submitit")
    executor.update_parameters(timeout_min=60 * 24 * 14, tasks_per_node=1)
    job = executor.submit(here, step)
    try:
        job.result()
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"step {step.name} failed; its output: {job.paths.stderr}, {job.paths.stdout}") from error
