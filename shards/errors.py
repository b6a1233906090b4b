"""What a user's input and a clip can be refused with, and the words of a count."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: `1 problem`, `1,234 problems`; `many` where that is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def visible(text: str) -> str:
    """Write what a terminal would obey or break lines at (control characters in names from files) as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class UserError(Exception):
    """Bad input: the message says in one line what, where, which rule and what to do.

    The command line prints it and exits with `exit_code`; it never prints a traceback for it.
    """

    exit_code = 2


class SampleError(Exception):
    """One clip cannot be used. `reason` is a short stable slug, counted and kept in the quarantine table."""

    def __init__(self, key: str, reason: str, detail: str = "") -> None:
        """Name the clip, why it fails (a slug such as `no_video_stream`) and what the library said."""
        super().__init__(f"{key}: {reason}" + (f" ({detail})" if detail else ""))
        self.key = key
        self.reason = reason
        self.detail = detail
