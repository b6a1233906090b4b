"""ActorCutMix: what is pasted where, and which label a pasted clip has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from finepseudo.consistency.actors import ActorObjective, ActorParts
from finepseudo.consistency.boxes import Boxes
from finepseudo.consistency.network import own_labels
from finepseudo.consistency.targets import hard
from finepseudo.consistency.weighters import Threshold
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.training.config import CrossEntropyConfig
from shards.types import ClipBatch, Origin, View
from tests.finepseudo.consistency.test_boxes import Row, write
from tests.finepseudo.consistency.test_objective import CLASSES, batches

OTHER = [1, 0, 3, 2, 5, 4, 7, 6]
ROWS: list[Row] = [
    *((f"clip{n}", 0, 0.0, 0.0, 0.5, 0.5, 0.9) for n in range(5)),
    ("clip5", 0, 0.0, 0.0, 1.0, 1.0, 0.9),  # nothing but a person
    ("clip6", 0, 0.0, 0.0, 0.0, 0.0, 0.0),  # nobody
    ("clip7", 0, 0.25, 0.0, 0.5, 1.0, 0.9),
]


def both(invalid: tuple[int, ...] = ()) -> dict[str, ClipBatch]:
    found = batches(invalid=invalid)
    pool = found["unlabelled"]
    edges = torch.tensor([0.0, 0, 1, 1]).expand(8, 1, 4)
    views = {name: View(v.frames, v.frame_ids, Origin(v.frame_ids, edges)) for name, v in pool.views.items()}
    return {**found, "unlabelled": replace(pool, views=views)}


def made(folder: Path, cut: float) -> ActorObjective:
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0), CLASSES).double()
    with torch.no_grad():
        encoder.fc.weight.mul_(8)
    parts = ActorParts(
        boxes=Boxes(write(folder / "boxes.csv", ROWS), 0.4),
        cut=cut,
        weighter=Threshold(0.0),
        target=hard,
        ramp=lambda done: 1.0,
    )
    return ActorObjective(encoder, CrossEntropyConfig(), parts, seed=0).train()


def step(objective: ActorObjective, given: dict[str, ClipBatch]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """What the student saw of the pool, what it answered, the metrics."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(_: object, inputs: tuple[Tensor], logits: Tensor) -> None:
        seen.append((inputs[0], logits.detach()))

    handle = objective.encoder.register_forward_hook(note)
    told = objective(given).metrics
    handle.remove()
    frames, logits = seen[-1]
    return frames[4:], logits[4:], told


def test_actors_stand_on_the_scene_of_their_neighbour_with_both_labels(tmp_path: Path) -> None:
    objective, given = made(tmp_path, cut=1.0), both()
    pool = given["unlabelled"]
    weak, strong = (pool.views[name].frames[:, 0] for name in ("weak", "strong"))
    said = own_labels(objective.encoder, weak)
    bar = said.max(1).values.median().item()
    objective.parts = replace(objective.parts, weighter=Threshold(bar))
    sure = (said.max(1).values >= bar).double()
    assert 0 < sure.sum() < 8, "the case tells sure from unsure"
    shown, logits, told = step(objective, given)
    target = sure[:, None] * hard(said)
    losses = []
    for row, other in enumerate(OTHER):
        if row in (5, 6):
            torch.testing.assert_close(shown[row], strong[row])
            wanted = target[row]
        else:
            mask = torch.zeros(16, 16, dtype=torch.bool)
            mask[(slice(None), slice(4, 8)) if row == 7 else (slice(8), slice(8))] = True
            torch.testing.assert_close(shown[row], torch.where(mask, weak[row], weak[other]))
            own = 1 - (1 - 0.25) ** 4
            wanted = own * target[row] + (1 - own) * target[other]
        losses.append(-(wanted * logits[row].log_softmax(0)).sum())
    torch.testing.assert_close(told["train/agreement"], torch.stack(losses).mean())
    assert told["train/pasted"] == 6 / 8


def test_steps_without_pasting_are_fixmatch(tmp_path: Path) -> None:
    objective, given = made(tmp_path, cut=0.0), both()
    shown, logits, told = step(objective, given)
    torch.testing.assert_close(shown, given["unlabelled"].views["strong"].frames[:, 0])
    weak = given["unlabelled"].views["weak"].frames[:, 0]
    label = own_labels(made(tmp_path, cut=0.0).encoder, weak).argmax(1)
    torch.testing.assert_close(told["train/agreement"], torch.nn.functional.cross_entropy(logits, label))
    assert told["train/pasted"] == 0


def test_about_half_of_the_steps_paste_and_a_state_goes_on_with_the_same_ones(tmp_path: Path) -> None:
    objective, given, pasted = made(tmp_path, cut=0.5), both(), []
    for done in range(30):
        objective.done = done
        pasted.append(bool(step(objective, given)[2]["train/pasted"] > 0))
    assert 8 < sum(pasted) < 22
    again = made(tmp_path, cut=0.5)
    again.load_state_dict(objective.state_dict())
    assert again.done == 29


@pytest.mark.parametrize("invalid", [(1,), tuple(range(8)), (0, 3, 4)])
def test_a_clip_whose_neighbour_is_broken_is_seen_strongly(tmp_path: Path, invalid: tuple[int, ...]) -> None:
    given = both(invalid)
    objective = made(tmp_path, cut=1.0)
    shown, _, told = step(objective, given)
    left = [n for n in range(8) if n not in invalid]
    assert len(shown) == len(left)
    strong = given["unlabelled"].views["strong"].frames[:, 0]
    alone = [n for n in left if OTHER[n] in invalid]
    for row in alone:
        torch.testing.assert_close(shown[left.index(row)], strong[row])
    assert torch.isfinite(told["train/loss"])


def test_a_view_without_its_origin_is_no_place_for_boxes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="origin"):
        made(tmp_path, cut=1.0)(batches())
