"""The four stages of every backbone of f_E: what they show is features over time."""

import pytest
import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.encoders.stages import staged, watched
from finepseudo.encoders.table import ACTION

VIT = {"width": 24, "depth": 5, "heads": 3, "patch": 8, "size": 32, "frames": 8}
SMALL = {"timesformer_s": VIT, "timesformer_b": {**VIT, "depth": 4}, "aim_b16": VIT, "videomae_b": VIT}
TIMES = {  # of 8 frames, after each stage
    "r2plus1d_18": [8, 4, 2, 1],
    "r3d_18": [8, 4, 2, 1],
    "videomae_b": [4, 4, 4, 4],
}
BY_PLACE = {"timesformer_s", "timesformer_b", "aim_b16", "videomae_b"}


@pytest.mark.parametrize("variant", ACTION)
def test_every_row_says_whether_its_backbone_has_stages_and_shows_them(variant):
    assert ACTION[variant].staged
    cfg = ActionEncoderConfig(variant=variant, weights="random", options=SMALL.get(variant, {}))
    torch.manual_seed(0)
    encoder = build_action_encoder(cfg, 3).eval()
    clips = torch.rand(2, 8, 3, 32, 32)
    with watched(encoder) as seen, torch.no_grad():
        features = encoder.features(clips)
    assert [x.shape[:2] for x in seen] == [(2, t) for t in TIMES.get(variant, [8] * 4)]
    assert seen[-1].shape[2] == staged(encoder).stage_width
    assert features.shape == (2, encoder.width)
    with watched(encoder) as none, torch.no_grad():
        encoder.features(clips[:0])
    assert none[-1].shape == (0, *seen[-1].shape[1:])
    with torch.no_grad():
        encoder.features(clips)
    assert len(seen) == len(none) == 4, "nobody looks any more"


@pytest.mark.parametrize("variant", ["tiny", "aim_b16", "timesformer_s", "videomae_b"])
def test_what_happens_late_in_a_clip_shows_late(variant):
    """The first stage of a frame-wise start sees a change of the last frames in the last times alone."""
    options = {**SMALL.get(variant, {}), "depth": 4} if variant != "tiny" else {}
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant=variant, weights="random", options=options), 3).eval()
    clips = torch.rand(1, 8, 3, 32, 32)
    other = clips.clone()
    other[:, 7] = 0
    found = []
    for frames in (clips, other):
        with watched(encoder) as seen, torch.no_grad():
            encoder.features(frames)
        found.append(seen[0])
    changed = (found[0] - found[1]).abs().amax((0, 2))
    assert changed[-1] > 1e-6
    assert changed[0] < changed[-1] / 2
