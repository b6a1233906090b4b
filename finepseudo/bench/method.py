"""Does the method show what it claims? One seed of the study: verification, pseudo-labels, accuracy.

One process, clips in memory, tiny encoders. Every method gets the same steps, the same labelled clips, the same start.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from finepseudo.action_encoder import ActionEncoder, ActionEncoderConfig, build_action_encoder
from finepseudo.alignability import AlignabilityConfig, AlignabilityScorer, ScorerConfig
from finepseudo.bench.training import ClipSource, Rows, balanced, in_chunks, shuffled, train
from finepseudo.frame_encoder import FrameEncoder, FrameEncoderConfig, build_frame_encoder
from finepseudo.gallery import build_gallery, class_scores
from finepseudo.metrics import average_precision, balanced_pairs
from finepseudo.optim import OptimConfig
from finepseudo.pseudo_labels import PseudoLabelConfig, Strategy, label_pool
from finepseudo.soft_dtw import soft_dtw_pairwise
from finepseudo.steps import AlignabilityObjective, CrossEntropyConfig, CrossEntropyObjective, GitdlObjective
from finepseudo.temporal_ssl import GitdlConfig

METHODS: tuple[Strategy | None, ...] = (None, "confidence", "collaborative")
"""Rows of the accuracy table; None trains on the labelled clips alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodConfig:
    """Sizes and steps of the study; what is not named here has the paper's default."""

    frames: int = 20
    frame_encoder: FrameEncoderConfig = field(
        default_factory=lambda: FrameEncoderConfig(variant="tiny", train_length=20, dropout=0.0)
    )
    action_encoder: ActionEncoderConfig = field(default_factory=lambda: ActionEncoderConfig(variant="tiny"))
    ssl: GitdlConfig = field(default_factory=GitdlConfig)
    alignability: AlignabilityConfig = field(default_factory=lambda: AlignabilityConfig(norm="T"))
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)
    # the paper freezes a network that ImageNet trained; a random start has to go on learning
    freeze_image_encoder: bool = False
    frame_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=1e-3))
    action_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=1e-3))
    ssl_batch: int = 16
    ssl_steps: int = 60
    metric_steps: int = 120
    classification_steps: int = 200
    rounds: int = 2
    round_metric_steps: int = 50
    round_classification_steps: int = 100
    per_class: int = 2  # clips of a class in a batch; half of them pseudo-labelled in self-training
    round_rate: float = 0.5  # learning rate of self-training against that of the labelled stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What a seed works on: rows of `source` by role, and the true label of every row (metrics alone read all)."""

    source: ClipSource
    labels: Rows
    labelled: Rows
    unlabelled: Rows
    test: Rows
    classes: int


@dataclass(slots=True)
class Encoders:
    """f_A with f_S, and f_E."""

    frame: FrameEncoder
    scorer: AlignabilityScorer
    action: ActionEncoder


def run_seed(study: Study, cfg: MethodConfig, seed: int) -> dict[str, float]:
    """Run every stage of every method for one seed; return the numbers of the tables by name."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    encoders = Encoders(
        build_frame_encoder(cfg.frame_encoder),
        AlignabilityScorer(cfg.scorer),
        build_action_encoder(cfg.action_encoder, study.classes),
    )
    everything = np.concatenate([study.labelled, study.unlabelled])
    batches = shuffled(study.source, everything, "gitdl", cfg.ssl_batch, rng)
    train(GitdlObjective(encoders.frame, cfg.ssl), cfg.frame_optim, batches, cfg.ssl_steps)
    found = {f"{name} after GITDL": ap for name, ap in verification(study, encoders, seed).items() if name != "score"}
    if cfg.freeze_image_encoder:
        encoders.frame.freeze_image_encoder()
    empty = np.array([], dtype=np.int64)
    train_frame(study, cfg, encoders, (empty, empty), cfg.metric_steps, rng)
    train_action(study, cfg, encoders.action, (empty, empty), cfg.classification_steps, rng)
    found |= {f"{name} after metric learning": ap for name, ap in verification(study, encoders, seed).items()}
    found["top1 f_A alone, round 0"] = _accuracy(gallery_scores(study, encoders, study.test, seed, 0), study, study.test)
    found["top1 f_E, round 0"] = test_accuracy(study, encoders.action)
    for method in METHODS:
        found |= self_training(study, cfg, copy.deepcopy(encoders), method, seed)
    return found


def train_frame(
    study: Study, cfg: MethodConfig, encoders: Encoders, pseudo: tuple[Rows, Rows], steps: int, rng: np.random.Generator,
    scale: float = 1.0,
) -> None:
    """Metric learning of f_A and f_S on the labelled clips and, where there are any, pseudo-labelled ones."""
    objective = AlignabilityObjective(encoders.frame, encoders.scorer, cfg.alignability)
    train(objective, cfg.frame_optim, balanced(study.source, _pools(study, pseudo), study.classes, cfg.per_class, rng), steps, scale)


def train_action(
    study: Study, cfg: MethodConfig, action: ActionEncoder, pseudo: tuple[Rows, Rows], steps: int, rng: np.random.Generator,
    scale: float = 1.0,
) -> None:
    """Cross-entropy training of f_E on the labelled clips and, where there are any, pseudo-labelled ones."""
    objective = CrossEntropyObjective(action, CrossEntropyConfig())
    train(objective, cfg.action_optim, balanced(study.source, _pools(study, pseudo), study.classes, cfg.per_class, rng), steps, scale)


def _pools(study: Study, pseudo: tuple[Rows, Rows]) -> list[tuple[Rows, Rows]]:
    true = (study.labelled, study.labels[study.labelled])
    return [true, pseudo] if len(pseudo[0]) else [true]


def self_training(study: Study, cfg: MethodConfig, encoders: Encoders, method: Strategy | None, seed: int) -> dict[str, float]:
    """Run the rounds of one method from the shared start; return its accuracy and its pseudo-labels' numbers."""
    name = method or "supervised"
    rng = np.random.default_rng([seed, 2])
    torch.manual_seed(seed)
    found: dict[str, float] = {}
    empty = np.array([], dtype=np.int64)
    for round_ in range(cfg.rounds):
        pseudo = (empty, empty)
        if method is not None:
            pseudo, numbers = draw_pseudo_labels(study, cfg, encoders, method, seed, round_)
            found |= {f"{name} {key}, round {round_ + 1}": value for key, value in numbers.items()}
        if method in ("verification", "collaborative"):
            train_frame(study, cfg, encoders, pseudo, cfg.round_metric_steps, rng, cfg.round_rate)
        train_action(study, cfg, encoders.action, pseudo, cfg.round_classification_steps, rng, cfg.round_rate)
    found[f"top1 {name}"] = test_accuracy(study, encoders.action)
    if method == "collaborative":
        scores = gallery_scores(study, encoders, study.test, seed, cfg.rounds)
        found["top1 f_A alone, last round"] = _accuracy(scores, study, study.test)
    return found


