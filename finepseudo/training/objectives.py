"""One training step a stage: modules that take the batches of a step, `{stream: ClipBatch}`, and return the loss of the
global batch. No loop, no I/O.

Wrap them in `data_parallel`; finepseudo/distributed.py explains why its mean of gradients is then the gradient
of the whole batch. Clips with `valid` False are left out before the network sees them, so they touch neither losses nor
batch statistics; a rank may hold no valid clip at all, but all ranks hold equally many slots. Nothing here waits for
the device. Dropout draws from torch's generator: seed it a step for repeatable runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finepseudo.alignment.carl import carl_loss
from finepseudo.alignment.config import AlignabilityConfig, GitdlConfig
from finepseudo.alignment.gitdl import gitdl_loss, retrieval
from finepseudo.alignment.scorer import AlignabilityScorer, Pairs, length_factor, score_loss, triplet_loss
from finepseudo.alignment.shared_pairs import global_distances
from finepseudo.compute.networks import computed_in
from finepseudo.distributed import gather_rows, global_mean, sum_across_ranks, widened, world_size
from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.encoders.frame_encoder import FrameEncoder
from finepseudo.training.config import CrossEntropyConfig
from shards.errors import UserError
from shards.types import NO_LABEL, ClipBatch


@dataclass(frozen=True, slots=True)
class StepOutput:
    """Loss of the global batch (a scalar with gradient) and named scalars without; equal on every rank."""

    loss: Tensor
    metrics: dict[str, Tensor]


Batches = Mapping[str, ClipBatch]
"""This rank's part of the batches of one step, by stream; the leading stream comes first."""


class Objective(nn.Module):
    """What the training loop trains: `forward` takes `Batches` and returns a `StepOutput`.

    All state that must survive a kill belongs into parameters, buffers or submodules (a frozen one such as a teacher
    too): the whole `state_dict` is in every checkpoint, and is what is handed out as weights: `encoder.*` is what is
    tested, `teacher.*` where a method says so.
    """

    def after_step(self, step: int, total: int) -> None:
        """Follow the `step`-th of `total` optimiser steps, on every rank alike: a teacher moves here."""


def single(batches: Batches) -> ClipBatch:
    """Give the batch of an objective that reads one stream."""
    (batch,) = batches.values()
    return batch


class GitdlObjective(Objective):
    """Pre-training of f_A (eq. 9): view 0 is the sparse global clip, view 1 the dense local one. No labels are read."""

    def __init__(self, encoder: FrameEncoder, cfg: GitdlConfig) -> None:
        """Train `encoder` and its projection head."""
        super().__init__()
        self.encoder = encoder
        self.encoder.projector.requires_grad_(True)
        self.cfg = cfg

    def forward(self, batches: Batches) -> StepOutput:
        """Compute L_GITDL, or CARL's loss, of frames [B, 2, T, C, H, W].

        The mean over clips with two or more shared frames.
        """
        batch = single(batches)
        if batch.frames.shape[1] != 2:
            raise UserError(f"GITDL needs 2 views a clip, got {batch.frames.shape[1]}; set sampling policy gitdl")
        batch = batch.sound()
        frames, ids, clips = batch.frames, batch.frame_ids, len(batch.keys)
        described = self.encoder.described(torch.cat([frames[:, 0], frames[:, 1]]))
        embeddings = self.encoder.in_time(described)
        with computed_in("fp32", frames.device):
            projected = self.encoder.project(embeddings)
            views = (projected[:clips], projected[clips:], ids[:, 0], ids[:, 1])
            loss, shared, found = gitdl_loss(*views, self.cfg)
            if self.cfg.objective == "carl":
                loss = carl_loss(*views, self.cfg)
        usable = shared > 1
        mean = global_mean(loss, usable)
        metrics = {
            "train/loss": mean.detach(),
            "train/shared_frames": global_mean(shared.float(), torch.ones_like(usable)),
            "train/retrieval": global_mean(found, usable),
            "train/retrieval_shuffled": global_mean(self._without_places(described, ids), usable),
            "train/retrieval_chance": global_mean(1 / shared.clamp(min=1).float(), usable),
        }
        return StepOutput(mean, metrics)

    @torch.no_grad()
    def _without_places(self, described: Tensor, ids: Tensor) -> Tensor:
        """Retrieval [B] by embeddings of frames that are told wrong places, other ones in each of the two clips.

        An encoder that finds a frame by its image still does; one that counts places falls to chance.
        """
        steps = torch.arange(1.0, described.shape[1] + 1, device=described.device)
        order = torch.stack([(rate * steps).sin().argsort() for rate in (12.9, 78.2)]).repeat_interleave(len(ids), 0)
        g, l = self.encoder.in_time(described.detach(), order).tensor_split(2)  # noqa: E741
        return retrieval(g, l, ids[:, 0], ids[:, 1])


