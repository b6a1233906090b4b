"""`finepseudo bench WHAT`: the figures of the project, measured on the user's machine against peers in the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module


def bench(what: str, options: Sequence[str], overrides: Sequence[str]) -> int:
    """Run one benchmark; what follows its name are its own options, `section.key=value` is for the runs of `method`."""
    where = {"alignment": "finepseudo.bench.alignment"}
    where |= {name: f"jobs.bench.{name}.__main__" for name in ("chaos", "cluster", "gpu", "train")}
    main: Callable[..., int] = import_module(where.get(what, f"jobs.bench.{what}")).main
    return main(options, overrides) if what == "method" else main(options)
