"""The tasks after the first: each starts Ray, joins the head and stays until the first task is done."""

from __future__ import annotations

import json
import time

from jobs.cluster.allocation import local_address
from jobs.cluster.roll import Line, join
from jobs.cluster.task import HEAD, POLL_S, TOKEN, TRIES, Task, say
from shards.errors import UserError


class Follower(Task):
    """A task after the first. Its exit code is 0 once it has found the first task, which then says how the job ends."""

    tries = 0
    address = ""
    program_runs = False
    # how the job ends, once the first task has said so; a first task that was killed says nothing
    code: int | None = None

    def run(self) -> int:
        """Play the role to the end; return the exit code."""
        try:
            line = self._find_first()
        except UserError as error:
            say(f"error: {error}")
            return 1
        if line is None:
            return 0
        try:
            self.make_temporary()
        except UserError as error:
            line.say(str(error))
        while self.code is None and not line.closed:
            for text in line.heard():
                self._obey(*text.split(maxsplit=1))
            self._look_after_ray(line)
            time.sleep(POLL_S)
        self._tear_down()
        line.close()  # only now: the first task waits for it
        return 0

    def _obey(self, word: str, rest: str = "") -> None:
        """Do what the first task says."""
        if word == "join" and self.temporary is not None:
            self.end_ray()
            self.address, self.tries = rest, 0
            self._join()
        elif word == "started":
            self.program_runs = True
        elif word == "over":
            self.code = int(rest)

    def _find_first(self) -> Line | None:
        """Find the first task by its file and its token; None when the job stops before that.

        What an older job of the same number has left there leads to nobody who knows its token: then look again.
        """
        while self.stop is None:
            if line := self._connect():
                return line
            if self.left() < 0:
                raise UserError(
                    f"node {self.allocation.node}: no head after {self.config.deadline_s:.0f} s; is {self.shared} the "
                    "same folder on all nodes? else raise the deadline (CLUSTER_DEADLINE)"
                )
            time.sleep(POLL_S)
        return None

    def _connect(self) -> Line | None:
        try:
            host, _, port = str(json.loads((self.shared / HEAD).read_text(encoding="utf-8"))["first"]).rpartition(":")
            token = (self.shared / TOKEN).read_text(encoding="ascii")
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not yet written, or replaced on a network file system while it was read
        return join((host, int(port)), token, self.allocation.rank) if port.isdigit() else None

    def _join(self) -> None:
        self.tries += 1
        self.start_ray(local_address(self.address.rpartition(":")[0]), [f"--address={self.address}"])

    def _look_after_ray(self, line: Line) -> None:
        """Start Ray again while the program has not begun; else tell the first task, which decides."""
        reason = self.ray_ended()
        if reason is None:
            return
        if not self.program_runs and self.tries < TRIES:
            say(f"node {self.allocation.node}: Ray ended ({reason}); it is started again")
            self._join()
            return
        line.say(f"Ray ended: {reason} (all of it: {self.log})")
        self.end_ray()

    def _tear_down(self) -> None:
        self.end_ray()
        if self.code != 0:
            self.keep_logs()
        self.folders.close()
