"""f_E, the action encoder: a clip to class logits. Shapes: B clips, T frames, C classes, D features."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from finepseudo.compute.networks import channels_last, compiled, computed_in
from finepseudo.distributed import widened
from finepseudo.encoders.building import Network, build_backbone, fill, freeze_trunk
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.encoders.mc_dropout import DropoutLogits
from finepseudo.encoders.weights import WeightsRecord


class ActionEncoder(nn.Module):
    """f_E: a backbone and its classification layer, with dropout between them. The layer always starts at random."""

    weights_record: WeightsRecord | None = None

    def __init__(self, cfg: ActionEncoderConfig, n_classes: int, *, start: bool = True) -> None:
        """Build the encoder; where `start`, from cfg.weights. What is frozen depends on cfg alone."""
        super().__init__()
        self.cfg = cfg
        self.backbone = build_backbone(cfg)
        self._video_features = compiled(self.backbone.forward, cfg.compile)
        self.width = cast(Network, self.backbone).width
        self.fc = nn.Linear(self.width, n_classes)
        self.dropout = nn.Dropout(cfg.dropout)
        if start:
            self.weights_record = fill(self, self.backbone, cfg)
        freeze_trunk(self.backbone, cfg)

    def features(self, frames: Tensor, group: int | None = None) -> Tensor:
        """Map frames [B, T, C, H, W] to features [B, D]; group: which time code they have, where there are several."""
        told = () if group is None else (group,)
        with computed_in(self.cfg.precision, frames.device):
            features = self._video_features(channels_last(frames.transpose(1, 2)), *told)
        return widened(features)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames [B, T, C, H, W] to logits [B, C]."""
        logits: Tensor = self.fc(self.dropout(self.features(frames)))
        return logits

    @torch.no_grad()
    def dropout_logits(self, frames: Tensor, seed: int = 0) -> DropoutLogits:
        """Classify frames [B, T, C, H, W] without dropout and under cfg.mc_passes masks. Call in evaluation mode."""
        cfg = self.cfg
        return DropoutLogits.of(self.features(frames), self.fc, passes=cfg.mc_passes, dropout=cfg.dropout, seed=seed)

    def predict(self, frames: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return p_E [B, C] = softmax of the logits, and the uncertainty [B] of its argmax: see `DropoutLogits`."""
        return self.dropout_logits(frames, seed).prediction()


def build_action_encoder(cfg: ActionEncoderConfig, n_classes: int, *, start: bool = True) -> ActionEncoder:
    """Build f_E for n_classes; without `start` its trained weights follow and cfg.weights need not be there any more.

    Raises UserError when cfg.weights is missing or does not fit.
    """
    return ActionEncoder(cfg, n_classes, start=start)
