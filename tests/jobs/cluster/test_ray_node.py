"""Ray on one node: what it is told, how its session ends, and which of its lines says why it has ended."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from jobs.cluster import ray_node
from jobs.cluster.allocation import MB, Allocation


def node(memory_mb: int | None) -> Allocation:
    return Allocation(
        job="7",
        step="0",
        attempt="0",
        rank=1,
        node="n2",
        nodes=("n1", "n2"),
        cpus=6,
        gpus=2,
        memory_bytes=memory_mb and memory_mb * MB,
    )


@pytest.mark.parametrize(("memory_mb", "told"), [(1000, [f"--memory={900 * MB}"]), (None, [])])
def test_ray_takes_what_slurm_granted_and_its_store_out_of_that(memory_mb, told):
    command = ray_node.start_command(node(memory_mb), "10.0.0.2", Path("/t"), 100 * MB, ["--head"])
    assert [word for word in command if word.startswith("--memory")] == told
    wanted = {"--head", "--block", "--num-cpus=6", "--num-gpus=2", "--node-ip-address=10.0.0.2", "--node-name=n2"}
    assert wanted | {f"--object-store-memory={100 * MB}", "--temp-dir=/t"} <= set(command)


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_an_address_of_another_ray_is_not_inherited(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    env = ray_node.environment(Path("/shared/token"), address)
    assert env.get("RAY_ADDRESS") == address
    assert (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN_PATH"]) == ("token", "/shared/token")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "it said nothing"),
        ({"ray.log": "\n  \n"}, "it said nothing"),
        ({"ray.log": "starting\n\x1b[31mlast words\x1b[0m\n"}, "last words"),
        ({"ray.log": "x\nRuntimeError: boom\nbye\n"}, "RuntimeError: boom"),
        (
            {"ray.log": "RuntimeError: boom\n", "logs/gcs.err": "bind: Address already in use\n"},
            "bind: Address already",
        ),
        ({"ray.log": "no reason\n", "logs/raylet.err": "No space left on device\nmore\n"}, "No space left on device"),
        ({"ray.log": "end\n", "logs/raylet.out": "Check failed: x\n"}, "end"),
        ({"ray.log": "y" * 1000}, "y" * 300),
    ],
)
def test_the_plainest_reason_is_told(tmp_path, files, reason):
    (tmp_path / "logs").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert ray_node.why(tmp_path / "ray.log", tmp_path / "logs").startswith(reason)
    assert len(ray_node.why(tmp_path / "ray.log", tmp_path / "logs")) <= 300


def test_a_port_answers_while_somebody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ray_node.answers("127.0.0.1", port)
    assert not ray_node.answers("127.0.0.1", port)


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "60"], process_group=0)
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_whole_session_ends_also_what_ignores_the_signal_or_left_its_group(tmp_path):
    log = tmp_path / "log"
    process = ray_node.start([sys.executable, "-c", STUBBORN], os.environ, log)
    end = time.monotonic() + 30
    while not (text := log.read_text()).endswith("\n") and time.monotonic() < end:
        time.sleep(0.01)
    ray_node.end(process, grace_s=0.05)
    assert process.returncode == -signal.SIGKILL
    assert [int(text.split()[0])] == [process.pid]
    while not gone(int(text.split()[1])) and time.monotonic() < end:
        time.sleep(0.01)
    assert gone(int(text.split()[1]))
    ray_node.end(process)
    ray_node.end(None)