class AlignabilityObjective(Objective):
    """Metric learning of f_A and f_S: L_AV = L_AT + omega L_Score (eq. 5) over all pairs of the global batch."""

    def __init__(self, encoder: FrameEncoder, scorer: AlignabilityScorer, cfg: AlignabilityConfig) -> None:
        """Train `encoder` (freeze its image encoder first, as the paper does) and `scorer`; the head g rests."""
        super().__init__()
        self.encoder = encoder
        self.encoder.projector.requires_grad_(False)
        self.scorer = scorer
        self.cfg = cfg

    def forward(self, batches: Batches) -> StepOutput:
        """Embed view 0 of this rank's clips, gather all ranks' embeddings with gradients, mine every pair."""
        batch = single(batches)
        sound = batch.sound()
        embeddings, labels = self.encoder(sound.frames[:, 0]), sound.labels
        if world_size() > 1:  # as many rows from every rank; those without a clip have no class, so no pair
            empty = len(batch.keys) - len(sound.keys)
            embeddings = gather_rows(F.pad(embeddings, (0, 0, 0, 0, 0, empty)))
            labels = gather_rows(F.pad(labels, (0, empty), value=NO_LABEL))
        with computed_in("fp32", embeddings.device):
            if len(embeddings) == 0:  # every clip failed: no pair, zero loss, zero gradients
                distances = embeddings.new_zeros(0, 0) + embeddings.sum()
            else:
                distances = global_distances(embeddings, self.cfg)
            return self.losses(distances, labels, embeddings.shape[1])

    def losses(self, distances: Tensor, labels: Tensor, length: int) -> StepOutput:
        """L_AV of raw distances [B, B] of clips with labels [B] (negative = none) and `length` frames."""
        pairs = Pairs.of(labels, torch.ones_like(labels, dtype=torch.bool))
        scaled = distances / length_factor(length, self.cfg.norm)
        triplet, mined, active = triplet_loss(scaled, pairs, self.cfg.margin, self.cfg.mining)
        fed = distances / length_factor(length, self.scorer.cfg.norm)
        known = pairs.same | pairs.different
        if self.training:
            self.scorer.observe(fed, known.triu())
        logits = self.scorer.logits(fed)
        negatives = torch.where(mined.any(), mined, pairs.different)  # all easy: keep f_S calibrated on every pair
        score = score_loss(logits, pairs.same, negatives)
        loss = self.cfg.triplet_weight * triplet
        if self.cfg.omega:
            loss = loss + self.cfg.omega * score
        metrics = {
            "train/loss": loss,
            "train/triplet": triplet,
            "train/score": score,
            "train/active": active,
            "train/same": _mean(logits.sigmoid(), pairs.same),
            "train/different": _mean(logits.sigmoid(), pairs.different),
        }
        return StepOutput(loss, {name: value.detach() for name, value in metrics.items()})


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, values, torch.zeros_like(values)).sum() / where.sum().clamp(min=1)


def supervised(logits: Tensor, labels: Tensor, cfg: CrossEntropyConfig) -> Tensor:
    """L_CE (eq. 6) of logits [B, C], the mean over the clips of all ranks whose label [B] is not negative."""
    losses = F.cross_entropy(logits, labels.clamp(min=0), reduction="none", label_smoothing=cfg.label_smoothing)
    return global_mean(losses, labels >= 0)


class CrossEntropyObjective(Objective):
    """Training of f_E by cross-entropy (eq. 6) on true and pseudo-labels alike."""

    def __init__(self, encoder: ActionEncoder, cfg: CrossEntropyConfig) -> None:
        """Train `encoder`."""
        super().__init__()
        self.encoder = encoder
        self.cfg = cfg

    def forward(self, batches: Batches) -> StepOutput:
        """Compute L_CE of view 0, the mean over all valid labelled clips of every rank."""
        batch = single(batches).sound()
        counted = batch.labels >= 0
        logits = widened(self.encoder(batch.frames[:, 0]))
        loss = supervised(logits, batch.labels, self.cfg)
        metrics = {
            "train/loss": loss.detach(),
            "train/accuracy": global_mean((logits.argmax(-1) == batch.labels).float(), counted).detach(),
            "train/clips": sum_across_ranks(counted.sum().float()),
        }
        return StepOutput(loss, metrics)
