"""What Slurm is told, and what it says of jobs: `sbatch`, `squeue`, `scontrol`, and the facts of the site."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.submit.steps import HELPER_CPUS, HELPER_MINUTES, SCRIPTS, Step
from shards.errors import UserError

ALWAYS = ("PATH", "HOME", "USER", "SHELL", "PWD", "OLDPWD", "SHLVL", "_")


def read_site(path: Path = SCRIPTS / "site.sh") -> None:
    """Take the variables of slurm/site.sh into this process, as the batch scripts do; without the file nothing."""
    if not path.is_file():
        return
    line = ["bash", "-c", 'bash -n "$1" || exit; set -a; . "$1" >&2; env -0', "site", str(path)]
    done = subprocess.run(line, check=False, capture_output=True, timeout=120)
    if done.returncode:
        raise UserError(f"{path}: cannot be read: {done.stderr.decode(errors='replace').strip()}; correct it")
    pairs = (entry.partition("=") for entry in done.stdout.decode(errors="replace").split("\0") if entry)
    os.environ.update({name: value for name, _, value in pairs if name not in ALWAYS})


def runs_of_site(overrides: Sequence[str]) -> list[str]:
    """Say where run folders of this site are, where the command line does not, as the batch scripts do."""
    read_site()
    runs = os.environ.get("RUNS_DIR")
    return [f"out={runs}"] if runs and not any(text.startswith("out=") for text in overrides) else []


def submit_slurm(step: Step, after: Sequence[str], entries: Sequence[str], run_here: Callable[[Step], None]) -> str:
    """Submit a step, of an array those `entries` alone; return its job number."""
    if step.script is not None:
        try:
            line = step.batch_line(after, entries)
            done = subprocess.run(line, check=True, capture_output=True, text=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().partition("\n")[0]
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
        cpus_per_task=HELPER_CPUS,
        additional_parameters={"requeue": True, "mail-type": "FAIL", **extra},
        setup=[
            shlex.join(["cd", str(Path.cwd())]),
            f"export PYTHONPATH={shlex.quote(str(SCRIPTS.parent))}${{PYTHONPATH:+:$PYTHONPATH}}",
        ],
    )
    with _partition_of(step):
        return str(executor.submit(run_here, step).job_id)


@contextmanager
def _partition_of(step: Step) -> Iterator[None]:
    """Name the partition of a step as sbatch reads it from the environment, which wins over submitit's directives."""
    before, wanted = os.environ.get("SBATCH_PARTITION"), os.environ.get("CPU_PARTITION")
    if not step.cpu or not wanted:
        yield
        return
    os.environ["SBATCH_PARTITION"] = wanted
    try:
        yield
    finally:
        os.environ.pop("SBATCH_PARTITION")
        os.environ.update({} if before is None else {"SBATCH_PARTITION": before})


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
