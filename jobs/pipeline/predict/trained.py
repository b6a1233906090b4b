"""The trained encoders of a run, loaded once: those of the last round of a method, for one label draw or for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import torch
from torch import Tensor

from finepseudo.alignment.gallery import build_gallery
from finepseudo.compute.networks import placed
from finepseudo.consistency.network import Network
from finepseudo.encoders.frame_encoder import FrameEncoder
from finepseudo.evaluation.predict import Alignment, Exemplars, Predictor
from finepseudo.evaluation.votes import chosen_vote
from finepseudo.methods.base import AnyMethod
from finepseudo.methods.table import METHODS, in_order, settings
from finepseudo.run_folder.layout import METRICS, WEIGHTS, RunPaths
from jobs.config.run import RunConfig
from jobs.workers.evaluate import VIEWS_AT_ONCE
from jobs.workers.labelling import read_truth
from jobs.workers.models import trained_action_encoder, trained_frame_encoder, trained_scorer
from jobs.workers.part_files import parts, read_embeddings
from jobs.workers.score import Scorer
from shards.errors import UserError
from shards.splits.label_split import read_split

if TYPE_CHECKING:
    from finepseudo.methods.base import Floats

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Views:
    """f_E on its device, a few views at a time as in the test: views [V, T, C, H, W] -> logits [V, C]."""

    network: Network
    device: torch.device

    def __call__(self, views: Tensor) -> Tensor:
        """Compute the logits."""
        return torch.cat([self.network(part.to(self.device)) for part in torch.split(views, VIEWS_AT_ONCE)])


@dataclass(frozen=True, slots=True)
class OnDevice:
    """f_A on its device: frames [1, T, C, H, W] -> embeddings [1, T, F]."""

    network: FrameEncoder
    device: torch.device

    def __call__(self, frames: Tensor) -> Tensor:
        """Embed the frames."""
        embeddings: Tensor = self.network(frames.to(self.device))
        return embeddings


def chosen_seeds(cfg: RunConfig, run: RunPaths, asked: int | str | None) -> list[int]:
    """Settle which label draws speak: the first of the run, one that is named, or all that are there."""
    there = [seed for seed, _ in run.seeds()]
    if asked is None:
        return [cfg.seeds[0]]
    if asked == "all":
        return [seed for seed in cfg.seeds if seed in there]
    if asked not in there:
        raise UserError(f"predict: {run.root}: no seed {asked}; it has {', '.join(map(str, there)) or 'none'}, or all")
    return [int(asked)]


def load_predictor(
    cfg: RunConfig, run: RunPaths, seed: int | None = None, method: str | None = None, device: torch.device = CPU
) -> Predictor:
    """Load the encoders of the last round of one label draw and the labelled embeddings of the same f_A.

    seed: None = the run's first; method: None = the one that the report shows in detail. UserError when there are none.
    """
    seed = cfg.seeds[0] if seed is None else seed
    cfg = replace(cfg, action_encoder=replace(cfg.action_encoder, compile=False))
    found, number = newest_round(cfg, run, seed, method)
    _, classes = read_truth(run.clips)
    weights = run.action_encoder(seed, found.name, number) / WEIGHTS
    network = trained_action_encoder(cfg, weights, len(classes), found.name if number else None)
    return Predictor(
        action_encoder=Views(placed(network, device), device),
        alignment=_alignment(cfg, run, seed, (found, number), n_classes=len(classes), device=device),
        classes=classes,
        answer=chosen_vote(run.votes(seed, found.name) / METRICS)[0],
    )


def refuse_unknown(cfg: RunConfig, run: RunPaths, seed: int, method: str | None) -> None:
    """Raise UserError, with those that a run has, for a method or a label draw that it has not."""
    if method is not None and method not in cfg.methods:
        raise UserError(f"{run.root}: no method {method}; it has {', '.join(in_order(cfg.methods))}")
    there = [number for number, _ in run.seeds()]
    if seed not in there:
        raise UserError(f"{run.root}: no seed {seed}; it has {', '.join(map(str, there)) or 'none'}")


def newest_round(cfg: RunConfig, run: RunPaths, seed: int, method: str | None = None) -> tuple[AnyMethod, int]:
    """Find the last round with a trained f_E, of the method that the report shows in detail where none is named."""
    refuse_unknown(cfg, run, seed, method)
    for number in range(max(cfg.rounds, 1), -1, -1):
        for name in [method] if method else reversed(in_order(cfg.methods)):
            if (run.action_encoder(seed, name, number) / WEIGHTS).is_file():
                return METHODS[name], number
    raise UserError(f"{run.root}: no trained action encoder; run `finepseudo run` to its end")


def aligned_round(run: RunPaths, seed: int, method: AnyMethod, number: int) -> int | None:
    """Find the newest round of a method, up to `number`, whose embeddings of f_A are there."""
    for last in range(number if method.aligns else 0, -1, -1):
        found = parts(run.embeddings(seed, method.name, last))
        if found and pq.read_table(found[0], columns=["T"])["T"][0].as_py():
            return last
    return None


def _alignment(
    cfg: RunConfig, run: RunPaths, seed: int, trained: tuple[AnyMethod, int], *, n_classes: int, device: torch.device
) -> Alignment | None:
    """Load f_A, f_S and the labelled embeddings, and the gallery of that round where the method votes with it."""
    method, number = trained
    last = aligned_round(run, seed, method, number)
    if last is None:
        return None
    labelled = read_split(run.split(seed)).items("labelled")
    truth = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
    found = parts(run.embeddings(seed, method.name, last))
    keys, embeddings = read_embeddings(found, frozenset(labelled.keys))
    labels, embeddings = [truth[key] for key in keys], embeddings.to(device)
    weights = run.frame_encoder(seed, method.name, last) / WEIGHTS
    frame_cfg = replace(cfg, frame_encoder=replace(cfg.frame_encoder, compile=False))
    own = settings(cfg.method, method.name)
    per_class = cfg.embed.gallery_per_class
    return Alignment(
        frame_encoder=OnDevice(placed(trained_frame_encoder(frame_cfg, weights), device), device),
        scorer=Scorer(trained_scorer(cfg, weights).to(device), embeddings.shape[1]),
        exemplars=Exemplars(keys=keys, labels=labels, embeddings=embeddings),
        gamma=cfg.frame_stage.loss.gamma,
        distance=cfg.frame_stage.loss.distance,
        gallery=build_gallery(embeddings, labels, n_classes, per_class, seed=seed, round=last) if method.p_a else None,
        vote=None if method.p_a is None else partial(_vote, partial(method.p_a, own)),
    )


def _vote(p_a: Callable[[Floats], Floats], scores: Tensor) -> Tensor:
    """Give p_A [C] as the method makes it of mean scores [C]."""
    return torch.from_numpy(p_a(scores.numpy()[None])[0])
