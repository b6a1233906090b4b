"""What a check says, and how checks are run: one that breaks is a failed one, the others still run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "fail", "skip"]
"""`warn`: a run works, slower or with a risk; `skip`: it could not be asked here, the line says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it where that is anything."""

    state: State
    found: str
    todo: str = ""


Check = Callable[[], Finding]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A finding with the name of its check."""

    check: str
    finding: Finding

    def line(self) -> str:
        """Write it for a terminal."""
        todo = f"; {self.finding.todo}" if self.finding.todo else ""
        return f"{self.finding.state:5} {self.check:14}{' '.join(self.finding.found.split())}{todo}"

    def plain(self) -> dict[str, Any]:
        """Give it as JSON takes it."""
        return {"check": self.check, **asdict(self.finding)}


def run_checks(checks: Sequence[tuple[str, Check]]) -> Iterator[Result]:
    """Run one check after the other."""
    for name, check in checks:
        yield Result(check=name, finding=_run(check))


def _run(check: Check) -> Finding:
    try:
        return check()
    except Exception as error:  # whatever breaks is what the user has to know
        reason = " ".join(str(error).split()) or "no reason given"
        return Finding("fail", f"{type(error).__name__}: {reason[:300]}")


def exit_code(results: Sequence[Result]) -> int:
    """Give 1 where something failed."""
    return int(any(result.finding.state == "fail" for result in results))


def summary(results: Sequence[Result]) -> str:
    """Count the states in a line."""
    states = [result.finding.state for result in results]
    return ", ".join(f"{states.count(state)} {state}" for state in ("ok", "warn", "fail", "skip"))
