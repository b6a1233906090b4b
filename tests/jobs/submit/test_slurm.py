"""What Slurm is told and what is read from its answers."""

import os

import pytest

from jobs.config.recipes import load
from jobs.submit import slurm
from jobs.submit.steps import make_steps
from shards.errors import UserError


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins of Slurm's programs, first on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(name: str, body: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    return make


@pytest.fixture
def steps(tmp_path):
    return {step.name: step for step in make_steps(load("smoke", [f"out={tmp_path}"], {"name": "r"}), "smoke", [])}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("echo 'JobId=5 JobName=JobState=x JobState=FAILED Reason=NonZeroExitCode'", "FAILED"),
        ("echo 'JobId=5 JobState=OUT_OF_MEMORY Reason=x'", "OUT_OF_MEMORY"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "Slurm has forgotten it"),
    ],
)
def test_the_last_state_of_a_job(programs, answer, state):
    programs("scontrol", answer)
    assert slurm.how_it_ended("5") == state


@pytest.mark.parametrize(("answer", "alive"), [("echo PENDING", True), ("exit 1", False), ("echo", False)])
def test_a_job_is_alive_while_it_is_listed(programs, answer, alive):
    programs("squeue", answer)
    assert slurm.alive("5_3") is alive


@pytest.mark.parametrize("number", ["41", "41;cluster-b"])
def test_a_batch_script_is_submitted_behind_what_it_waits_for(programs, steps, tmp_path, number):
    programs("sbatch", f'printf "%s\\n" "$@" > {tmp_path}/told; echo "{number}"')
    assert slurm.submit_slurm(steps["draws"], ["7", "9"], ["seed-1"], run_here=print) == "41"
    told = (tmp_path / "told").read_text().splitlines()
    assert {"--parsable", "--dependency=afterok:7:9", "--kill-on-invalid-dep=yes"} <= set(told)
    wanted = [str(task) for task, entry in steps["draws"].tasks if entry == "seed-1"]
    assert [word for word in told if word.startswith("--array")] == [f"--array={task}" for task in wanted]


def test_a_refusal_of_sbatch_is_one_line_with_its_reason(programs, steps):
    programs("sbatch", "echo 'sbatch: error: invalid account' >&2; exit 1")
    with pytest.raises(UserError, match=r"step shards: sbatch refuses it: .*invalid account; or use --cluster local"):
        slurm.submit_slurm(steps["shards"], [], [], run_here=print)


@pytest.mark.parametrize("before", [None, "gpu"])
@pytest.mark.parametrize(
    ("name", "wanted", "inside"), [("manifest", "cpu", "cpu"), ("draws", "cpu", ...), ("manifest", "", ...)]
)
def test_the_partition_of_cpu_steps_holds_for_one_submission(steps, monkeypatch, before, name, wanted, inside):
    monkeypatch.setenv("CPU_PARTITION", wanted)
    monkeypatch.setenv("SBATCH_PARTITION", before or "")
    if before is None:
        monkeypatch.delenv("SBATCH_PARTITION")
    with pytest.raises(ZeroDivisionError), slurm._partition_of(steps[name]):
        assert os.environ.get("SBATCH_PARTITION") == (before if inside is ... else inside)
        raise ZeroDivisionError
    assert os.environ.get("SBATCH_PARTITION") == before


def test_a_site_changes_only_what_it_says_and_not_this_process_itself(tmp_path, monkeypatch):
    monkeypatch.delenv("WORDS", raising=False)
    slurm.read_site(tmp_path / "none.sh")
    site = tmp_path / "site.sh"
    site.write_text("WORDS='two\nlines = here'\ncd /\nPATH=/nowhere:$PATH\nHOME=/else\n")
    before = {name: os.environ.get(name) for name in slurm.ALWAYS}
    monkeypatch.setenv("WORDS", "old")
    slurm.read_site(site)
    assert os.environ["WORDS"] == "two\nlines = here"
    assert {name: os.environ.get(name) for name in slurm.ALWAYS} == before
