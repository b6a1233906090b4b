"""The cluster launcher around a stand-in for Ray: roles, files, deadlines, signals. tests/slurm has the real thing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.cluster import ray_node, slurm_cluster
from jobs.cluster.allocation import Allocation
from jobs.cluster.slurm_cluster import Cluster, ClusterConfig

FAKE_RAY = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ports = [int(a.split("=")[1]) for a in sys.argv if a.startswith("--port=")]
server = socket.create_server(("127.0.0.1", ports[0])) if ports else None
time.sleep(60)
"""


def task(rank, job, nodes=("here", "there")):
    return Allocation(
        job=job, step="0", attempt="0", rank=rank, node=nodes[rank], nodes=nodes, cpus=2, gpus=0, memory_bytes=None
    )


@pytest.fixture
def job():
    return str(900_000_000 + os.getpid())


@pytest.fixture
def stand_in(monkeypatch):
    """Ray is a process that listens; addresses are local; the wait for nodes succeeds at once."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)}
    monkeypatch.setattr(slurm_cluster, "node_address", lambda node: "127.0.0.1")
    monkeypatch.setattr(slurm_cluster, "WAIT", [sys.executable, "-c", ""])

    def start(self, ip, options):
        with self.log.open("ab") as log:
            line = [sys.executable, "-c", FAKE_RAY, *options]
            return subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)

    monkeypatch.setattr(Cluster, "_start_ray", start)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def shared(folder, job):
    return folder / f"{job}.0.0"


def left_behind(job):
    return list(Path("/tmp").glob(f"r{job}.*"))


@pytest.mark.parametrize("code", [0, 3])
def test_the_first_task_runs_the_command_and_ends_as_it_ends(tmp_path, job, stand_in, code):
    seen = tmp_path / "seen"
    program = (
        f"import os, pathlib, sys; pathlib.Path({str(seen)!r}).write_text(os.environ['RAY_ADDRESS']); sys.exit({code})"
    )
    one = Cluster(task(0, job, ("here",)), ClusterConfig(folder=tmp_path / "c"))
    assert one.run([sys.executable, "-c", program]) == code
    assert seen.read_text().startswith("127.0.0.1:2")
    assert one.ray.poll() is not None
    assert not left_behind(job)
    assert not (shared(tmp_path / "c", job) / "token").exists()
    assert shared(tmp_path / "c", job).exists() == (code != 0)  # a failed one keeps its logs


def test_a_command_killed_by_a_signal_has_the_shells_exit_code(tmp_path, job, stand_in):
    one = Cluster(task(0, job, ("here",)), ClusterConfig(folder=tmp_path))
    assert one.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 137


def test_a_stop_signal_that_ends_a_command_without_handlers_asks_for_another_run(tmp_path, job, stand_in):
    program = "import os, signal, time; os.kill(os.getppid(), signal.SIGUSR1); time.sleep(30)"
    one = Cluster(task(0, job, ("here",)), ClusterConfig(folder=tmp_path))
    assert one.run([sys.executable, "-c", program]) == 75


def test_a_command_that_handles_the_signal_decides_itself(tmp_path, job, stand_in):
    program = (
        "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "os.kill(os.getppid(), signal.SIGTERM); time.sleep(30)"
    )
    one = Cluster(task(0, job, ("here",)), ClusterConfig(folder=tmp_path))
    assert one.run([sys.executable, "-c", program]) == 9


def test_a_lost_node_ends_the_command(tmp_path, job, stand_in, capfd):
    one = Cluster(task(0, job), ClusterConfig(folder=tmp_path))
    program = (
        f"import pathlib, time; pathlib.Path({str(shared(tmp_path, job) / 'exit.1')!r}).write_text('1'); time.sleep(30)"
    )
    assert one.run([sys.executable, "-c", program]) == 1
    assert "node there left the cluster" in capfd.readouterr().out


def test_another_task_joins_the_head_and_leaves_when_the_first_is_done(tmp_path, job, stand_in):
    folder = shared(tmp_path, job)
    folder.mkdir()
    (folder / "head.json").write_text(json.dumps({"address": "127.0.0.1:29999"}))
    other = Cluster(task(1, job), ClusterConfig(folder=tmp_path))
    start = other._start_ray

    def started_and_done(ip, options):
        assert (ip, options) == ("127.0.0.1", ["--address=127.0.0.1:29999"])
        (folder / "exit.0").write_text("0")
        return start(ip, options)

    other._start_ray = started_and_done
    assert other.run(["never"]) == 0
    assert (folder / "exit.1").read_text() == "0"
    assert other.ray.poll() is not None
    assert not left_behind(job)


def test_without_a_head_a_task_gives_up_at_the_deadline(tmp_path, job, stand_in, capfd):
    other = Cluster(task(1, job), ClusterConfig(folder=tmp_path, deadline_s=0.5))
    assert other.run(["never"]) == 1
    assert "node there: no head after 0 s" in capfd.readouterr().out
    assert not left_behind(job)


def test_what_a_killed_attempt_left_on_the_node_is_removed_but_nothing_of_others(tmp_path, job, stand_in, capfd):
    mine = Path(f"/tmp/r{job}.0.0")
    (mine / "session_old").mkdir(parents=True)
    one = Cluster(task(0, job, ("here",)), ClusterConfig(folder=tmp_path))
    assert one.run([sys.executable, "-c", f"import os; assert not os.path.exists('{mine}/session_old')"]) == 0
    mine.symlink_to(tmp_path)
    try:
        again = Cluster(task(0, job, ("here",)), ClusterConfig(folder=tmp_path / "d"))
        assert again.run(["never"]) == 1
        assert "is not ours on here" in capfd.readouterr().out
        assert tmp_path.exists()
    finally:
        mine.unlink(missing_ok=True)


def test_processes_in_groups_of_their_own_end_with_the_session():
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    child = int(leader.stdout.readline())
    ray_node.end(leader)
    end = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_taken_port_is_left_alone_and_the_next_one_used(tmp_path, job, stand_in, capfd):
    wanted = 20000 + int(job) % 10000
    program = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['RAY_ADDRESS'])"
    with socket.create_server(("127.0.0.1", wanted)):
        one = Cluster(task(0, job, ("here",)), ClusterConfig(folder=tmp_path / "c"))
        assert one.run([sys.executable, "-c", program, str(tmp_path / "seen")]) == 0
    assert f"port {wanted} is taken, using " in capfd.readouterr().out
    assert int((tmp_path / "seen").read_text().split(":")[1]) > wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--deadline", "0", "--folder", "x", "--", "a"], "deadline_s 0.0: must be positive"),
        (["--object-store-mb", "10", "--folder", "x", "--", "a"], "object_store_mb 10: Ray needs at least 80"),
        (["--folder", "x", "--", "a"], "SLURM_JOB_ID"),
    ],
)
def test_bad_input_is_one_line_and_code_two(arguments, message, capfd):
    assert slurm_cluster.main(arguments, env={}) == 2
    assert message in capfd.readouterr().out
