"""Ray on one node of a cluster: its command line, its environment, its end."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from jobs.cluster.allocation import Allocation

_LIBC, _PR_SET_PDEATHSIG = ctypes.CDLL(None), 1
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REASONS = (
    re.compile(r"Failed to bind|[Aa]ddress already in use|specified port is"),
    re.compile(r"No space left|Permission denied|[Cc]annot allocate|[Oo]ut of memory"),
    re.compile(r"Check failed|^\w[\w.]*(Error|Exception)\b"),
)
"""What a line with the reason looks like, the plainest first."""

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


def start(command: Sequence[str], env: Mapping[str, str], log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a session of its own that gets SIGTERM when this process ends, even by SIGKILL; its words go to `log`."""
    with log.open("ab") if log else nullcontext() as file:
        return subprocess.Popen(
            command,
            env=env,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - a task of a cluster has no other thread
        )


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def why(log: Path, logs: Path) -> str:
    """Say why a Ray has ended, in one line: what its programs (`logs`) or its own log give as the reason."""
    lines = [line for path in (*sorted(logs.glob("*.err")), log) for line in _lines(path)]
    for pattern in _REASONS:
        if found := [line for line in lines if pattern.search(line)]:
            return found[-1][:300]
    return lines[-1][:300] if lines else "it said nothing"


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        text = _COLOUR.sub("", path.read_text(encoding="utf-8", errors="replace"))
        return [line.strip() for line in text.splitlines() if line.strip()]
    return []
