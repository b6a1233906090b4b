"""`finepseudo review`: the page on which a person names the clips of a run that help most next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finepseudo.evaluation.predict import Alignment, Exemplars, best_aligned
from finepseudo.methods.base import AnyMethod
from finepseudo.methods.table import METHODS, in_order
from finepseudo.report.review import Asked, Near, choose, write_review
from finepseudo.run_folder.layout import PSEUDO_LABELS, REVIEW, WEIGHTS, RunPaths
from jobs.config.run import RunConfig
from jobs.pipeline.predict.trained import aligned_round, refuse_unknown
from jobs.workers.labelling import read_files, read_truth
from jobs.workers.models import trained_scorer
from jobs.workers.part_files import parts, read_embeddings
from jobs.workers.score import Scorer
from jobs.workers.thumbnails import strips
from shards.errors import UserError
from shards.files import check_writable
from shards.splits.label_split import read_split
from shards.splits.reviewed import read_reviewed
from shards.types import ItemTable

SIDE = 176
"""Pixels of a thumbnail; smaller ones are shown of labelled clips."""
NEAR = 4


def review(cfg: RunConfig, run: RunPaths, out: Path | None, *, count: int, seed: int | None, name: str | None) -> Path:
    """Write the page of the newest labels of a method and give its path. UserError when there are none.

    What the run's own list of reviewed labels says is saved with what the page is told: the next list is whole.
    """
    if out is not None:
        check_writable(out)
    seed = cfg.seeds[0] if seed is None else seed
    refuse_unknown(cfg, run, seed, name)
    method, number = _newest_labels(cfg, run, seed, name)
    _, classes = read_truth(run.clips)
    asked = choose(run.round(seed, method.name, number) / PSEUDO_LABELS, classes, count)
    if not asked:
        raise UserError(f"review: {run.root}: no clip of the pool can be read; there is nothing to name")
    asked = [replace(one, near=near) for one, near in _near(cfg, run, seed, (method, number), asked).items()]
    shown = dict.fromkeys(key for one in asked for key in (one.key, *(near.key for near in one.near)))
    here = replace(cfg, out=str(run.root.parent), name=run.root.name)
    thumbnails = strips(here, list(shown), SIDE)
    place, title = out or run.root / REVIEW, run.root.resolve().name
    list_before = cfg.split.reviewed
    before = read_reviewed(Path(list_before), classes) if list_before else {}
    files = read_files(run.clips)
    return write_review(place, title, asked, classes, paths=files, thumbnails=thumbnails, before=before)


def _newest_labels(cfg: RunConfig, run: RunPaths, seed: int, name: str | None) -> tuple[AnyMethod, int]:
    """Find the last labels of a method: the one named, or the last in the order of the report's table."""
    for method in [name] if name else reversed(in_order(cfg.methods)):
        for number, folder in reversed(run.rounds(seed, method)):
            if (folder / PSEUDO_LABELS).is_file() and method in METHODS:
                return METHODS[method], number
    raise UserError(f"review: {run.root}: no pseudo-labels of seed {seed}; run a method that makes them to its end")


def _near(
    cfg: RunConfig, run: RunPaths, seed: int, labelled_by: tuple[AnyMethod, int], asked: Sequence[Asked]
) -> dict[Asked, tuple[Near, ...]]:
    """Find labelled clips to show: those that align best, or some of the likeliest classes where nothing aligns."""
    method, number = labelled_by
    labelled = read_split(run.split(seed)).items("labelled")
    last = aligned_round(run, seed, method, number)
    if last is None:
        return {one: _of_classes(one, labelled) for one in asked}
    truth = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
    wanted = {*labelled.keys, *(one.key for one in asked)}
    keys, embeddings = read_embeddings(parts(run.embeddings(seed, method.name, last)), wanted)
    place = {key: i for i, key in enumerate(keys)}
    there = [key for key in labelled.keys if key in place]
    exemplars = Exemplars(
        keys=there, labels=[truth[key] for key in there], embeddings=embeddings[[place[key] for key in there]]
    )
    f_s = Scorer(trained_scorer(cfg, run.frame_encoder(seed, method.name, last) / WEIGHTS), embeddings.shape[1])
    _, classes = read_truth(run.clips)
    loss = cfg.frame_stage.loss
    aligned = Alignment(
        frame_encoder=lambda frames: frames,
        scorer=f_s,
        exemplars=exemplars,
        gamma=loss.gamma,
        distance=loss.distance,
    )
    found = {}
    for one in asked:
        if one.key in place:
            matches = best_aligned(aligned, classes, embeddings[place[one.key]], NEAR)
            found[one] = tuple(Near(key=match.key, label=truth[match.key], score=match.score) for match in matches)
        else:
            found[one] = _of_classes(one, labelled)
    return found


def _of_classes(one: Asked, labelled: ItemTable) -> tuple[Near, ...]:
    """Take the first labelled clips of the likeliest classes, two of each."""
    found: list[Near] = []
    for wanted, _ in one.choices:
        keys = [key for key, label in zip(labelled.keys, labelled.labels.tolist(), strict=True) if label == wanted]
        found += [Near(key=key, label=wanted) for key in keys[:2]]
    return tuple(found[:NEAR])
