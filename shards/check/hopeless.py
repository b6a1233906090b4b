"""Data that can be read and from which nothing can be learned or told: said before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from shards.types import NO_LABEL

_SHOWN = 5


def hopeless(labelled: Sequence[int], tested: Sequence[int], classes: Sequence[str]) -> Iterator[str]:
    """Say what is wrong with the labels of the clips to train on and of the test clips; `classes`: their names."""
    trained = Counter(label for label in labelled if label != NO_LABEL)
    shown = Counter(label for label in tested if label != NO_LABEL)
    if len(trained) == 1:
        yield f"all labelled clips are of one class ({classes[next(iter(trained))]}): there is nothing to tell apart"
    single = [classes[label] for label, n in sorted(trained.items()) if n == 1]
    if single and len(trained) > 1:
        names = ", ".join(single[:_SHOWN]) + (f" and {len(single) - _SHOWN} more" if len(single) > _SHOWN else "")
        yield (
            f"{len(single)} of {len(trained)} classes have one labelled clip ({names}): alignment is learned from "
            "pairs of one class, label two or more of each"
        )
    if len(shown) == 1 and len(trained) > 1:
        only = classes[next(iter(shown))]
        yield f"all test clips are of one class ({only}): its accuracy says nothing of the others; test some of each"
