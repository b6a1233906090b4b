"""One task of a cluster: what the first (`leader`) and the others (`follower`) share."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from jobs.cluster import ray_node, restarts
from jobs.cluster.allocation import Allocation
from jobs.cluster.temp_folder import private_folder, ray_folder
from shards.files import disk_errors

POLL_S = 0.3
TRIES = 3
"""How often Ray is started on a node before the program starts."""
HEAD, TOKEN = "head.json", "token"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """How the cluster of an allocation is made."""

    # a folder that every node sees
    folder: Path
    # seconds from the first task until all nodes have joined
    deadline_s: float = 180.0
    # object store of a node in MB; None: 30 % of the memory that Slurm granted, at most what /dev/shm holds
    object_store_mb: int | None = None
    # Ray's dashboard on the head; Ray Tune needs it to free what a stopped trial held
    dashboard: bool = False

    def __post_init__(self) -> None:
        """Refuse what Ray cannot start with."""
        if self.deadline_s <= 0:
            raise ValueError(f"deadline_s {self.deadline_s}: must be positive; leave it out for 180")
        if self.object_store_mb is not None and self.object_store_mb < 80:
            raise ValueError(
                f"object_store_mb {self.object_store_mb}: Ray needs at least 80; leave it out for a default"
            )


def say(text: str) -> None:
    """Print one line at once."""
    sys.stdout.write(f"cluster: {text}\n")
    sys.stdout.flush()


class Task:
    """One task's part of the cluster."""

    temporary: Path | None = None

    def __init__(self, allocation: Allocation, config: ClusterConfig) -> None:
        """Make this attempt's folder; nothing is started yet."""
        self.allocation, self.config = allocation, config
        self.started = time.monotonic()
        self.shared = config.folder / f"{allocation.job}.{allocation.step}.{allocation.attempt}"
        with disk_errors(self.shared):
            self.shared.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log = self.shared / f"ray.{allocation.rank}.log"
        self.ray: subprocess.Popen[bytes] | None = None
        self.stop: int | None = None
        self.folders = ExitStack()

    def listen(self) -> None:
        """Hear the stop signals from now on."""
        for number in SIGNALS:
            signal.signal(number, self.on_signal)

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Remember that the job is asked to stop."""
        self.stop = number

    def left(self) -> float:
        """Seconds until the cluster must be complete."""
        return self.config.deadline_s - (time.monotonic() - self.started)

    def environment(self, address: str | None = None) -> dict[str, str]:
        """Environment of Ray and of the programs on it."""
        return {**ray_node.environment(self.shared / TOKEN, address), restarts.ATTEMPT: str(self.shared)}

    def make_temporary(self) -> None:
        """Make the private folder on this node; it goes with `self.folders`."""
        label = f"{self.allocation.job}.{self.allocation.step}.{self.allocation.rank}-"
        self.temporary = self.folders.enter_context(private_folder(label))

    def ray_folder(self) -> Path:
        """Name the folder that Ray makes on this node."""
        if self.temporary is None:
            raise RuntimeError("make_temporary comes first")
        return ray_folder(self.temporary)

    def start_ray(self, ip: str, options: Sequence[str]) -> None:
        """Start Ray's part on this node."""
        store = self.allocation.object_store_bytes(self.config.object_store_mb)
        command = ray_node.start_command(self.allocation, ip, self.ray_folder(), store, options)
        self.ray = ray_node.start(command, self.environment(), self.log)

    def ray_ended(self) -> str | None:
        """Say why Ray has ended on this node; None while it runs."""
        if self.ray is None or self.ray.poll() is None:
            return None
        return ray_node.why(self.log, self.ray_folder() / "session_latest" / "logs")

    def end_ray(self) -> None:
        """End Ray on this node."""
        ray_node.end(self.ray, ray_node.RAY_GRACE_S)
        self.ray = None

    def keep_logs(self) -> None:
        """Copy what Ray wrote on this node to the shared folder; a failure here must not hide the reason."""
        if self.temporary is None:
            return
        with suppress(OSError, shutil.Error):
            logs = self.ray_folder() / "session_latest" / "logs"
            kept = self.shared / f"logs.{self.allocation.rank}"
            shutil.copytree(logs, kept, ignore_dangling_symlinks=True, dirs_exist_ok=True)
