"""Embeddings and scores of rounds that are over: gigabytes that nothing reads any more once the round is labelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from finepseudo.run_folder.done import is_done
from finepseudo.run_folder.freed import bring_back, free, freeable, is_freed
from jobs.pipeline.plan import Plan
from jobs.pipeline.stages.base import Stage
from jobs.pipeline.stages.embeddings import EmbeddingsStage
from jobs.pipeline.stages.scores import ScoresStage

PARTS = "part-*.parquet"
"""The gallery of a round stays: it is small, and what the round was judged by."""

Mapped = EmbeddingsStage | ScoresStage


def old_parts(plan: Plan, keep: int) -> Iterator[tuple[Stage, list[Path]]]:
    """Give the part files of finished rounds, all but the newest `keep` of each label draw and method.

    A round is finished when whatever reads its parts is done. Round 0 belongs to all methods: it goes
    when it is old for each.
    """
    stages = [stage for group in plan for stage in group]
    mapped = [stage for stage in stages if isinstance(stage, Mapped) and is_done(stage.identity)]
    kept = set().union(*_newest(mapped, keep))
    for stage in mapped:
        if stage.folder not in kept and not is_freed(stage.identity.record) and _read_by_all(stage, stages):
            yield stage, freeable(stage.identity, PARTS)


def _newest(mapped: list[Mapped], keep: int) -> list[set[Path]]:
    """For each seed, method and kind: the folders of its newest rounds that are there, counting the shared round 0."""
    found = []
    of_methods = {(s.seed, s.method.name, s.kind) for s in mapped if s.method is not None}
    for seed, kind in {(stage.seed, stage.kind) for stage in mapped}:
        names = {name for other, name, of in of_methods if (other, of) == (seed, kind)} or {""}
        for name in names:
            own = [
                stage
                for stage in mapped
                if (stage.seed, stage.kind) == (seed, kind) and (stage.method is None or stage.method.name == name)
            ]
            own.sort(key=lambda stage: stage.request.number)
            found.append({stage.folder for stage in own[-keep:]})
    return found


def _read_by_all(stage: Stage, stages: list[Stage]) -> bool:
    """Tell whether every stage that reads one is done."""
    record = stage.identity.record
    readers = (other.identity for other in stages if record in map(_record, other.identity.inputs.values()))
    return all(is_done(reader) for reader in readers)


def _record(made: object) -> object:
    return getattr(made, "record", made)


def free_old(plan: Plan, keep: int | None) -> list[Stage]:
    """Remove what `old_parts` gives, None: keep all; list the stages."""
    if keep is None:
        return []
    freed = []
    for stage, paths in old_parts(plan, keep):
        free(stage.identity, paths)
        freed.append(stage)
    return freed


def bring_back_read(plan: Plan) -> list[Stage]:
    """Make what was given up, and is read by a stage that is not done, one that is to be made again; list these.

    From the end of the plan to its beginning: scores that come back may need embeddings that were given up too.
    """
    by_record = {stage.identity.record: stage for group in plan for stage in group}
    back = []
    for stage in (stage for group in reversed(plan) for stage in group):
        if is_done(stage.identity):
            continue
        for record in map(_record, stage.identity.inputs.values()):
            if isinstance(record, Path) and record in by_record and bring_back(record):
                back.append(by_record[record])
    return back
