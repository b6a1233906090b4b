"""`finepseudo bench WHAT`: the figures of the project, measured on the user's machine against peers in the same run."""

from __future__ import annotations

from collections.abc import Sequence


def bench(what: str, options: Sequence[str], overrides: Sequence[str]) -> int:
    """Run one benchmark; what follows its name are its own options, `section.key=value` is for the runs of `method`."""
    if what == "method":
        from jobs.bench import method

        return method.main(options, overrides)
    if what == "methods":
        from jobs.bench import methods

        return methods.main(options)
    if what == "data":
        from jobs.bench import data

        return data.main(options)
    if what == "train":
        from jobs.bench import train

        return train.main(options)
    if what == "gpu":
        from jobs.bench.gpu import __main__ as gpu

        return gpu.main(options)
    from finepseudo.bench import alignment

    return alignment.main(options)
