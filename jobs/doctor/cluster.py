"""Ray, Slurm and the ports between them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from jobs.cluster.ports import BLOCKS, FIRST, SIZE, reserve
from jobs.cluster.session import ray_session
from jobs.doctor.checks import Finding

SLOW_START_S = 30
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class _Worker:
    def pid(self) -> int:
        return os.getpid()


def ray_workers() -> Finding:
    """Start Ray, or attach to the one of RAY_ADDRESS, and wait for two workers at the same time."""
    started = time.perf_counter()
    with ray_session():
        import ray

        up = time.perf_counter() - started
        workers = [ray.remote(num_cpus=0.5)(_Worker).remote() for _ in range(2)]
        pids = ray.get([worker.pid.remote() for worker in workers], timeout=120)
        spent = time.perf_counter() - started
    if len(set(pids)) < 2:
        return Finding("fail", "two workers are one process", "report it")
    return judge_start(up, spent)


def judge_start(up: float, spent: float) -> Finding:
    """Compare the seconds of a start with what a run can bear at each of its starts."""
    found = f"two workers after {spent:.1f} s, {up:.1f} of them Ray's start"
    if spent > SLOW_START_S:
        return Finding("warn", found, "a Python environment on a slow file system starts slowly; copy it to the node")
    return Finding("ok", found)


def slurm() -> Finding:
    """Ask Slurm for its partitions and whether it requeues."""
    if shutil.which("sinfo") is None:
        return Finding("skip", "no Slurm here; `finepseudo run` works without")
    done = _slurm("sinfo", "--noheader", "--format=%P %D %G %l %a")
    if done.returncode:
        said = done.stderr.strip() or f"sinfo ends with code {done.returncode} and says nothing"
        found = f"no controller answers ({said.splitlines()[0][:100]})"
        return Finding("warn", found, "`finepseudo run` works without; for jobs ask the admins")
    config = _slurm("scontrol", "show", "config").stdout
    return judge_slurm(done.stdout.splitlines(), config)


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def judge_slurm(partitions: list[str], config: str) -> Finding:
    """Read partitions (name, nodes, GPUs, time limit, state) and the configuration."""
    rows = [line.split() for line in partitions if line.strip()]
    rows = [[cell.replace("(null)", "no GPU") for cell in row] for row in rows if row[-1] == "up"]
    up = [f"{row[0]} {row[1]} nodes ({row[2]}, {row[3]})" for row in rows]
    if not up:
        return Finding("fail", "no partition is up", "ask the admins")
    version = re.search(r"SLURM_VERSION\s*=\s*(\S+)", config)
    found = f"{version[1] if version else 'version unknown'}: {', '.join(up)}"
    if re.search(r"JobRequeue\s*=\s*0", config):
        return Finding("ok", f"{found}; jobs are not requeued by default, the scripts here ask for it")
    return Finding("ok", found)


def ports() -> Finding:
    """Take a block of ports as a job would, and look whether the system hands out the same ones."""
    block = reserve(os.getpid())
    block.guard.close()
    text = PORT_RANGE.read_text(encoding="ascii") if PORT_RANGE.exists() else ""
    return judge_ports([int(number) for number in text.split()])


def judge_ports(handed_out: list[int]) -> Finding:
    """Compare the blocks of ports with the system's range for outgoing connections."""
    last = FIRST + SIZE * BLOCKS - 1
    found = f"{FIRST}-{last} are to be had"
    if handed_out and handed_out[0] <= last and handed_out[1] >= FIRST:
        return Finding(
            "warn",
            f"{found}, but the system hands out {handed_out[0]}-{handed_out[1]}: Ray may need a second start",
            "ask for net.ipv4.ip_local_port_range from 32768 on",
        )
    return Finding("ok", found)
