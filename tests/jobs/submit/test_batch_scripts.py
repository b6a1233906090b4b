"""The batch scripts without Slurm: what they would submit, how they start from a copy, when they requeue."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
SETTINGS = ("SLURM", "CLUSTER", "OBJECT", "RUNS_DIR")
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1"}
GOLDEN = REPOSITORY / "tests" / "golden"
RUNS = [
    ("run_diving48.sh", ["--recipe", "smoke", "rounds=2"]),
    ("run_kinetics400.sh", ["data.root=/data/k 400"]),
    ("run_finegym.sh", ["288", "rounds=2"]),
    ("run_finediving.sh", []),
    ("run_ssv2.sh", []),
    ("smoke.sh", []),
    ("run.sh", ["--recipe", "dives.yaml"]),
    ("sweep.sh", []),
    ("compare.sh", ["--methods", "supervised,sefar", "--seeds", "0,1"]),
    ("write_shards.sh", []),
    ("reproduce.sh", ["table06", "--only", "10 %"]),
]


@pytest.fixture
def house(tmp_path):
    """A repository with the scripts, and programs in its PATH that only say how they were called."""
    shutil.copytree(REPOSITORY / "slurm", tmp_path / "house" / "slurm", ignore=shutil.ignore_patterns("site.sh"))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("python", "srun", "scontrol"):
        (tools / name).write_text(f'#!/bin/bash\nprintf "{name}:"; printf " [%s]" "$@"; echo\n')
        (tools / name).chmod(0o755)
    return tmp_path / "house"


def environment(house, **variables):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return {**clean, "PATH": f"{house.parent / 'tools'}:{os.environ['PATH']}", **variables}


def run(house, script, *arguments, cwd=None, **variables):
    return subprocess.run(
        ["bash", str(script), *arguments],
        check=False,
        cwd=cwd or house,
        env=environment(house, **variables),
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(("script", "arguments"), RUNS)
def test_the_dry_run_prints_the_batch_job_as_recorded(house, script, arguments, request):
    done = run(house, house / "slurm" / script, *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    text = done.stdout.replace(str(house), "ROOT")
    golden = GOLDEN / f"batch_{script.removesuffix('.sh')}.txt"
    if os.environ.get("WRITE_GOLDEN") == "true":
        golden.write_text(text)
    assert text == golden.read_text(), "renew with WRITE_GOLDEN=true and a line in CHANGELOG.md"


def test_every_script_says_what_it_is_for_and_can_be_preempted():
    for script, _ in RUNS:
        text = (REPOSITORY / "slurm" / script).read_text()
        for word in ("# Purpose ", "# Prerequisites ", "# Usage ", "# Overrides ", f"sbatch slurm/{script}"):
            assert word in text, (script, word)
        for directive in ("--requeue", "--open-mode=append", "--signal=B:USR1@120"):
            assert f"#SBATCH {directive}\n" in text, (script, directive)
        assert os.access(REPOSITORY / "slurm" / script, os.X_OK)


def test_a_copy_in_the_spool_finds_its_house_from_the_folder_of_submission(house, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    shutil.copy(house / "slurm" / "run_diving48.sh", spool / "slurm_script")
    done = run(house, spool / "slurm_script", "a=1", **JOB, SLURM_SUBMIT_DIR=str(house))
    assert done.returncode == 0, done.stderr
    assert "[-m] [jobs] [run] [--recipe] [diving48] [a=1]" in done.stdout


def test_a_copy_submitted_from_elsewhere_asks_the_controller_where_it_came_from(house, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    shutil.copy(house / "slurm" / "run_diving48.sh", spool / "slurm_script")
    (tmp_path / "tools" / "scontrol").write_text(
        f"#!/bin/bash\necho '   JobState=RUNNING'; echo '   Command={house}/slurm/run_diving48.sh a=1'; echo ' X=/x'\n"
    )
    done = run(house, spool / "slurm_script", "a=1", cwd=spool, **JOB, SLURM_SUBMIT_DIR="/")
    assert "[-m] [jobs] [run] [--recipe] [diving48] [a=1]" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("script", "given", "called"),
    [
        ("run_finegym.sh", [], "[run] [--recipe] [finegym99]"),
        ("run_finegym.sh", ["99", "a=1"], "[run] [--recipe] [finegym99] [a=1]"),
        (
            "run_finegym.sh",
            ["FX_S1", "a=1"],
            "[run] [--recipe] [finegym99] [--name] [finegym-FX_S1] [data.subset=FX_S1] [a=1]",
        ),
        (
            "run_finegym.sh",
            ["Gym_new"],
            "[run] [--recipe] [finegym288] [--name] [finegym-Gym_new] [data.subset=Gym_new]",
        ),
        ("run_finegym.sh", ["288", "--recipe", "mine.yaml"], "[run] [--recipe] [mine.yaml]"),
    ],
)
def test_gymnastics_take_their_subset_by_argument(house, script, given, called):
    assert run(house, house / "slurm" / script, *given, **JOB).stdout.endswith(f"[jobs] {called}\n")


def test_the_script_for_any_recipe_wants_one(house):
    done = run(house, house / "slurm" / "run.sh", "rounds=2", **JOB)
    assert (done.returncode, done.stderr) == (2, "run.sh: name a recipe: sbatch slurm/run.sh --recipe RECIPE\n")


@pytest.mark.parametrize("given", [[], ["--synthetic"], ["--only", "x", "table06"]])
def test_the_script_for_tables_wants_one(house, given):
    done = run(house, house / "slurm" / "reproduce.sh", *given, **JOB)
    assert done.returncode == 2
    assert done.stderr.startswith("reproduce.sh: name a table first: sbatch slurm/reproduce.sh TABLE")


@pytest.mark.parametrize("script", ["run_diving48.sh", "run_finegym.sh", "smoke.sh"])
def test_a_task_of_an_array_is_one_label_draw(house, script):
    done = run(house, house / "slurm" / script, "a=1", **JOB, SLURM_ARRAY_TASK_ID="2")
    assert done.stdout.endswith("[a=1] [--draw] [2]\n")


def test_facts_of_the_site_stand_in_one_file(house):
    (house / "slurm" / "site.sh").write_text("false\necho loaded $UNSET\nRUNS_DIR=/scratch/me\n")
    ran = run(house, house / "slurm" / "run_ssv2.sh", **JOB).stdout
    assert ran.startswith("loaded")
    assert "[--folder] [/scratch/me/.cluster]" in ran
    assert ran.endswith("[--recipe] [ssv2] [out=/scratch/me]\n")
    assert run(house, house / "slurm" / "run_ssv2.sh", "out=here", **JOB).stdout.endswith("[out=here]\n")
    for script, given in {"sweep.sh": [], "write_shards.sh": [], "reproduce.sh": ["table06"]}.items():
        assert run(house, house / "slurm" / script, *given, **JOB).stdout.endswith("[out=/scratch/me]\n")


def test_outside_of_slurm_a_script_says_how_to_submit_it(house):
    done = run(house, house / "slurm" / "run_kinetics400.sh")
    assert done.returncode == 2
    assert "submit it with sbatch" in done.stderr


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (3, False), (75, True)])
def test_only_a_run_that_stopped_with_a_checkpoint_goes_back_into_the_queue(house, code, requeued):
    (house.parent / "tools" / "srun").write_text(f"#!/bin/bash\nexit {code}\n")
    done = run(house, house / "slurm" / "run_diving48.sh", **JOB)
    assert done.returncode == code
    assert ("scontrol: [requeue] [7]" in done.stdout) == requeued


@pytest.mark.parametrize(("restarts", "code"), [("0", 75), ("2", 75), ("3", 137)])
def test_a_step_that_was_killed_goes_back_into_the_queue_three_times(house, restarts, code):
    (house.parent / "tools" / "srun").write_text("#!/bin/bash\nexit 137\n")
    done = run(house, house / "slurm" / "run_diving48.sh", **JOB, SLURM_RESTART_COUNT=restarts)
    assert done.returncode == code
    assert ("scontrol: [requeue] [7]" in done.stdout) == (code == 75)


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_signals_reach_the_run_and_a_cancelled_one_is_not_requeued(house, number, requeued):
    (house.parent / "tools" / "srun").write_text(
        f"#!{sys.executable}\nimport signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (time.sleep(0.3), print('saved', flush=True), sys.exit(75)))\n"
        "print('listening', flush=True)\ntime.sleep(20)\n"
    )
    variables = environment(house, **JOB)
    job = subprocess.Popen(
        ["bash", str(house / "slurm" / "run_diving48.sh")], cwd=house, env=variables, stdout=subprocess.PIPE, text=True
    )
    while job.stdout.readline() != "listening\n":
        pass
    job.send_signal(number)
    time.sleep(0.1)
    job.send_signal(number)  # a second one must not end the wait for the checkpoint
    output, _ = job.communicate(timeout=20)
    assert job.returncode == 75
    assert "saved" in output
    assert ("scontrol: [requeue] [7]" in output) == requeued


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_scripts_are_clean_for_shellcheck():
    scripts = sorted([*REPOSITORY.glob("slurm/*.sh"), *REPOSITORY.glob("tests/slurm/*.sh")])
    done = subprocess.run(
        ["shellcheck", "--external-sources", *scripts], cwd=REPOSITORY, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
