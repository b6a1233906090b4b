"""The stages of a plan in few lines: rounds and label draws that share a fate stand in one.

to do    seed-0..2/finepseudo/round-01..10/embeddings  (30 stages)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from jobs.pipeline.survey import StageState, bytes_text, duration
from shards.errors import counted

_NUMBERED = re.compile(r"\b(seed|round)-(\d+)")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What stages of one line share: state, reasons, and the name without its numbers."""

    state: str
    because: tuple[str, ...]
    name: str


def folded(states: Iterable[StageState]) -> Iterator[str]:
    """Write states in lines, in the order in which their kinds come first; what is lost is summed up."""
    found: dict[_Kind, dict[int | None, list[tuple[int | None, StageState]]]] = {}
    for state in states:
        numbers = {word: int(number) for word, number in _NUMBERED.findall(state.stage.name)}
        kind = _Kind(state.state, state.because, _NUMBERED.sub(r"\1-#", state.stage.name))
        found.setdefault(kind, {}).setdefault(numbers.get("seed"), []).append((numbers.get("round"), state))
    for kind, by_seed in found.items():
        rounds = {seed: tuple(number for number, _ in some) for seed, some in by_seed.items()}
        for _, seeds in groupby(by_seed, key=rounds.__getitem__):
            yield _line(kind, by_seed, list(seeds))


def _line(
    kind: _Kind, by_seed: dict[int | None, list[tuple[int | None, StageState]]], seeds: Sequence[int | None]
) -> str:
    some = [state for seed in seeds for _, state in by_seed[seed]]
    if len(some) == 1:
        return some[0].line()
    name = kind.name.replace("seed-#", f"seed-{spans(seeds)}")
    name = name.replace("round-#", f"round-{spans([number for number, _ in by_seed[seeds[0]]], width=2)}")
    why = "; ".join([*kind.because, counted(len(some), "stage")])
    lost = [state for state in some if state.lost]
    cost = f"  [{duration(sum(s.wall_s for s in lost))}, {bytes_text(sum(s.size for s in lost))}]" if lost else ""
    return f"{kind.state:8} {name}  ({why}){cost}"


def spans(numbers: Sequence[int | None], width: int = 1) -> str:
    """Write whole numbers as spans: 0, 1, 2, 5 as `0..2,5`."""
    found: list[list[int]] = []
    for number in sorted({number for number in numbers if number is not None}):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    ends = ([span[0]] if len(span) == 1 else [span[0], span[-1]] for span in found)
    return ",".join("..".join(f"{end:0{width}d}" for end in span) for span in ends)
