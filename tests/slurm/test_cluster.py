"""The Ray of one Slurm job on a real Slurm of two nodes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster.ports import BLOCKS, FIRST, SIZE
from tests.slurm.lab import REPOSITORY

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
HERE = Path(__file__).parent
SMALL = ["data.synthetic.train_per_class=3", "data.synthetic.test_per_class=1", "shards.clips_per_shard=4"]
OCCUPY = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
time.sleep(300)
"""


def submit(lab, cwd, *arguments, nodes=1, options=()):
    return lab.submit(
        HERE / "job.sh", *map(str, arguments), options=[f"--nodes={nodes}", *options], cwd=cwd, FP_ROOT=str(REPOSITORY)
    )


def test_two_nodes_one_ray_an_occupied_port_and_the_programs_exit_code(lab, tmp_path):
    job = submit(lab, tmp_path, HERE / "nodes.py", 3, nodes=2, options=["--hold", "--gpus-per-node=1"])
    port = FIRST + SIZE * (int(job) % BLOCKS) + 2  # of Ray's client server
    other = subprocess.Popen(
        ["nsenter", "--net=/run/netns/slab-n1", sys.executable, "-c", OCCUPY, str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "up\n"
        lab.command("scontrol", "release", job)
        state, code, output = lab.finish(job, tmp_path)
    finally:
        other.kill()
        other.wait()
    assert (state, code) == ("FAILED", 3), output
    assert "tasks on n1 n2" in output
    assert "resources {'CPU': 4.0, 'GPU': 0}" in output  # two of eight CPUs a node; the lab's GPUs are no CUDA devices
    assert "node n2: Slurm grants 1 GPUs, torch sees 0" in output
    assert f"2 nodes at 10.77.0.2:{port - 1 + SIZE} after " in output  # the next block
    assert "2/2 nodes (" in output
    assert "authentication token 0o600" in output
    shared = tmp_path / "runs" / ".cluster" / f"{job}.0.0"
    assert not (shared / "token").exists()
    assert (shared / "logs.0" / "gcs_server.out").exists()  # a failed job keeps what Ray said, on every node
    assert (shared / "logs.1" / "raylet.out").exists()
    lab.assert_clean(job)


def test_a_preempted_job_checkpoints_goes_back_into_the_queue_and_continues(lab, tmp_path):
    job = submit(lab, tmp_path, HERE / "count.py", tmp_path / "run", 60)
    steps = tmp_path / "run" / "steps.txt"
    lab.until(lambda: steps.exists() and len(steps.read_text().splitlines()) > 5, 90, lambda: lab.output(job, tmp_path))
    lab.command("scancel", "--batch", "--signal=USR1", job)
    lab.until(lambda: lab.show(job)["Restarts"] == "1", 60, lambda: lab.output(job, tmp_path))
    at_stop = len(steps.read_text().splitlines())
    assert 5 < at_stop < 60
    state, code, output = lab.finish(job, tmp_path)
    assert (state, code) == ("COMPLETED", 0), output
    assert "restart 0 continues at 0" in output
    assert f"restart 1 continues at {at_stop}" in output
    assert steps.read_text().split() == [str(step) for step in range(60)]
    lab.assert_clean(job)


def test_a_cancelled_job_stays_cancelled(lab, tmp_path):
    job = submit(lab, tmp_path, HERE / "count.py", tmp_path / "run", 1000)
    steps = tmp_path / "run" / "steps.txt"
    lab.until(lambda: steps.exists() and len(steps.read_text().splitlines()) > 2, 90, lambda: lab.output(job, tmp_path))
    lab.command("scancel", job)
    state, _, output = lab.finish(job, tmp_path)
    assert state == "CANCELLED", output
    assert "back into the queue" not in output
    assert lab.show(job)["Restarts"] == "0"
    lab.assert_clean(job)


def test_four_neighbours_of_an_array_side_by_side_on_one_node(lab, tmp_path):
    job = submit(lab, tmp_path, HERE / "nodes.py", 0, options=["--array=0-3", "--nodelist=n1", "--output=out.%A_%a"])
    lab.until(lambda: not lab.command("squeue", "-h", "-j", job, "-r"), 300, lambda: lab.command("squeue"))
    outputs = [(tmp_path / f"out.{job}_{index}").read_text() for index in range(4)]
    assert all("tasks on n1" in text for text in outputs), "\n".join(outputs)
    assert all("Ray fails" not in text for text in outputs), "\n".join(outputs)
    lab.assert_clean(job)


@pytest.mark.parametrize(("node", "victim"), [("n2", "jobs.cluster"), ("n2", "raylet/raylet"), ("n1", "raylet/raylet")])
def test_a_node_lost_while_the_program_runs_goes_back_into_the_queue_and_continues(lab, tmp_path, node, victim):
    job = submit(lab, tmp_path, HERE / "count.py", tmp_path / "run", 60, nodes=2)
    steps = tmp_path / "run" / "steps.txt"
    lab.until(lambda: steps.exists() and len(steps.read_text().splitlines()) > 2, 90, lambda: lab.output(job, tmp_path))
    lab.kill(node, victim)
    lab.until(lambda: lab.show(job)["Restarts"] == "1", 60, lambda: lab.output(job, tmp_path))
    state, code, output = lab.finish(job, tmp_path)
    assert (state, code) == ("COMPLETED", 0), output
    assert ("error: node n2 left the cluster" if node == "n2" else "error: Ray ended on the head node n1") in output
    assert steps.read_text().split() == [str(step) for step in range(60)]
    lab.assert_clean(job)


def test_a_node_that_cannot_start_ray_fails_the_job_once_and_keeps_its_logs(lab, tmp_path):
    raylet = Path(importlib.util.find_spec("ray").origin).parent / "core" / "src" / "ray" / "raylet" / "raylet"
    with lab.broken("n2", raylet):
        job = submit(lab, tmp_path, HERE / "nodes.py", 0, nodes=2)
        state, code, output = lab.finish(job, tmp_path)
    assert (state, code) == ("FAILED", 1), output
    assert lab.show(job)["Restarts"] == "0"
    assert "error: node n2 left the cluster: Ray ended: " in output
    assert (tmp_path / "runs" / ".cluster" / f"{job}.0.0" / "ray.1.log").exists()
    lab.assert_clean(job)


def test_submit_chains_its_jobs_and_an_array_writes_the_shards(lab, tmp_path):
    line = [sys.executable, "-m", "jobs", "submit", "smoke", "--name", "r", "seeds=[0, 7]", *SMALL]
    line += ["--parts", "2", "--sbatch=--cpus-per-task=2 --gpus-per-node=0"]
    environment = {**lab.environment, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(line, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    dag = json.loads((tmp_path / "runs" / "r" / "dag.json").read_text())
    assert list(dag) == ["shards", "manifest", "pretrain", "seed-0", "seed-7"]
    jobs = {name: step["job"] for name, step in dag.items()}
    try:
        assert jobs["seed-7"] == jobs["seed-0"].replace("_0", "_1")
        assert jobs["pretrain"] in lab.show(jobs["seed-7"].split("_")[0])["Dependency"]
        again = subprocess.run(line, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True)
        assert "submitted" not in again.stdout, again.stdout + again.stderr
        started = (tmp_path / "runs" / "r" / "data" / "STARTED.json").exists
        lab.until(lambda: lab.state(jobs["manifest"]) == "RUNNING" and started(), 180, lambda: lab.command("squeue"))
        log = tmp_path / "runs" / "r" / "submitit" / f"{jobs['manifest']}_0_log.out"
        lab.until(lambda: log.exists() and "data: " in log.read_text(), 180, lambda: lab.command("squeue"))
        lab.command("scancel", "--signal=USR2", jobs["manifest"])  # what submitit asks Slurm for before a time limit
        done = (tmp_path / "runs" / "r" / "data" / "DONE.json").exists
        lab.until(done, 240, lambda: lab.command("squeue") + log.read_text())
        assert lab.show(jobs["manifest"])["Restarts"] in "01"  # it may have been done before the signal came
        assert lab.state(jobs["manifest"]) != "FAILED"
    finally:
        lab.command("scancel", *jobs.values())
    parts = sorted(path.read_text() for path in tmp_path.glob("r-shards-*.log"))
    assert [text.count(", shard ") for text in parts] == [2, 2]
    lab.until(lambda: not lab.command("squeue", "-h"), 60, lambda: lab.command("squeue"))


def test_an_array_over_label_draws_writes_one_report(lab, tmp_path):
    line = ["seeds=[0,1]", "methods=[supervised]", "rounds=0", *SMALL]
    options = ["--array=0-1", "--cpus-per-task=2", "--output=out.%A_%a"]
    job = lab.submit(REPOSITORY / "slurm" / "smoke.sh", *line, options=options, cwd=tmp_path)
    lab.until(lambda: not lab.command("squeue", "-h", "-j", job, "-r"), 480, lambda: lab.command("squeue"))
    outputs = [(tmp_path / f"out.{job}_{index}").read_text() for index in range(2)]
    assert (tmp_path / "runs" / "smoke" / "report.html").exists(), "\n".join(outputs)
    assert [path.name for path in sorted((tmp_path / "runs").glob("smoke*"))] == ["smoke", "smoke-seed0", "smoke-seed1"]
    assert sum("the last one reports" in text for text in outputs) == 1, "\n".join(outputs)
    assert sum("data: starts" in text for text in outputs) == 1, "\n".join(outputs)
    lab.assert_clean(job)
