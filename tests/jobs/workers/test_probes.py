"""Looks at held-out clips while something trains: what they measure, and that a clip which cannot be read ends nothing.

A look is taken in the middle of a training, and by a sweep to judge a trial by.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective
from jobs.config.recipes import load
from jobs.workers.accuracy_probe import ACCURACY, AccuracyProbe
from jobs.workers.class_probe import ClassProbe
from jobs.workers.clip_parts import evaluation_reader
from jobs.workers.pair_probe import OBJECTIVE, PAIR_AP, PairProbe, VerificationProbe
from shards.storage.manifest import Manifest
from shards.types import ItemTable
from tests.shards.helpers import labelled
from tests.shards.numbered import write
from tests.shards.read.read_clips import damage

LABELS = {"a0": 0, "a1": 0, "b0": 1, "b1": 1, "c é": 2}
HELD = ["a1", "b1", "c é"]
REST = ["a0", "b0"]
CFG = load("smoke", ["reading.prefetch=0", "reading.max_bad_fraction=1.0", "embed.batch=2"])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write(tmp_path_factory.mktemp("sound"), {key: 12 + n for n, key in enumerate(LABELS)}, "h264")


@pytest.fixture
def hurt(sound: Manifest, tmp_path: Path):
    return lambda keys: damage(sound, tmp_path / "hurt", keys).folder if keys else sound.folder


def items(keys: Sequence[str]) -> ItemTable:
    return labelled({key: LABELS[key] for key in keys})


@pytest.fixture(scope="module")
def action() -> nn.Module:
    torch.manual_seed(1)
    return CrossEntropyObjective(build_action_encoder(CFG.action_encoder, 3), CFG.action_stage.loss).eval()


@pytest.fixture(scope="module")
def frame() -> nn.Module:
    torch.manual_seed(1)
    encoder = build_frame_encoder(CFG.frame_encoder)
    return AlignabilityObjective(encoder, AlignabilityScorer(), CFG.frame_stage.loss).eval()


def said_by(action: nn.Module, folder: Path, keys: Sequence[str]) -> dict[str, torch.Tensor]:
    """Logits of one clip at a time, by a way of their own."""
    reader = evaluation_reader(CFG, folder, [CFG.action_input.view()], torch.device("cpu"))
    with torch.no_grad():
        return {key: action.get_submodule("encoder")(reader.read([key]).frames[:, 0])[0] for key in keys}


BAD = [[], ["a1"], ["a1", "b1"], ["c é"], HELD, [*HELD, *REST]]
"""Clips that cannot be read; batches of two, so one of them may be a whole batch."""


@pytest.mark.parametrize("bad", BAD, ids=",".join)
def test_f_e_is_judged_by_the_held_out_clips_that_can_be_read(action, sound, hurt, tmp_path, bad):
    folder, good = hurt(bad), [key for key in HELD if key not in bad]
    wanted = said_by(action, sound.folder, good)
    curve = AccuracyProbe(cfg=CFG, shards=folder, held_out=items(HELD))(action, 1)
    probe = ClassProbe(cfg=CFG, shards=folder, truth={key: LABELS[key] for key in HELD}, keep=tmp_path / "held.npz")
    found = probe.measure(action)[OBJECTIVE]
    with np.load(tmp_path / "held.npz") as kept:
        assert kept["keys"].tolist() == good
        p = [row.softmax(-1).tolist() for row in wanted.values()]
        np.testing.assert_allclose(kept["p"], np.array(p).reshape(kept["p"].shape), atol=1e-5)
    if not good:
        assert curve == {}
        assert np.isnan(found)
        return
    right = np.mean([int(wanted[key].argmax()) == LABELS[key] for key in good])
    loss = nn.functional.cross_entropy(torch.stack([*wanted.values()]), torch.tensor([LABELS[key] for key in good]))
    assert curve == {ACCURACY: pytest.approx(right), "valid/loss": pytest.approx(float(loss), abs=1e-5)}
    assert found == pytest.approx(right)


@pytest.mark.parametrize("bad", BAD, ids=",".join)
def test_f_a_is_judged_by_the_pairs_of_held_out_clips_that_can_be_read(frame, hurt, tmp_path, bad):
    folder, good = hurt(bad), [key for key in HELD if key not in bad]
    probe = PairProbe(cfg=CFG, shards=folder, labelled=items([*REST, *HELD]), held=frozenset(HELD), keep=tmp_path / "k")
    found = probe.measure(frame)[OBJECTIVE]
    with np.load(tmp_path / "k") as kept:
        keys, u = kept["keys"].tolist(), kept["embeddings"]
    assert keys == sorted(key for key in LABELS if key not in bad)
    assert not keys or np.linalg.norm(u, axis=-1) == pytest.approx(1, abs=1e-5)
    some = any(LABELS[key] < 2 for key in good)  # else no pair is of one class
    assert (0 < found <= 1) if some else np.isnan(found)
    curve = VerificationProbe(cfg=CFG, shards=folder, labelled=items(REST), held_out=items(HELD))(frame, 1)
    assert curve == ({PAIR_AP: pytest.approx(found)} if some else {})
