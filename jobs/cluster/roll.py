"""Who is there: each task of a cluster holds a connection to the first one for as long as it lives.

The first task sends lines (where Ray's head is, that the program has started, how it ended), the others send what went
wrong with them. A connection that ends without a word is a task that was killed; no shared folder is asked, whose
answers may be a minute old. Both sides prove that they know the cluster's token.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Iterable
from contextlib import suppress

KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4))
"""A host that is gone without a word is noticed after 30 s."""
GREETING_S = 10.0
MAX_LINE = 4096


def proof(token: str, role: str) -> str:
    """Show that one knows the token without sending it."""
    return hmac.new(token.encode(), role.encode(), hashlib.sha256).hexdigest()


class Line:
    """Lines of text over one connection, without waiting."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connection."""
        self._socket, self._data, self.closed = connection, b"", False
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

    def say(self, text: str) -> None:
        """Send one line; who is gone does not hear it."""
        line = " ".join(text.split())[: MAX_LINE - 1] + "\n"
        with suppress(OSError):
            self._socket.send(line.encode())

    def heard(self) -> list[str]:
        """Return the whole lines that have come; `closed` tells whether more can."""
        try:
            while not self.closed and len(self._data) <= MAX_LINE:
                piece = self._socket.recv(MAX_LINE)
                self._data += piece
                self.closed = not piece
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        *lines, self._data = self._data.split(b"\n")
        self.closed = self.closed or len(self._data) > MAX_LINE
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
        self.closed = True


class Roll:
    """The first task's side: who has come, who is gone and with which words."""

    def __init__(self, guard: socket.socket, token: str, ranks: Iterable[int]) -> None:
        """Listen for the tasks `ranks`."""
        self._guard, self._token, self._ranks = guard, token, frozenset(ranks)
        guard.setblocking(False)
        self._strangers: list[Line] = []
        self.present: dict[int, Line] = {}
        self.gone: dict[int, str] = {}
        self._told: list[str] = []

    def look(self) -> None:
        """Let in who has come and strike out who is gone."""
        with suppress(OSError):  # nobody more
            while True:
                self._strangers.append(Line(self._guard.accept()[0]))
        for line in self._strangers:
            self._admit(line, line.heard())
        known = set(map(id, self.present.values()))
        self._strangers = [line for line in self._strangers if not line.closed and id(line) not in known]
        for rank, line in list(self.present.items()):
            words = line.heard()
            if words:
                self.gone[rank] = words[-1]
            elif line.closed:
                self.gone.setdefault(rank, "its task was killed")
            if line.closed:
                del self.present[rank]

    def _admit(self, line: Line, words: list[str]) -> None:
        rank, _, shown = words[0].partition(" ") if words else ("", "", "")
        if not words:
            return
        if not rank.isdigit() or int(rank) not in self._ranks or not _equal(shown, proof(self._token, f"task {rank}")):
            line.close()
            return
        line.say(proof(self._token, f"first {rank}"))
        for text in self._told:
            line.say(text)
        self.present[int(rank)] = line

    def tell(self, text: str) -> None:
        """Send a line to all, also to those who come later."""
        self._told.append(text)
        for line in self.present.values():
            line.say(text)

    def close(self) -> None:
        """End all connections."""
        for line in (*self.present.values(), *self._strangers):
            line.close()
        self._guard.close()


def join(address: tuple[str, int], token: str, rank: int) -> Line | None:
    """Connect to the first task; None when nobody answers there, or somebody who does not know the token."""
    try:
        connection = socket.create_connection(address, timeout=GREETING_S)
    except OSError:
        return None
    with suppress(OSError):
        connection.sendall(f"{rank} {proof(token, f'task {rank}')}\n".encode())
        expected = proof(token, f"first {rank}")
        answer = b""
        while len(answer) <= len(expected) and not answer.endswith(b"\n"):
            piece = connection.recv(1)
            if not piece:
                break
            answer += piece
        if _equal(answer.decode(errors="replace").strip(), expected):
            return Line(connection)
    connection.close()
    return None


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
