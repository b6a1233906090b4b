"""Submit a run as a chain of Slurm jobs: shards in parallel, their manifest, one Ray job a label draw, one report.

    shards (array, no Ray) -> manifest -> seed-0, seed-1, ... (each slurm/run_*.sh) -> report

A label draw gets a run folder of its own, `<name>-seed<s>`, because one command works in a run folder at a time; its
`data` is the run's, and the run's `seed-<s>` is the draw's, both by link. Job numbers stand in `<run>/dag.json`. The
same launch again submits what is neither done nor waiting nor running. Partition and account of all jobs: Slurm's own
SBATCH_PARTITION and SBATCH_ACCOUNT; nodes, GPUs and time of the Ray jobs: --sbatch.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from finepseudo.run_folder.files import write_json, write_text
from jobs.cluster.preempt import EXIT_CODE
from jobs.cluster.restarts import ATTEMPT, too_many
from jobs.config.run import RunConfig
from jobs.pipeline.plan import make_plan, unfinished
from jobs.pipeline.run_folder import refuse_other_data, write_config
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter, Tail
from shards.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "slurm"
HELPER_MINUTES = 120
"""Time limit of a step without a script. One that is not done by then goes back into the queue and continues."""
REQUEUE_S = 300
"""Longer than Slurm takes to end a job that it puts back into the queue."""
MAIL = "--mail-type=FAIL"
"""Slurm tells the user when a job of the chain dies: those behind it are cancelled without a word."""

Main = Callable[[Sequence[str]], int]
"""The command line: takes arguments, returns an exit code. Jobs without a batch script call it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One job. `script`: a batch script; without one, a single-node job of submitit that calls `run_here`."""

    name: str
    script: Path | None
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    cfg: RunConfig
    # options of sbatch before the script
    options: tuple[str, ...] = ()
    # whose DONE record says that the step need not be submitted
    kind: str

    @property
    def job_name(self) -> str:
        """Name of the job in the queue."""
        return self.cfg.name if self.name.startswith("seed-") else f"{self.cfg.name}-{self.name}"

    def batch_line(self, ids: Sequence[str] = ()) -> list[str]:
        """The sbatch command; `ids` are the jobs that must end well before."""
        name = f"--job-name={self.job_name}"
        after = [f"--dependency=afterok:{':'.join(ids)}", "--kill-on-invalid-dep=yes"] if ids else []
        return ["sbatch", "--parsable", name, MAIL, *after, *self.options, str(self.script), *self.arguments]

    def done(self) -> bool:
        """Tell whether the results are there and match the configuration."""
        if not self.cfg.folder.exists():
            return False
        plan = make_plan(Run(self.cfg, Reporter(self.cfg.folder, tensorboard=False)))
        return not unfinished(plan, {self.kind})


def make_steps(
    cfg: RunConfig, recipe: str, passed: Sequence[str], options: Sequence[str] = (), parts: int | None = None
) -> list[Step]:
    """List the steps in an order in which each finds what it needs.

    passed: --data and overrides of the launch; options: sbatch options of the Ray jobs; parts: tasks that write shards.
    """
    own = SCRIPTS / f"run_{recipe}.sh"
    script = own if own.exists() else SCRIPTS / "run_diving48.sh"
    common = ("--recipe", recipe, *passed)
    one_draw = tuple(argument for argument in common if not argument.startswith("seeds="))
    named = (*common, "--name", cfg.name)
    array = (f"--array=0-{parts - 1}",) if parts else ()
    writer = SCRIPTS / "write_shards.sh"
    data = [
        Step(name="shards", script=writer, arguments=named, needs=(), cfg=cfg, options=array, kind="data"),
        Step(name="manifest", script=None, arguments=("write-shards", *named), needs=("shards",), cfg=cfg, kind="data"),
    ]
    draws = []
    for seed in cfg.seeds:
        name = f"{cfg.name}-seed{seed}"
        arguments = (*one_draw, "--name", name, f"seeds=[{seed}]")
        draw = replace(cfg, name=name, seeds=(seed,))
        draws.append(
            Step(
                name=f"seed-{seed}",
                script=script,
                arguments=arguments,
                needs=("manifest",),
                cfg=draw,
                options=tuple(options),
                kind="report",
            )
        )
    needs = tuple(step.name for step in draws)
    return [
        *data,
        *draws,
        Step(name="report", script=None, arguments=("report", *named), needs=needs, cfg=cfg, kind="report"),
    ]


def launch(cfg: RunConfig, arguments: argparse.Namespace, main: Main) -> int:
    """Submit the steps (`slurm`), run them one after the other on this machine (`local`) or print them (`dry-run`)."""
    data = ["--data", arguments.data] if arguments.data else []
    overrides = [text for text in arguments.overrides if not text.startswith("name=")]
    options = shlex.split(arguments.sbatch)
    forced = ["--force"] if arguments.force else []  # each job looks for itself whether it may go on
    steps = make_steps(cfg, arguments.recipe or "smoke", [*data, *overrides, *forced], options, arguments.parts)
    if arguments.cluster == "dry-run" or arguments.dry_run:
        sys.stdout.write("".join(describe(step) + "\n" for step in steps))
        return 0
    prepare(steps, force=arguments.force)
    submit = partial(submit_local if arguments.cluster == "local" else submit_slurm, main=main)
    record = cfg.folder / "dag.json"
    known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for step in steps:
        followers = [known[later.name]["job"] for later in steps if step.name in later.needs and later.name in known]
        # Slurm cancels a job when one that it waits for fails: a follower in the queue says that all is well here
        said = "done, the next waits" if any(map(alive, followers)) else advance(step, known, submit)
        write_json(record, known)
        sys.stdout.write(f"{step.name}: {said}\n")
        sys.stdout.flush()
    return 0


def advance(step: Step, known: dict[str, Any], submit: Callable[[Step, Sequence[str]], str | None]) -> str:
    """Submit one step unless it is done or on its way; keep its job number in `known`; say what was decided."""
    old = known.get(step.name, {}).get("job")
    if old and alive(old):
        return f"job {old} is on its way"
    if step.done():
        known.pop(step.name, None)
        return "done"
    before = [known[name]["job"] for name in step.needs if known.get(name, {}).get("job")]
    job = submit(step, [identity for identity in before if alive(identity)])
    if job is None:
        return "done here"
    known[step.name] = {"job": job, "needs": list(step.needs), "arguments": list(step.arguments)}
    return f"job {job} submitted" + (f"; job {old} ended without its result ({how_it_ended(old)})" if old else "")


def describe(step: Step) -> str:
    """The command of a step as one line, with names of steps where job numbers will stand."""
    if step.script is None:
        return f"submitit: python -m jobs {shlex.join(step.arguments)}  [after {', '.join(step.needs)}]"
    return shlex.join(step.batch_line(step.needs))


def prepare(steps: Sequence[Step], *, force: bool) -> None:
    """Make the run folders and the links between them."""
    main = steps[-1].cfg
    refuse_other_data(main, force=force)
    (main.folder / "data").mkdir(parents=True, exist_ok=True)
    for step in (step for step in steps if step.name.startswith("seed-")):
        refuse_other_data(step.cfg, force=force)
        (step.cfg.folder / step.name).mkdir(parents=True, exist_ok=True)
        link(step.cfg.folder / "data", Path("..") / main.name / "data")
        link(main.folder / step.name, Path("..") / step.cfg.name / step.name)


def link(path: Path, target: Path) -> None:
    """Make a link to a folder or file; one that is there must be this one."""
    if path.is_symlink() and path.readlink() == target:
        return
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{path} is there and not from such jobs; use another --name, or `finepseudo run` to go on with it"
        )
    path.symlink_to(target, target_is_directory=True)


def run_here(step: Step, main: Main) -> None:
    """Run a step's command in this process; the report first collects the configuration and curves of all draws."""
    if step.name == "report":
        write_config(step.cfg)  # a changed key ran in the draws' folders alone
        draws = sorted(step.cfg.folder.parent.glob(f"{step.cfg.name}-seed*/metrics.jsonl"))
        lines = [json.dumps(line) + "\n" for draw in draws for line in Tail(draw).new()]
        write_text(step.cfg.folder / "metrics.jsonl", "".join(lines))
    arguments = list(step.arguments) if step.script is None else ["run", *step.arguments]
    with _attempt(step) as attempt:
        code = main(arguments)
    if code == EXIT_CODE and attempt is not None and not too_many(attempt.with_suffix(".restarts.json"), attempt):
        _requeue(step)
    if code:
        raise RuntimeError(f"step {step.name} ended with code {code}; its log says why; launch again to go on")


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


