"""What each stage trains: encoders from the configuration and the weights of an earlier stage.

Weights files hold a whole objective: `encoder.*`, and `scorer.*` (f_S) where there is one. Builders are pure functions
of their arguments and of the seed, so every worker starts from the same tensors.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.encoders.action_encoder import ActionEncoder, build_action_encoder
from finepseudo.encoders.frame_encoder import FrameEncoder, build_frame_encoder
from finepseudo.training.checkpoint import load_weights
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective, GitdlObjective
from jobs.config.run import RunConfig
from jobs.workers.train_loop import seed_of


def gitdl(cfg: RunConfig, seed: int) -> nn.Module:
    """f_A from its start, for GITDL."""
    torch.manual_seed(seed_of(seed, "frame_encoder", "start"))
    return GitdlObjective(build_frame_encoder(cfg.frame_encoder), cfg.pretrain.loss)


def alignability(cfg: RunConfig, seed: int, weights: Path) -> nn.Module:
    """f_A and f_S for metric learning; f_S starts anew after GITDL, which does not train it, and goes on otherwise."""
    torch.manual_seed(seed_of(seed, "scorer", "start"))
    encoder, scorer = build_frame_encoder(cfg.frame_encoder, start=False), _scorer(cfg)
    tensors = load_weights(weights)
    encoder.load_state_dict(_below(tensors, "encoder."))
    if any(name.startswith("scorer.") for name in tensors):
        scorer.load_state_dict(_below(tensors, "scorer."))
    if cfg.frame_stage.freeze_image:
        encoder.freeze_image_encoder()
    return AlignabilityObjective(encoder, scorer, cfg.frame_stage.loss)


def cross_entropy(cfg: RunConfig, seed: int, n_classes: int, weights: Path | None) -> nn.Module:
    """f_E from its start, or from the weights of the round before."""
    torch.manual_seed(seed_of(seed, "action_encoder", "start"))
    if weights is None:
        encoder = build_action_encoder(cfg.action_encoder, n_classes)
    else:
        encoder = build_action_encoder(cfg.action_encoder, n_classes, start=False)
        encoder.load_state_dict(load_weights(weights, "encoder."))
    return CrossEntropyObjective(encoder, cfg.action_stage.loss)


def trained_frame_encoder(cfg: RunConfig, weights: Path) -> FrameEncoder:
    """f_A as trained, in evaluation mode."""
    encoder = build_frame_encoder(cfg.frame_encoder, start=False)
    encoder.load_state_dict(load_weights(weights, "encoder."))
    return encoder.eval()


def trained_scorer(cfg: RunConfig, weights: Path) -> AlignabilityScorer:
    """f_S as trained, in evaluation mode."""
    scorer = _scorer(cfg)
    scorer.load_state_dict(load_weights(weights, "scorer."))
    return scorer.eval()


def trained_action_encoder(cfg: RunConfig, weights: Path, n_classes: int) -> ActionEncoder:
    """f_E as trained, in evaluation mode."""
    encoder = build_action_encoder(cfg.action_encoder, n_classes, start=False)
    encoder.load_state_dict(load_weights(weights, "encoder."))
    return encoder.eval()


def _scorer(cfg: RunConfig) -> AlignabilityScorer:
    return AlignabilityScorer(cfg.frame_stage.scorer, learned=cfg.frame_stage.loss.omega > 0)


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
