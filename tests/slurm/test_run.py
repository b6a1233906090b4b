"""A whole run as a Slurm job: the unmodified batch script on two nodes against the same run on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.slurm.lab import REPOSITORY, plain_environment

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
SCRIPT = REPOSITORY / "slurm" / "run_diving48.sh"
RECIPE = ["--recipe", str(Path(__file__).with_name("tiny.yaml"))]
SIZE = ["--nodes=2", "--cpus-per-task=4", "--gpus-per-node=0", "--time=20"]
RESULTS = (
    "pretrain/weights.safetensors",
    "seed-0/round-00/action_encoder/weights.safetensors",
    "seed-0/round-00/frame_encoder/weights.safetensors",
    "seed-0/finepseudo/round-01/action_encoder/weights.safetensors",
    "seed-0/finepseudo/round-01/frame_encoder/weights.safetensors",
)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The run on this machine with two workers; each Slurm test below is compared with it."""
    folder = tmp_path_factory.mktemp("local")
    line = [sys.executable, "-m", "jobs", "run", *RECIPE, "--name", "tiny", f"out={folder}"]
    done = subprocess.run(
        line, check=False, cwd=REPOSITORY, env=plain_environment(), capture_output=True, text=True, timeout=480
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "tiny"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The folder that the nodes share: what the first job leaves, the second goes on with."""
    return tmp_path_factory.mktemp("shared")


def pseudo_labels(run, number):
    return pq.read_table(run / "seed-0" / "finepseudo" / f"round-{number:02d}" / "pseudo_labels.parquet")


def metrics(run):
    return json.loads((run / "seed-0" / "finepseudo" / "evaluation" / "metrics.json").read_text())


def test_the_unmodified_script_on_two_nodes_leaves_the_pseudo_labels_of_the_local_run(lab, shared, local):
    job = lab.submit(SCRIPT, *RECIPE, "--name", "tiny", "rounds=0", options=SIZE, cwd=shared)
    state, code, output = lab.finish(job, shared, 480)
    assert (state, code) == ("COMPLETED", 0), output
    run = shared / "runs" / "tiny"
    environment = json.loads((run / "environment.json").read_text())
    assert environment["nodes"] == 2
    assert pseudo_labels(run, 0).num_rows > 0
    assert pseudo_labels(run, 0).equals(pseudo_labels(local, 0))
    assert (run / "report.html").exists()
    assert not (shared / "runs" / ".cluster").exists()
    lab.assert_clean(job)


def test_a_job_that_is_requeued_in_the_middle_of_a_round_ends_with_the_same_result(lab, shared, local):
    job = lab.submit(SCRIPT, *RECIPE, "--name", "tiny", options=SIZE, cwd=shared)
    lab.until(
        lambda: "round-01/action_encoder: starts" in lab.output(job, shared), 240, lambda: lab.output(job, shared)
    )
    lab.command("scancel", "--batch", "--signal=USR1", job)
    lab.until(lambda: lab.show(job)["Restarts"] == "1", 120, lambda: lab.output(job, shared))
    state, code, output = lab.finish(job, shared, 480)
    assert (state, code) == ("COMPLETED", 0), output
    before, after = output.split("back into the queue")
    assert "round-01/action_encoder: done" not in before
    assert "restart 1" in after
    run = shared / "runs" / "tiny"
    for name in RESULTS:
        assert (run / name).read_bytes() == (local / name).read_bytes(), name
    for number in (0, 1):
        assert pseudo_labels(run, number).equals(pseudo_labels(local, number))
    assert metrics(run) == metrics(local)
    lab.assert_clean(job)