def submit_local(step: Step, _after: Sequence[str], *, main: Main) -> str | None:
    """Run a step on this machine, in a process of its own, and wait for its end."""
    import submitit

    if step.name == "shards":
        return None  # the manifest step writes them: one machine gains nothing from parts
    executor = submitit.LocalExecutor(folder=step.cfg.folder / "submitit")
    executor.update_parameters(timeout_min=60 * 24 * 14, tasks_per_node=1)
    job = executor.submit(run_here, step, main)
    try:
        job.result()
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"step {step.name} failed; its output: {job.paths.stderr}, {job.paths.stdout}") from error
    return None


def submit_slurm(step: Step, after: Sequence[str], *, main: Main) -> str:
    """Submit a step; return its job number."""
    if step.script is not None:
        try:
            done = subprocess.run(step.batch_line(after), check=True, capture_output=True, text=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip()
            raise UserError(f"step {step.name}: sbatch refuses it: {reason}; or use --cluster local") from error
        return done.stdout.strip().split(";")[0]
    import submitit

    executor = submitit.SlurmExecutor(folder=step.cfg.folder / "submitit", python=sys.executable)
    extra = {"dependency": f"afterok:{':'.join(after)}", "kill-on-invalid-dep": "yes"} if after else {}
    executor.update_parameters(
        job_name=step.job_name,
        time=HELPER_MINUTES,
        nodes=1,
        ntasks_per_node=1,
        cpus_per_task=4,
        additional_parameters={"requeue": True, "mail-type": "FAIL", **extra},
        setup=[
            shlex.join(["cd", str(Path.cwd())]),
            f"export PYTHONPATH={shlex.quote(str(SCRIPTS.parent))}${{PYTHONPATH:+:$PYTHONPATH}}",
        ],
    )
    return str(executor.submit(run_here, step, main).job_id)


def how_it_ended(job: str) -> str:
    """Give a job's last state, as far as Slurm remembers it."""
    line = ["scontrol", "--oneliner", "show", "job", job]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
    found = re.search(r"\bJobState=(\S+)", done.stdout)
    return found[1] if found else "Slurm has forgotten it"


def alive(job: str) -> bool:
    """Tell whether a job waits or runs; a number that Slurm has forgotten is not alive."""
    try:
        line = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
        done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise UserError(f"squeue does not run ({error}); is this a Slurm machine? else --cluster local") from error
    return bool(done.stdout.strip())
