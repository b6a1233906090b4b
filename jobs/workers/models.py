"""What each stage trains: encoders from the configuration and the weights of an earlier stage.

Weights files hold a whole objective: `encoder.*`, and `scorer.*` (f_S) where there is one. Builders are pure functions
of their arguments and of the seed, so every worker starts from the same tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.consistency.network import Network
from finepseudo.consistency.side import ByKey
from finepseudo.encoders.action_encoder import ActionEncoder, build_action_encoder
from finepseudo.encoders.frame_encoder import FrameEncoder, build_frame_encoder
from finepseudo.methods.base import Setting, TrainAction
from finepseudo.methods.table import METHODS, settings
from finepseudo.training.checkpoint import load_weights
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective, GitdlObjective, Objective
from jobs.config.run import RunConfig
from jobs.workers.part_files import matrix, parts, read_parts
from jobs.workers.train_loop import seed_of


def gitdl(cfg: RunConfig, seed: int) -> Objective:
    """f_A from its start, for GITDL."""
    torch.manual_seed(seed_of(seed, "frame_encoder", "start"))
    return GitdlObjective(build_frame_encoder(cfg.frame_encoder), cfg.pretrain.loss)


def alignability(cfg: RunConfig, seed: int, weights: Path) -> Objective:
    """f_A and f_S for metric learning; f_S starts afresh after GITDL, else goes on."""
    torch.manual_seed(seed_of(seed, "scorer", "start"))
    encoder, scorer = build_frame_encoder(cfg.frame_encoder, start=False), _scorer(cfg)
    tensors = load_weights(weights)
    encoder.load_state_dict(_below(tensors, "encoder."))
    if any(name.startswith("scorer.") for name in tensors):
        scorer.load_state_dict(_below(tensors, "scorer."))
    if cfg.frame_stage.freeze_image:
        encoder.freeze_image_encoder()
    return AlignabilityObjective(encoder, scorer, cfg.frame_stage.loss)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionTraining:
    """What a worker is told of one training of f_E; method None is round 0. See `finepseudo.methods.base`."""

    request: TrainAction
    method: str | None
    seed: int
    n_classes: int
    steps: int
    # weights that it goes on from; None = the encoder's own start
    start: Path | None
    labels: Path | None
    reads: tuple[Path, ...]
    # folders of part files
    side: tuple[Path, ...] = ()


def action_objective(cfg: RunConfig, spec: ActionTraining) -> Objective:
    """f_E in the objective of its method, or in plain cross-entropy."""
    torch.manual_seed(seed_of(spec.seed, "action_encoder", "start"))
    method = METHODS[spec.method] if spec.method else None
    encoder = _started_action_encoder(cfg, spec)
    if method is None or method.objective is None or spec.request.plain:
        return CrossEntropyObjective(encoder, cfg.action_stage.loss)
    setting = Setting(
        request=spec.request,
        encoder=encoder,
        fresh=partial(build_action_encoder, cfg.action_encoder, spec.n_classes),
        loss=cfg.action_stage.loss,
        n_classes=spec.n_classes,
        steps=spec.steps,
        seed=spec.seed,
        labels=spec.labels,
        weights=spec.reads,
        side=tuple(map(read_side, spec.side)),
    )
    objective: Objective = method.objective(settings(cfg.method, method.name), setting)
    return objective


def read_side(folder: Path) -> ByKey:
    """Read the numbers of single clips that a stage left: its part files have `key` and one column of them."""
    found = parts(folder)
    (column,) = (name for name in pq.read_schema(found[0]).names if name != "key")
    table = read_parts(found, ["key", column])
    values = table[column]
    numbers = matrix(values) if pa.types.is_list(values.type) else values.to_numpy()[:, None]
    return ByKey(table["key"].to_pylist(), numbers)


def _started_action_encoder(cfg: RunConfig, spec: ActionTraining) -> ActionEncoder:
    if spec.start is None:
        return build_action_encoder(cfg.action_encoder, spec.n_classes)
    encoder = build_action_encoder(cfg.action_encoder, spec.n_classes, start=False)
    encoder.load_state_dict(load_weights(spec.start, "encoder."))
    return encoder


def prefix_of(tested: str) -> str:
    """Name the tensors of the encoder that a method tests in a file of weights."""
    return "teacher.model." if tested == "teacher" else "encoder."


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


def trained_action_encoder(cfg: RunConfig, weights: Path, n_classes: int, method: str | None = None) -> Network:
    """Load what a training of f_E trained, in evaluation mode; `method`: whose it was, None for round 0."""
    encoder = build_action_encoder(cfg.action_encoder, n_classes, start=False)
    network: Network = encoder
    made = METHODS[method] if method else None
    if made is not None and made.network is not None:
        network = made.network(settings(cfg.method, made.name), encoder, n_classes)
    network.load_state_dict(load_weights(weights, prefix_of(made.tested if made else "student")))
    return network.eval()


def _scorer(cfg: RunConfig) -> AlignabilityScorer:
    return AlignabilityScorer(cfg.frame_stage.scorer, learned=cfg.frame_stage.learns_score)


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
