"""Ray on one node of a cluster: its command line, its environment, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jobs.cluster.allocation import Allocation

GRACE_S = 10.0
"""Seconds that a program gets between SIGTERM and SIGKILL."""
RAY_GRACE_S = 3.0
"""The same for Ray, which has nothing to save: after `scancel` Slurm itself kills soon, and the node must be clean."""


def environment(token: Path, address: str | None) -> dict[str, str]:
    """Environment of Ray and of the programs on it. The mode of authentication never depends on files in a home."""
    ours = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # the program is over when Ray gets its SIGTERM
        "PYTHONUNBUFFERED": "1",
    }
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {**inherited, **ours, **({"RAY_ADDRESS": address} if address else {})}


def start_command(
    allocation: Allocation, ip: str, temporary: Path, store_bytes: int, options: Sequence[str]
) -> list[str]:
    """`ray start --block` with what Slurm granted: left alone, Ray takes the whole host."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *options]
    command += [f"--node-ip-address={ip}", f"--node-name={allocation.node}", f"--temp-dir={temporary}"]
    command += [f"--num-cpus={allocation.cpus}", f"--num-gpus={allocation.gpus}"]
    command += [f"--object-store-memory={store_bytes}"]
    # the system chooses the workers' and the agent's ports: several jobs of one node cannot meet
    command += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    if allocation.memory_bytes:
        command.append(f"--memory={allocation.memory_bytes - store_bytes}")
    return command


def answers(ip: str, port: int) -> bool:
    """Tell whether somebody accepts connections."""
    try:
        with socket.create_connection((ip, port), timeout=1):
            return True
    except OSError:
        return False


def end(process: subprocess.Popen[bytes] | None, grace_s: float = GRACE_S) -> None:
    """End the session that `process` began: SIGTERM to its first group, then SIGKILL to all that is left."""
    if process is None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    for pid in _session(process.pid):  # Ray gives each worker a process group of its own, but not a session
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _session(leader: int) -> list[int]:
    found = []
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found


def last_line(log: Path) -> str:
    """What a log ends with: most often the reason."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
