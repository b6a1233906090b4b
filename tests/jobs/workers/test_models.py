"""Encoders from the weights of an earlier stage."""

from dataclasses import replace

import torch

from finepseudo.consistency.teacher import MeanTeacher
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.methods.base import TrainAction
from finepseudo.methods.table import METHODS
from finepseudo.training.checkpoint import save_weights
from finepseudo.training.objectives import CrossEntropyObjective
from jobs.config.recipes import load
from jobs.workers import models

GONE = "/nowhere/start.pt"


def training(start, method=None, n_classes=5, **values):
    """A training of f_E that goes on from a file."""
    request = TrainAction(number=1 if method else 0, start=0, **values)
    return models.ActionTraining(
        request=request, method=method, seed=0, n_classes=n_classes, steps=10, start=start, labels=None, reads=()
    )


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
        (models.action_objective(cfg, training(tmp_path / "action")).encoder, action),
    ):
        state = made.state_dict()
        assert all(torch.equal(state[key], value) for key, value in trained.state_dict().items())


def test_a_method_makes_its_own_objective_from_what_it_is_told(tmp_path, monkeypatch):
    """The encoder as trained before, another one from its start, the steps; a plain request stays cross-entropy."""
    told = []

    def objective(cfg, setting):
        told.append((cfg, setting))
        made = CrossEntropyObjective(setting.encoder, setting.loss)
        made.teacher = MeanTeacher(setting.fresh())
        return made

    monkeypatch.setitem(METHODS, "supervised", replace(METHODS["supervised"], objective=objective))
    cfg = load("smoke", ["action_encoder.dropout=0.2"])
    encoder = build_action_encoder(cfg.action_encoder, 4)
    before = CrossEntropyObjective(encoder, cfg.action_stage.loss)
    save_weights(tmp_path / "before", before.state_dict())
    made = models.action_objective(cfg, training(tmp_path / "before", "supervised", n_classes=4))
    ((own, setting),) = told
    assert own == cfg.method.supervised
    assert (setting.steps, setting.n_classes, setting.request.number) == (10, 4, 1)
    trained = encoder.fc.weight
    assert torch.equal(made.encoder.fc.weight, trained)
    assert not torch.equal(made.teacher.model.fc.weight, trained)
    save_weights(tmp_path / "after", made.state_dict())
    for whose, wanted in (("student", made.encoder), ("teacher", made.teacher.model)):
        monkeypatch.setitem(METHODS, "supervised", replace(METHODS["supervised"], tested=whose))
        tested = models.trained_action_encoder(cfg, tmp_path / "after", 4, "supervised")
        assert torch.equal(tested.fc.weight, wanted.fc.weight)
    models.action_objective(cfg, training(tmp_path / "before", "supervised", n_classes=4, plain=True))
    assert len(told) == 1