def draw_pseudo_labels(
    study: Study, cfg: MethodConfig, encoders: Encoders, method: Strategy, seed: int, round_: int
) -> tuple[tuple[Rows, Rows], dict[str, float]]:
    """Label the unlabelled clips; return rows and labels of the accepted, and count, precision and the like."""
    pool = study.unlabelled
    scores = gallery_scores(study, encoders, pool, seed, round_).numpy()
    p_e = in_chunks(study.source, pool, lambda frames: encoders.action(frames).softmax(-1)).numpy()
    rule = PseudoLabelConfig(
        strategy=method, tau=cfg.pseudo_labels.tau, theta=cfg.pseudo_labels.theta, fuse=cfg.pseudo_labels.fuse
    )
    keys = [f"{row:08d}" for row in pool]
    table = label_pool(rule, keys, scores, p_e, np.zeros(len(pool)), np.ones(len(pool), bool))
    order = np.argsort(np.array(keys))
    labels = table["label"].to_numpy().astype(np.int64)
    accepted = table["accepted"].to_numpy(zero_copy_only=False).astype(bool)
    right = labels == study.labels[pool][order]
    count = int(accepted.sum())
    surest = np.argsort(-p_e[order].max(1), kind="stable")[:count]
    e_right = p_e[order].argmax(1) == study.labels[pool][order]
    numbers = {
        "accepted": float(count),
        "precision": float(right[accepted].mean()) if count else float("nan"),
        "precision of f_E at equal count": float(e_right[surest].mean()) if count else float("nan"),
        "classes": float(len(np.unique(labels[accepted]))),
    }
    return (pool[order][accepted], labels[accepted]), numbers


def gallery_scores(study: Study, encoders: Encoders, rows: Rows, seed: int, round_: int) -> Tensor:
    """Mean alignability of clips `rows` with each class's labelled clips (eq. 7), [N, C]."""
    labelled = in_chunks(study.source, study.labelled, encoders.frame)
    gallery = build_gallery(labelled, study.labels[study.labelled].tolist(), study.classes, seed=seed, round=round_)
    return class_scores(in_chunks(study.source, rows, encoders.frame), gallery, encoders.scorer)


def test_accuracy(study: Study, action: ActionEncoder) -> float:
    """Top-1 of f_E on the test clips, one view."""
    return _accuracy(in_chunks(study.source, study.test, action), study, study.test)


def _accuracy(scores: Tensor, study: Study, rows: Rows) -> float:
    return float((scores.argmax(-1).numpy() == study.labels[rows]).mean())


@torch.no_grad()
def verification(study: Study, encoders: Encoders, seed: int) -> dict[str, float]:
    """Average precision of telling same-class from different-class test pairs (Fig. 1c) by four measures."""
    embeddings = in_chunks(study.source, study.test, encoders.frame)
    i, j, same = balanced_pairs(study.labels[study.test], seed)
    pooled = torch.nn.functional.normalize(embeddings.mean(1), dim=-1)
    distances = soft_dtw_pairwise(embeddings) / embeddings.shape[1]
    measures = {
        "pooled cosine": pooled @ pooled.T,
        "frame-wise cosine": torch.einsum("itf,jtf->ij", embeddings, embeddings) / embeddings.shape[1],
        "DTW": -distances,
        "score": encoders.scorer.logits(distances),
    }
    return {name: average_precision(value.numpy()[i, j], same) for name, value in measures.items()}
