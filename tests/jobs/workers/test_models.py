"""Encoders from the weights of an earlier stage."""

import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.training.checkpoint import save_weights
from jobs.config.recipes import load
from jobs.workers import models

GONE = "/nowhere/start.pt"


def test_trained_encoders_do_not_need_the_file_that_they_started_from(tmp_path):
    overrides = [f"frame_encoder.weights=byol:{GONE}", f"action_encoder.weights=tclr:{GONE}"]
    cfg = load("diving48", overrides)
    frame = build_frame_encoder(FrameEncoderConfig(weights="random"))
    action = build_action_encoder(ActionEncoderConfig(weights=f"tclr:{GONE}"), 5, start=False)
    for name, encoder in (("frame", frame), ("action", action)):
        save_weights(tmp_path / name, {f"encoder.{key}": value for key, value in encoder.state_dict().items()})
    for made, trained in (
        (models.trained_frame_encoder(cfg, tmp_path / "frame"), frame),
        (models.trained_action_encoder(cfg, tmp_path / "action", 5), action),
        (models.alignability(cfg, 0, tmp_path / "frame").encoder, frame),
        (models.cross_entropy(cfg, 0, 5, tmp_path / "action").encoder, action),
    ):
        state = made.state_dict()
        assert all(torch.equal(state[key], value) for key, value in trained.state_dict().items())
