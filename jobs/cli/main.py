"""The command line: `finepseudo <command>` = `python -m jobs <command>`.

One way to say everything: a recipe, then `section.key=value` for what differs. Bad input ends with one line and code 2,
a stop request with code 75 (type the same command again), Ctrl-C with code 130.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.cli.parser import parse
from shards.errors import UserError, visible
from shards.files import TROUBLE

NO_KEYS = ("export", "init", "review", "schema", "weights")
"""Commands that take no keys: `epoch=3.ckpt` is the name of a file there."""
OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    _open_what_is_closed()
    given = sys.argv[1:] if argv is None else argv
    rest, overrides = split_overrides(given) if given and given[0] not in NO_KEYS else (list(given), [])
    arguments = parse(rest)
    arguments.overrides = [*getattr(arguments, "set", ()), *overrides]
    from jobs.cli.commands import dispatch
    from jobs.cluster.preempt import Lost, Preempted

    try:
        return dispatch(arguments, main)
    except UserError as error:
        lines = str(error).split("\n")
        sys.stderr.write("error: " + "\n".join(map(visible, lines)) + "\n")
        return error.exit_code
    except BrokenPipeError:  # `| head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in TROUBLE:
            raise
        where, todo = error.filename or "a file", TROUBLE[error.errno]
        sys.stderr.write(f"error: {where}: {error.strerror}; {todo} and type the same command again\n")
        return UserError.exit_code
    except Preempted as stop:
        from jobs.cluster.preempt import EXIT_CODE

        what = f"error: {stop}" if isinstance(stop, Lost) else "stopped on request"
        sys.stderr.write(f"{what}; everything done is on disk; the same command goes on\n")
        return EXIT_CODE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on\n")
        return 130


def _open_what_is_closed() -> None:
    """Give a stream that the caller closed (`>&-`) somewhere to go: to nothing, not into the next file."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as the program


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take `section.key=value` out of the arguments, wherever they stand."""
    rest: list[str] = []
    overrides: list[str] = []
    for place, argument in enumerate(argv):
        is_value = place > 0 and argv[place - 1] == "--set"
        (overrides if OVERRIDE.match(argument) and not is_value else rest).append(argument)
    return rest, overrides
