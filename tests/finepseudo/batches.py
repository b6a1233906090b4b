"""ClipBatches and tiny encoders for the tests of the method."""

import numpy as np
import torch

from finepseudo.alignment.config import AlignabilityConfig, GitdlConfig
from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.training.config import CrossEntropyConfig, TclrConfig
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective, GitdlObjective
from finepseudo.training.tclr import TclrObjective
from shards.types import ClipBatch, only_view


def clip_batch(clips=8, views=1, frames=8, size=16, classes=3, seed=0, invalid=(), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.ones(clips, dtype=torch.bool)
    valid[list(invalid)] = False
    images = torch.randn(clips, views, frames, 3, size, size, generator=generator, dtype=dtype)
    sparse = torch.arange(frames) * 2
    ids = torch.stack([sparse, *[torch.arange(frames) + 4] * (views - 1)]).expand(clips, -1, -1)
    return ClipBatch(
        keys=tuple(f"clip{i}" for i in range(clips)),
        views=only_view(torch.where(valid.view(-1, 1, 1, 1, 1, 1), images, torch.zeros_like(images)), ids.clone()),
        n_frames=torch.full((clips,), 2 * frames),
        labels=torch.arange(clips) % classes,
        pseudo=torch.zeros(clips, dtype=torch.bool),
        valid=valid,
    )


def rows(batch, start, stop):
    part = slice(start, stop)
    return ClipBatch(
        keys=batch.keys[part],
        views=only_view(batch.frames[part], batch.frame_ids[part]),
        n_frames=batch.n_frames[part],
        labels=batch.labels[part],
        pseudo=batch.pseudo[part],
        valid=batch.valid[part],
    )


def padded(batch, slots):
    """Add slots without a clip."""
    short = slots - len(batch.keys)

    def longer(x, fill=0):
        return torch.cat([x, torch.full_like(x[:1], fill).expand(short, *[-1] * (x.dim() - 1))])

    return ClipBatch(
        keys=batch.keys + ("",) * short,
        views=only_view(longer(batch.frames), longer(batch.frame_ids)),
        n_frames=longer(batch.n_frames),
        labels=longer(batch.labels, -1),
        pseudo=longer(batch.pseudo),
        valid=longer(batch.valid),
    )


def objective(name, dropout=0.0):
    """Build a stage's objective with equal weights in every process."""
    torch.manual_seed(0)
    if name == "cross_entropy":
        cfg = ActionEncoderConfig(variant="tiny", dropout=dropout)
        return CrossEntropyObjective(build_action_encoder(cfg, 3), CrossEntropyConfig())
    if name == "tclr":  # weights that are no zeros and ones in any place
        encoder = build_action_encoder(ActionEncoderConfig(variant="tiny", weights="tclr"), 1)
        return TclrObjective(encoder, TclrConfig(tau=0.3, instance=0.7, local_local=1.2, global_local=0.4))
    encoder = build_frame_encoder(FrameEncoderConfig(variant="tiny", dropout=dropout, train_length=8, hidden=16))
    if name == "gitdl":
        return GitdlObjective(encoder, GitdlConfig())
    return AlignabilityObjective(encoder, AlignabilityScorer(), AlignabilityConfig(norm="T", gamma=0.1))


VIEWS = {"gitdl": 2, "tclr": 10}
"""Views of a clip that a stage's objective reads; others read one."""


def random_table(clips=20, classes=4, seed=0):
    """Scores and probabilities of a pool."""
    generator = np.random.default_rng(seed)
    p = generator.dirichlet(np.full(classes, 0.3), clips)
    return [f"k{i:03d}" for i in range(clips)], generator.uniform(0, 1, (clips, classes)), p
