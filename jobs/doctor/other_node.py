"""A second node of the allocation: what it sees of the shared folder, and how fast it talks to this one.

As a program (`python -m jobs.doctor.other_node watch FILE | reduce ADDRESS PORT`) it is the part that runs over there.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.cluster.allocation import host_names, node_address
from jobs.cluster.ports import reserve
from jobs.doctor.checks import Finding

WATCH_S, REDUCE_S = 120, 180
MEGABYTES, ROUNDS = 64, 8


def nodes_of_allocation(env: Mapping[str, str]) -> tuple[str, ...]:
    """List the nodes of the Slurm job that this process is in; none outside of one."""
    listed = env.get("SLURM_JOB_NODELIST")
    return host_names(listed) if env.get("SLURM_JOB_ID") and listed else ()


def _srun(nodes: Sequence[str], *arguments: str) -> list[str]:
    step = ["srun", "--overlap", f"--nodes={len(nodes)}", f"--ntasks={len(nodes)}", "--ntasks-per-node=1"]
    return [*step, f"--nodelist={','.join(nodes)}", sys.executable, "-m", "jobs.doctor.other_node", *arguments]


@dataclass(frozen=True, slots=True)
class Watch:
    """A process on another node that looks for a file; it has looked once, in vain, when this is made."""

    node: str
    process: subprocess.Popen[str]

    @staticmethod
    def start(path: Path) -> Watch | str:
        """Start it on another node; or say why there is none."""
        here, nodes = os.uname().nodename.split(".")[0], nodes_of_allocation(os.environ)
        others = [node for node in nodes if node.split(".")[0] not in (here, os.environ.get("SLURMD_NODENAME"))]
        if not others:
            return "needs two nodes: salloc --nodes=2, then the same command there"
        process = subprocess.Popen(_srun(others[:1], "watch", str(path)), stdout=subprocess.PIPE, text=True)
        watch = Watch(others[0], process)
        if watch._line(WATCH_S) != "looked":
            process.kill()
            process.wait()
            return f"{others[0]} does not run a step: is srun allowed to overlap?"
        return watch

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def seconds(self) -> float | None:
        """Wait until it sees the file; None when it does not."""
        started = time.perf_counter()
        return time.perf_counter() - started if self._line(WATCH_S) == "seen" else None

    def _line(self, timeout_s: float) -> str:
        stream = self.process.stdout
        ready = bool(stream and select.select([stream], [], [], timeout_s)[0])
        return stream.readline().strip() if stream and ready else ""


def collective() -> Finding:
    """Sum a tensor over the nodes of the allocation: NCCL where they have GPUs, gloo else."""
    nodes = nodes_of_allocation(os.environ)
    if len(nodes) < 2:
        return Finding("skip", "needs two nodes: salloc --nodes=2, then the same command there")
    block = reserve(os.getpid())
    port = block.head
    block.guard.close()
    line = _srun(nodes, "reduce", node_address(nodes[0]), str(port))
    try:
        done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=REDUCE_S)
    except subprocess.TimeoutExpired:
        found = f"{len(nodes)} nodes did not sum a tensor in {REDUCE_S} s"
        return Finding("fail", found, "set NCCL_SOCKET_IFNAME to the fast interface")
    said = [text for text in done.stdout.splitlines() if text.startswith("{")]
    if done.returncode or not said:
        return Finding("fail", _last_line(done.stderr), "set NCCL_SOCKET_IFNAME, NCCL_DEBUG=INFO says more")
    result = json.loads(said[-1])
    return Finding("ok", f"{result['backend']} over {len(nodes)} nodes: {result['gigabytes_per_s']:.2f} GB/s summed")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "srun ended without a word"


def watch(path: Path) -> None:
    """Look for a file until it is there."""
    seen = path.exists()
    sys.stdout.write("looked\n" if not seen else "too late\n")
    sys.stdout.flush()
    end = time.monotonic() + WATCH_S
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    sys.stdout.write("seen\n" if path.exists() else "not seen\n")
    sys.stdout.flush()


def reduce(address: str, port: str) -> None:
    """Sum a tensor of some megabytes with the tasks of the other nodes; the first one says how fast."""
    import torch
    from torch import distributed

    rank, world = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    gpu = torch.cuda.is_available()
    backend, device = ("nccl", "cuda") if gpu else ("gloo", "cpu")
    distributed.init_process_group(backend, init_method=f"tcp://{address}:{port}", rank=rank, world_size=world)
    values = torch.ones(MEGABYTES << 18, device=device)  # float32
    distributed.all_reduce(values)
    distributed.barrier()
    started = time.perf_counter()
    for _ in range(ROUNDS):
        distributed.all_reduce(values)
    if gpu:
        torch.cuda.synchronize()
    spent = time.perf_counter() - started
    right = float(values[0]) == float(world) ** (ROUNDS + 1)
    distributed.destroy_process_group()
    if not right:
        raise SystemExit(f"{backend}: the sum over {world} nodes is wrong")
    if rank == 0:
        rate = ROUNDS * MEGABYTES / 1024 / spent
        sys.stdout.write(json.dumps({"backend": backend, "gigabytes_per_s": rate}) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        watch(Path(sys.argv[2]))
    else:
        reduce(*sys.argv[2:])
