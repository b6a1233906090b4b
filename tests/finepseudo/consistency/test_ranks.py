"""One rank against two, for the objectives beside the shared one: loss, metrics and gradients; and one class alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finepseudo.consistency.actors import ActorObjective, ActorParts
from finepseudo.consistency.boxes import Boxes
from finepseudo.consistency.cross import CrossObjective
from finepseudo.consistency.ruled_out import RuledOutObjective
from finepseudo.consistency.targets import hard
from finepseudo.consistency.weighters import Threshold
from finepseudo.distributed import data_parallel
from finepseudo.encoders.action_encoder import ActionEncoder, build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import Objective
from shards.types import ClipBatch, Origin, View, rows_of
from tests.finepseudo.consistency.test_boxes import Row, write
from tests.finepseudo.consistency.test_objective import CLASSES, batches, clips, step
from tests.ranks import assert_equal_to_one, in_group, two_ranks

KINDS = ("ruled_out", "cross", "actors")
CASES: dict[str, tuple[int, ...]] = {"whole": (), "uneven mask": (1, 2, 6), "empty rank": (4, 5, 6, 7)}
BAR = 0.4
ROWS: list[Row] = [(f"clip{n}", 0, 0.0, 0.0, 0.25 + n / 16, 0.5, 0.9) for n in range(8)]


def encoder(classes: int, seed: int = 0) -> ActionEncoder:
    torch.manual_seed(seed)
    made = build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0), classes).double()
    with torch.no_grad():
        made.fc.weight.mul_(8)
    return made


def made(kind: str, boxes: Path, classes: int = CLASSES) -> Objective:
    """An objective with equal weights in every process."""
    cfg = CrossEntropyConfig()
    if kind == "cross":
        two = (encoder(classes), encoder(classes, seed=1))
        return CrossObjective(*two, cfg, Threshold(BAR), lambda done: 1.0)
    if kind == "actors":
        parts = ActorParts(
            boxes=Boxes(boxes, 0.4), cut=1.0, weighter=Threshold(BAR), target=hard, ramp=lambda done: 1.0
        )
        return ActorObjective(encoder(classes), cfg, parts, seed=0)
    negative = {f"clip{n}": np.arange(classes) < n % classes for n in range(8)}  # some rule out nothing
    return RuledOutObjective(encoder(classes), cfg, negative, weight=0.5)


def both(kind: str, invalid: tuple[int, ...]) -> dict[str, ClipBatch]:
    if kind == "ruled_out":
        return {"labelled": clips(4, ("only",), True), "ruled_out": clips(8, ("only",), False, invalid, seed=1)}
    found = batches(invalid=invalid)
    pool = found["unlabelled"]
    edges = torch.tensor([1.0, 0, 0, 1]).expand(8, 1, 4)  # mirrored
    views = {name: View(v.frames, v.frame_ids, Origin(v.frame_ids, edges)) for name, v in pool.views.items()}
    return {**found, "unlabelled": replace(pool, views=views)}


def half(batch: ClipBatch, rank: int) -> ClipBatch:
    count = len(batch.keys) // 2
    rows = list(range(rank * count, rank * count + count))
    return replace(
        batch,
        keys=tuple(batch.keys[row] for row in rows),
        views={name: view.rows(rows) for name, view in batch.views.items()},
        **{name: rows_of(getattr(batch, name), rows) for name in ("n_frames", "labels", "pseudo", "valid")},
    )


def worker(rank: int, port: int, folder: str) -> None:
    with in_group(rank, port):
        for kind in KINDS:
            for name, invalid in CASES.items():
                mine = {stream: half(batch, rank) for stream, batch in both(kind, invalid).items()}
                objective = made(kind, Path(folder) / "boxes.csv")
                module = data_parallel(objective)
                torch.save(step(module, mine), f"{folder}/{kind}-{name}-{rank}.pt")
                del module  # DDP's reducer must not outlive the group


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write(folder / "boxes.csv", ROWS)
    two_ranks(worker, str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_equal_one(halves: Path, kind: str, case: str) -> None:
    whole: dict[str, Any] = step(made(kind, halves / "boxes.csv"), both(kind, CASES[case]))
    assert_equal_to_one(halves, f"{kind}-{case}", whole)


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_is_learnt_without_complaint(kind: str, tmp_path: Path) -> None:
    given = both(kind, ())
    given["labelled"] = replace(given["labelled"], labels=torch.zeros(4, dtype=torch.int64))
    told = step(made(kind, write(tmp_path / "boxes.csv", ROWS), classes=1), given)
    assert told["loss"] == 0
    assert all(g.isfinite().all() for g in told["gradients"].values())
