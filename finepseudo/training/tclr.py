"""TCLR (Dave et al., 2021): pre-training of f_E without labels, by contrast of videos and of the times of one video.

A global clip spans four local ones that follow each other (sampling policy `tclr`); each is seen in two augmentations.
Shapes: B clips of this rank, V = 2 (1 + n) views, n local clips, T frames, D features, P projection size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from finepseudo.compute.networks import computed_in
from finepseudo.distributed import SyncBatchNorm, global_mean
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.encoders.pooling import bin_means
from finepseudo.encoders.stages import staged, watched
from finepseudo.training.config import TclrConfig
from finepseudo.training.contrast import PROJECTED, matched, mean_of_valid, nt_xent, on_all_ranks
from finepseudo.training.objectives import Batches, Objective, StepOutput, single
from shards.errors import UserError


def _head(width: int) -> nn.Sequential:
    """TCLR's projection: D - D - 128, batch normalisation behind both layers."""
    return nn.Sequential(
        nn.Linear(width, width),
        SyncBatchNorm(width),
        nn.ReLU(),
        nn.Linear(width, PROJECTED, bias=False),
        SyncBatchNorm(PROJECTED),
    )


class TclrObjective(Objective):
    """L = a L_IC + b L_LL + c L_GL, with the weights of `TclrConfig`. No labels are read."""

    def __init__(self, encoder: ActionEncoder, cfg: TclrConfig) -> None:
        """Train the backbone of `encoder` and its projections; its classification layer rests."""
        super().__init__()
        self.encoder, self.cfg = encoder, cfg
        encoder.fc.requires_grad_(False)
        self.head = _head(encoder.width)
        # one head for both in TCLR, whose network is as wide before the pool over time as behind it
        self.time_head: nn.Sequential | None = None
        if cfg.global_local and staged(encoder).stage_width != encoder.width:
            self.time_head = _head(staged(encoder).stage_width)

    def forward(self, batches: Batches) -> StepOutput:
        """Compute L of frames [B, V, T, C, H, W]: global, n local, and all of them again in another augmentation."""
        batch = single(batches)
        sound, slots = batch.sound(), len(batch.keys)
        clips, views = sound.frames.shape[:2]
        if views < 4 or views % 2:
            raise UserError(f"TCLR needs a global and local clips twice, got {views} views; set sampling policy tclr")
        features, times = self._features(sound.frames.flatten(0, 1))
        with computed_in("fp32", features.device):
            seen = self.head(features).view(clips, 2, views // 2, PROJECTED)
            instance = self._instance(seen, slots)
            every = torch.ones(clips, dtype=torch.bool, device=seen.device)
            apart, found = self._local_local(seen[:, :, 1:])
            local_local, retrieval = global_mean(apart, every), global_mean(found, every)
            global_local = instance * 0
            if times is not None:
                times = times.view(clips, 2, views // 2, *times.shape[1:])[:, :, 0]
                global_local = global_mean(self._global_local(times, seen[:, :, 1:]), every)
        cfg = self.cfg
        loss = cfg.instance * instance + cfg.local_local * local_local + cfg.global_local * global_local
        metrics = {
            "train/loss": loss,
            "train/instance": instance,
            "train/local_local": local_local,
            "train/global_local": global_local,
            "train/retrieval": retrieval,
        }
        return StepOutput(loss, {name: value.detach() for name, value in metrics.items()})

    def _features(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map frames [N, T, C, H, W] to features [N, D] and, where they are compared, those over time [N, T', D']."""
        if not self.cfg.global_local:
            return self.encoder.features(frames), None
        with watched(self.encoder) as stages:
            features = self.encoder.features(frames)
        return features, stages[-1]

    def _instance(self, seen: Tensor, slots: int) -> Tensor:
        """L_IC of projections [B, 2, 1 + n, P]: clips of one video are one instance, those of other videos are others.

        NT-Xent of the global clip's two augmentations, and the mean over all pairs of the 2 n local views of a video.
        """
        every, valid = on_all_ranks(seen, slots)
        whole = nt_xent(every[:, 0, 0], every[:, 1, 0], valid, self.cfg.tau)
        local = every[:, :, 1:].flatten(1, 2).transpose(0, 1)  # [2 n, N, P]
        pairs = [nt_xent(local, local.roll(shift, 0), valid, self.cfg.tau) for shift in range(1, len(local))]
        return mean_of_valid(whole, valid) + mean_of_valid(torch.stack(pairs), valid)

    def _local_local(self, local: Tensor) -> tuple[Tensor, Tensor]:
        """L_LL [B] of projections [B, 2, n, P]: a local clip is found by its other augmentation within its video.

        The sum over the n clips; and the share of them [B] whose nearest in the other augmentation is their own.
        """
        one, two = local.unbind(1)
        every = torch.ones(one.shape[:2], dtype=torch.bool, device=one.device)
        with torch.no_grad():
            unit = nn.functional.normalize(local, dim=-1)
            nearest = (unit[:, 0] @ unit[:, 1].transpose(1, 2)).argmax(-1)
            found = (nearest == torch.arange(one.shape[1], device=one.device)).to(one.dtype).mean(1)
        return nt_xent(one, two, every, self.cfg.tau).sum(1), found

    def _global_local(self, times: Tensor, local: Tensor) -> Tensor:
        """L_GL [B]: times of the global clip [B, 2, T', D'] are matched with local clips, projected [B, 2, n, P].

        The sum over the times, the mean over both directions and the four pairs of augmentations. Where the network
        keeps fewer than n times, local clips are joined to as many.
        """
        count = min(local.shape[2], times.shape[2])
        head = self.head if self.time_head is None else self.time_head
        spans = bin_means(times.flatten(0, 1), count, 1).flatten(0, 1)
        spans = head(spans).view(len(times), 2, count, PROJECTED)
        parts = bin_means(local.flatten(0, 1), count, 1).view(len(local), 2, count, PROJECTED)
        losses = [matched(spans[:, i], parts[:, j], self.cfg.tau) for i in range(2) for j in range(2)]
        return count * torch.stack(losses).mean(0)
