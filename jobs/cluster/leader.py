"""The first task: it starts Ray's head, waits until all nodes have joined, runs the program and says how it ended."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from jobs.cluster import ray_node, restarts
from jobs.cluster.allocation import local_address, node_address
from jobs.cluster.ports import PortBlock, reserve
from jobs.cluster.preempt import EXIT_CODE
from jobs.cluster.roll import Roll
from jobs.cluster.task import HEAD, POLL_S, TOKEN, TRIES, Task, say
from shards.errors import UserError
from shards.files import write_bytes

WAIT = [sys.executable, "-m", "jobs.cluster"]
"""Waits for the nodes in a process of its own: a driver of Ray changes the signal handlers of its process."""


LOSS_S = 2.0
"""After a program failed, time in which its Ray may turn out to have ended first."""


class Lost(Exception):  # noqa: N818 - not an error of the program
    """A part of the cluster is gone."""


class Leader(Task):
    """The first task. Its exit code is the program's; 75 when a part of the cluster was lost while that ran."""

    program: subprocess.Popen[bytes] | None = None
    roll: Roll | None = None

    def run(self, command: Sequence[str]) -> int:
        """Play the role to the end; return the exit code."""
        code, reason = 1, "the program asked for another run"
        try:
            code = self._lead(command)
        except UserError as error:  # only before the program starts
            code = EXIT_CODE if self.stop is not None else 1
            say("asked to stop before the program started" if self.stop is not None else f"error: {error}")
        except Lost as lost:
            code, reason = EXIT_CODE, str(lost)
            say(f"error: {lost}; everything done so far is on disk; logs: {self.shared}")
        finally:
            code = self._settle(code, reason)
            self._tear_down(code)
        return code

    def _settle(self, code: int, reason: str) -> int:
        """Turn the wish for another run into an error when the last ones brought nothing."""
        record = self.config.folder / f"{self.allocation.job}.{self.allocation.step}.restarts.json"
        if code == EXIT_CODE and not restarts.too_many(record, self.shared):
            return code
        record.unlink(missing_ok=True)
        if code != EXIT_CODE:
            return code
        if self.stop is not None:
            reason = f"{signal.Signals(self.stop).name} came after {time.monotonic() - self.started:.0f} s"
        say(
            f"error: this job went back into the queue {restarts.MOST} times and made no step in between; "
            f"the last time: {reason}; raise the time limit or look into {self.config.folder}"
        )
        return 1

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Remember the signal; the program, where it runs, decides what to do with it."""
        self.stop = number
        if self.program is not None and self.program.poll() is None:
            self.program.send_signal(number)

    def _lead(self, command: Sequence[str]) -> int:
        (self.shared / HEAD).unlink(missing_ok=True)  # of an older job of the same number
        token, ip = secrets.token_urlsafe(32), self._own_address()
        with open(self.shared / TOKEN, "w", opener=_private, encoding="ascii") as file:
            file.write(token)
        block = reserve(int(self.allocation.job))
        self.roll = Roll(block.guard, token, range(1, len(self.allocation.nodes)))
        write_bytes(self.shared / HEAD, json.dumps({"first": f"{ip}:{block.first}"}).encode())
        self.make_temporary()
        address = self._gather(ip, block)
        self.roll.tell("started")
        say(f"{len(self.allocation.nodes)} nodes at {address} after {time.monotonic() - self.started:.0f} s")
        code = self._watch(command, address)
        # A signal that comes before the program's own handlers ends it: nothing is lost, it may simply run again.
        early = (
            self.stop is not None and self.stop != signal.SIGINT and code in (-self.stop, self.stop, 128 + self.stop)
        )
        return EXIT_CODE if early else 128 - code if code < 0 else code

    def _own_address(self) -> str:
        peers = [node for node in self.allocation.nodes if node != self.allocation.node]
        return local_address(node_address(peers[0])) if peers else "127.0.0.1"

    def _gather(self, ip: str, block: PortBlock) -> str:
        """Start Ray until all nodes are in it; return `ip:port` of the head."""
        reason = "no time is left"
        for attempt in range(TRIES):
            address = self._try(ip, block if attempt == 0 else reserve(int(self.allocation.job)))
            if address is not None:
                return address
            if self.stop is not None:
                raise UserError("asked to stop")
            if self.left() < 0 and self.ray_ended() is None:
                raise UserError(
                    f"the cluster is not complete after {self.config.deadline_s:.0f} s; raise the deadline "
                    f"(CLUSTER_DEADLINE) or look into {self.shared}"
                )
            reason = f"{self._last_words()} (all of it: {self.log})"
            say(f"Ray fails on the head node before the program starts: {reason}")
            self.end_ray()
            if self.left() < 0:
                break
        raise UserError(f"Ray's head does not start on {self.allocation.node}: {reason}")

    def _last_words(self) -> str:
        """Say why Ray ended; a head that is falling gets the time to."""
        end = time.monotonic() + ray_node.GRACE_S
        while (ended := self.ray_ended()) is None and time.monotonic() < end:
            time.sleep(POLL_S)
        return ended or "it runs and its nodes cannot be counted"

    def _try(self, ip: str, block: PortBlock) -> str | None:
        """Start Ray's head and wait for the nodes; None when it ended or nodes are missing."""
        options = ["--head", f"--port={block.head}", f"--ray-client-server-port={block.client_server}"]
        options += [f"--include-dashboard={str(self.config.dashboard).lower()}", "--dashboard-port=0"]
        self.start_ray(ip, options)
        while not ray_node.answers(ip, block.head):
            if self.ray_ended() or self.left() < 0 or self.stop is not None:
                return None
            time.sleep(POLL_S)
        address = f"{ip}:{block.head}"
        if self.roll is not None:
            self.roll.tell(f"join {address}")
        wait = [*WAIT, "--wait", " ".join(self.allocation.nodes), "--deadline", f"{max(self.left(), 1):.0f}"]
        try:
            code = self._watch(wait, address)
        except Lost as lost:
            if self.ray_ended():
                return None
            raise UserError(str(lost)) from lost
        return address if code == 0 and self.stop is None else None

    def _watch(self, command: Sequence[str], address: str) -> int:
        """Run a program until it ends or the cluster breaks (`Lost`); return its code as Popen gives it."""
        self.program = ray_node.start(command, self.environment(address))
        if self.stop is not None:  # it came between the last look and the start
            self.program.send_signal(self.stop)
        while self.program.poll() is None:
            if broken := self._broken():
                ray_node.end(self.program)
                raise Lost(broken)
            time.sleep(POLL_S)
        # A driver that loses its Ray is ended by that, before the loss is seen here.
        end = time.monotonic() + (LOSS_S if self.program.returncode not in (0, EXIT_CODE) and self.stop is None else 0)
        while time.monotonic() < end:
            if broken := self._broken():
                raise Lost(broken)
            time.sleep(POLL_S)
        return self.program.returncode

    def _broken(self) -> str | None:
        if reason := self.ray_ended():
            return f"Ray ended on the head node {self.allocation.node}: {reason}"
        if self.roll is not None:
            self.roll.look()
            for rank, words in sorted(self.roll.gone.items()):
                return f"node {self.allocation.nodes[rank]} left the cluster: {words}"
        return None

    def _tear_down(self, code: int) -> None:
        """End what runs here, say so to the others, leave on disk what explains a code that is not 0."""
        ray_node.end(self.program)
        if self.roll is not None:
            self.roll.tell(f"over {code}")
        self.end_ray()
        if code != 0:
            self.keep_logs()
        self.folders.close()
        if self.roll is not None:  # the job ends with this task: let the others clean up first
            end = time.monotonic() + 2 * ray_node.GRACE_S
            while self.roll.present and time.monotonic() < end:
                self.roll.look()
                time.sleep(POLL_S)
            self.roll.close()
        (self.shared / TOKEN).unlink(missing_ok=True)
        (self.shared / HEAD).unlink(missing_ok=True)
        if code == 0:  # nothing that anybody will read, nor of the attempts before
            for old in self.config.folder.glob(f"{self.allocation.job}.{self.allocation.step}.*"):
                shutil.rmtree(old, ignore_errors=True)
            with suppress(OSError):
                self.config.folder.rmdir()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
