"""A Ray cluster of one Slurm allocation: `srun --ntasks-per-node=1 python -m jobs.cluster --folder D -- command ...`.

Every node runs this command. Task 0 starts the head, waits until all nodes have joined and runs the command with
RAY_ADDRESS set; the others join the head and stay until task 0 is done. What tasks must tell each other goes through
small files in a folder on the shared file system, one folder per attempt of a job step:

    head.json   address of the head, written when it answers     token     key of this cluster, 0600
    exit.<r>    exit code of task r, written when it ends        ray.<r>.log, logs.<r>/   what Ray said

Stop signals are passed on to the command. Only processes that were started here are ended: never `ray stop`, which
ends every Ray of a user on a node. The exit code is the command's.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from jobs.cluster import ray_node
from jobs.cluster.allocation import Allocation, free_port, local_address, node_address
from jobs.cluster.preempt import EXIT_CODE
from shards.errors import UserError
from shards.files import write_bytes

POLL_S = 0.3
WAIT = [sys.executable, "-m", "jobs.cluster"]
"""Waits for the nodes in a process of its own: a driver of Ray changes the signal handlers of its process."""
ATTEMPTS = 3
"""Ports to try for the head: another job may take a free port between the look and the start."""


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


class Cluster:
    """One task's part of the cluster."""

    def __init__(self, allocation: Allocation, config: ClusterConfig) -> None:
        """Make this attempt's folder; nothing is started yet."""
        self.allocation, self.config = allocation, config
        self.started = time.monotonic()
        self.shared = config.folder / f"{allocation.job}.{allocation.step}.{allocation.attempt}"
        self.shared.mkdir(parents=True, exist_ok=True, mode=0o700)
        # short and on the node itself: paths of Unix sockets end at 107 bytes, and nodes must not share it
        self.temporary = Path(f"/tmp/r{allocation.job}.{allocation.step}.{allocation.rank}")  # noqa: S108
        self.log = self.shared / f"ray.{allocation.rank}.log"
        self.ray: subprocess.Popen[bytes] | None = None
        self.command: subprocess.Popen[bytes] | None = None
        self.stop: int | None = None
        self.made = False

    def run(self, command: Sequence[str]) -> int:
        """Play this task's role to the end; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, self._pass_on)
        code = 1
        try:
            self._make_temporary()
            code = self._lead(command) if self.allocation.rank == 0 else self._follow()
        except UserError as error:  # only before the command starts
            code = EXIT_CODE if self.stop is not None and self.allocation.rank == 0 else 1
            say("asked to stop before the command started" if self.stop is not None else f"error: {error}")
        finally:
            self._tear_down(code)
        return code

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        """Remember the signal; the command, where it runs here, decides what to do with it."""
        self.stop = number
        if self.command is not None and self.command.poll() is None:
            self.command.send_signal(number)

    def _make_temporary(self) -> None:
        """Make the folder of Ray's sockets; an earlier attempt that was killed may have left one of ours."""
        if self.temporary.is_dir() and not self.temporary.is_symlink() and self.temporary.stat().st_uid == os.getuid():
            shutil.rmtree(self.temporary)
        try:
            self.temporary.mkdir(mode=0o700)
        except FileExistsError as error:
            raise UserError(f"{self.temporary} is not ours on {self.allocation.node}; remove it") from error
        self.made = True

    def _left(self) -> float:
        return self.config.deadline_s - (time.monotonic() - self.started)

    # --- task 0 -------------------------------------------------------------------------------------------------

    def _lead(self, command: Sequence[str]) -> int:
        token = self.shared / "token"
        with open(token, "w", opener=lambda path, flags: os.open(path, flags, 0o600), encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
        address = self._start_head()
        write_bytes(self.shared / "head.json", json.dumps({"address": address}).encode())
        nodes = " ".join(self.allocation.nodes)
        wait = [*WAIT, "--wait", nodes, "--deadline", f"{max(self._left(), 1):.0f}"]
        code = self._watch(wait, address)
        if code != 0 or self.stop is not None:
            raise UserError(f"the cluster is not complete after {self.config.deadline_s:.0f} s; logs: {self.shared}")
        say(f"{len(self.allocation.nodes)} nodes at {address} after {time.monotonic() - self.started:.0f} s")
        code = self._watch(command, address)
        # A signal that comes before the command's own handlers ends it: nothing is lost, it may simply run again.
        early = (
            self.stop is not None and self.stop != signal.SIGINT and code in (-self.stop, self.stop, 128 + self.stop)
        )
        return EXIT_CODE if early else 128 - code if code < 0 else code

    def _start_head(self) -> str:
        """Start the head on a free port; return `ip:port` once it answers."""
        peers = [node for node in self.allocation.nodes if node != self.allocation.node]
        ip = local_address(node_address(peers[0])) if peers else "127.0.0.1"
        port = 20000 + int(self.allocation.job) % 10000  # Ray's workers take 10002-19999, the system 32768 and up
        for _ in range(ATTEMPTS):
            wanted, port = port, free_port(ip, port)
            if port != wanted:
                say(f"port {wanted} is taken, using {port}")
            options = ["--head", f"--port={port}", f"--ray-client-server-port={free_port(ip, port + 1)}"]
            options += [f"--include-dashboard={str(self.config.dashboard).lower()}", "--dashboard-port=0"]
            self.ray = self._start_ray(ip, options)
            if self._until(lambda: ray_node.answers(ip, port), self.ray):  # noqa: B023 - called before the next round
                return f"{ip}:{port}"
            ray_node.end(self.ray, ray_node.RAY_GRACE_S)
            if self._left() < 0 or self.stop is not None:
                break
            port += 1
        reason = f"{ray_node.last_line(self.log)} (all of it: {self.log})"
        raise UserError(f"Ray's head does not start on {self.allocation.node}: {reason}")

    def _watch(self, command: Sequence[str], address: str) -> int:
        """Run a command until it ends or the cluster breaks; return its code as Popen gives it."""
        self.command = subprocess.Popen(command, env=self._environment(address), start_new_session=True)
        if self.stop is not None:  # it came between the last look and the start
            self.command.send_signal(self.stop)
        while self.command.poll() is None:
            if broken := self._broken():
                say(f"error: {broken}; logs: {self.shared}")
                ray_node.end(self.command)
                return 1
            time.sleep(POLL_S)
        return self.command.returncode

    def _broken(self) -> str | None:
        if self.ray is not None and self.ray.poll() is not None:
            return f"Ray ended on the head node {self.allocation.node} (code {self.ray.returncode})"
        for rank, node in enumerate(self.allocation.nodes):
            if (self.shared / f"exit.{rank}").exists():
                return f"node {node} left the cluster"
        return None

    # --- the other tasks ----------------------------------------------------------------------------------------

    def _follow(self) -> int:
        head, done = self.shared / "head.json", self.shared / "exit.0"
        while not head.exists():
            if done.exists() or self.stop is not None:
                return 0
            if self._left() < 0:
                raise UserError(f"node {self.allocation.node}: no head after {self.config.deadline_s:.0f} s")
            time.sleep(POLL_S)
        address = str(json.loads(head.read_text(encoding="utf-8"))["address"])
        self.ray = self._start_ray(local_address(address.rsplit(":", 1)[0]), [f"--address={address}"])
        while not done.exists():
            if self.ray.poll() is not None:
                raise UserError(
                    f"node {self.allocation.node}: Ray ended: {ray_node.last_line(self.log)} (all of it: {self.log})"
                )
            time.sleep(POLL_S)
        return 0

    # --- both ---------------------------------------------------------------------------------------------------

    def _environment(self, address: str | None = None) -> dict[str, str]:
        return ray_node.environment(self.shared / "token", address)

    def _start_ray(self, ip: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
        store = self.allocation.object_store_bytes(self.config.object_store_mb)
        command = ray_node.start_command(self.allocation, ip, self.temporary, store, options)
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log, start_new_session=True)

    def _until(self, ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
        while not ready():
            if process.poll() is not None or self._left() < 0 or self.stop is not None:
                return False
            time.sleep(POLL_S)
        return True

    def _outcome(self) -> int:
        """Exit code of task 0 as far as it is known."""
        done = self.shared / "exit.0"
        return int(done.read_text(encoding="utf-8")) if done.exists() else 0

    def _tear_down(self, code: int) -> None:
        """End what this task started, say so to the others, leave nothing on the node."""
        if self.allocation.rank == 0:
            write_bytes(self.shared / "exit.0", str(code).encode())
        ray_node.end(self.command)
        ray_node.end(self.ray, ray_node.RAY_GRACE_S)
        if not {code, self._outcome()} <= {0, EXIT_CODE}:
            # the reason must not be lost with the folder, nor may a failure here hide it
            with suppress(OSError, shutil.Error):
                logs = self.temporary / "session_latest" / "logs"
                shutil.copytree(logs, self.shared / f"logs.{self.allocation.rank}", ignore_dangling_symlinks=True)
        if self.made:
            shutil.rmtree(self.temporary, ignore_errors=True)
        if self.allocation.rank != 0:
            write_bytes(self.shared / f"exit.{self.allocation.rank}", str(code).encode())
            return
        # srun --kill-on-bad-exit ends the others as soon as this task fails: let them clean up first
        others = [self.shared / f"exit.{rank}" for rank in range(1, len(self.allocation.nodes))]
        end = time.monotonic() + 2 * ray_node.GRACE_S
        while not all(path.exists() for path in others) and time.monotonic() < end:
            time.sleep(POLL_S)
        (self.shared / "token").unlink(missing_ok=True)
        if code in (0, EXIT_CODE) and all(path.exists() for path in others):  # nothing in it that anybody will read
            shutil.rmtree(self.shared, ignore_errors=True)
            with suppress(OSError):
                self.config.folder.rmdir()


def wait_for_nodes(names: Sequence[str], deadline_s: float) -> int:
    """Count the nodes of the cluster at RAY_ADDRESS until all named ones are there; return an exit code."""
    import ray

    end, shown = time.monotonic() + deadline_s, -1
    ray.init(logging_level="ERROR", log_to_driver=False)
    while True:
        alive = {node["NodeName"] for node in ray.nodes() if node["Alive"]}
        missing = [name for name in names if name not in alive]
        left = end - time.monotonic()
        if len(missing) != shown:
            say(f"{len(names) - len(missing)}/{len(names)} nodes ({max(left, 0):.0f} s left)")
            shown = len(missing)
        if not missing:
            return 0
        if left < 0:
            say(f"error: missing after the deadline: {', '.join(missing)}")
            return 1
        time.sleep(POLL_S)


def main(argv: Sequence[str] | None = None, env: Mapping[str, str] = os.environ) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m jobs.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="folder that every node sees")
    parser.add_argument("--deadline", type=float, default=180.0, help="seconds until all nodes have joined")
    parser.add_argument("--object-store-mb", type=int, help="object store of a node")
    parser.add_argument("--dashboard", action="store_true", help="start Ray's dashboard (sweeps need it)")
    parser.add_argument("--wait", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- command and arguments, run on the first node")
    options = parser.parse_args(argv)
    if options.wait:
        return wait_for_nodes(options.wait.split(), options.deadline)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command or options.folder is None:
        parser.error("needs --folder DIR -- command ...")
    try:
        config = ClusterConfig(
            folder=options.folder.absolute(),
            deadline_s=options.deadline,
            object_store_mb=options.object_store_mb,
            dashboard=options.dashboard,
        )
        cluster = Cluster(Allocation.of(env), config)
    except (UserError, ValueError) as error:
        say(f"error: {error}")
        return UserError.exit_code
    return cluster.run(command)
