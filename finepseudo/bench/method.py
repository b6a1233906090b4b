"""Does the method show what it claims? One seed of the study: verification, pseudo-labels, accuracy.

One process, clips in memory, tiny encoders. Every method gets the same steps, the same labelled clips, the same start.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finepseudo.alignment.config import AlignabilityConfig, GitdlConfig, ScorerConfig
from finepseudo.alignment.gallery import build_gallery, class_scores
from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.bench.training import ClipSource, Rows, balanced, in_chunks, shuffled, train
from finepseudo.encoders.action_encoder import ActionEncoder, build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import FrameEncoder, build_frame_encoder
from finepseudo.evaluation.metrics import average_precision, balanced_pairs
from finepseudo.methods.config import PseudoLabelConfig, Strategy
from finepseudo.methods.pseudo_labels import label_pool
from finepseudo.soft_dtw import soft_dtw_pairwise
from finepseudo.training.config import CrossEntropyConfig, OptimConfig
from finepseudo.training.objectives import AlignabilityObjective, CrossEntropyObjective, GitdlObjective
from shards.types import ClipBatch

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


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows and the labels they are trained with; empty where there are none."""

    rows: Rows
    labels: Rows


NOTHING = Labelled(np.array([], dtype=np.int64), np.array([], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Training:
    """The loops of one stretch of training: what is drawn, from which generator, at which share of the base rate."""

    study: Study
    cfg: MethodConfig
    rng: np.random.Generator
    rate: float = 1.0

    def pretrain(self, encoders: Encoders) -> None:
        """GITDL on every training video, labels unread."""
        everything = np.concatenate([self.study.labelled, self.study.unlabelled])
        batches = shuffled(self.study.source, everything, "gitdl", self.cfg.ssl_batch, self.rng)
        train(GitdlObjective(encoders.frame, self.cfg.ssl), self.cfg.frame_optim, batches, self.cfg.ssl_steps)

    def frame(self, encoders: Encoders, pseudo: Labelled, steps: int) -> None:
        """Metric learning of f_A and f_S on labelled and, where there are any, pseudo-labelled clips."""
        objective = AlignabilityObjective(encoders.frame, encoders.scorer, self.cfg.alignability)
        train(objective, self.cfg.frame_optim, self._batches(pseudo), steps, self.rate)

    def action(self, encoders: Encoders, pseudo: Labelled, steps: int) -> None:
        """Cross-entropy training of f_E on labelled and, where there are any, pseudo-labelled clips."""
        objective = CrossEntropyObjective(encoders.action, CrossEntropyConfig())
        train(objective, self.cfg.action_optim, self._batches(pseudo), steps, self.rate)

    def _batches(self, pseudo: Labelled) -> Iterator[ClipBatch]:
        study = self.study
        pools = [(study.labelled, study.labels[study.labelled])]
        if len(pseudo.rows):
            pools.append((pseudo.rows, pseudo.labels))
        return balanced(study.source, pools, study.classes, self.cfg.per_class, self.rng)


def run_seed(study: Study, cfg: MethodConfig, seed: int) -> dict[str, float]:
    """Run every stage of every method for one seed; return the numbers of the tables by name."""
    torch.manual_seed(seed)
    encoders = Encoders(
        build_frame_encoder(cfg.frame_encoder),
        AlignabilityScorer(cfg.scorer),
        build_action_encoder(cfg.action_encoder, study.classes),
    )
    training = Training(study, cfg, np.random.default_rng([seed, 1]))
    training.pretrain(encoders)
    found = {f"{name} after GITDL": ap for name, ap in verification(study, encoders, seed).items() if name != "score"}
    if cfg.freeze_image_encoder:
        encoders.frame.freeze_image_encoder()
    training.frame(encoders, NOTHING, cfg.metric_steps)
    training.action(encoders, NOTHING, cfg.classification_steps)
    found |= {f"{name} after metric learning": ap for name, ap in verification(study, encoders, seed).items()}
    found["top1 f_A alone, round 0"] = _accuracy(
        gallery_scores(study, encoders, study.test, seed, 0), study, study.test
    )
    found["top1 f_E, round 0"] = test_accuracy(study, encoders)
    for method in METHODS:
        found |= self_training(study, cfg, copy.deepcopy(encoders), method, seed)
    return found


def self_training(
    study: Study, cfg: MethodConfig, encoders: Encoders, method: Strategy | None, seed: int
) -> dict[str, float]:
    """Run the rounds of one method from the shared start; return its accuracy and its pseudo-labels' numbers."""
    name = method or "supervised"
    torch.manual_seed(seed)
    training = Training(study, cfg, np.random.default_rng([seed, 2]), cfg.round_rate)
    found: dict[str, float] = {}
    for round_ in range(cfg.rounds):
        pseudo = NOTHING
        if method is not None:
            rule = replace(cfg.pseudo_labels, strategy=method)
            scores = gallery_scores(study, encoders, study.unlabelled, seed, round_)
            pseudo, numbers = draw_pseudo_labels(study, rule, encoders, scores)
            found |= {f"{name} {key}, round {round_ + 1}": value for key, value in numbers.items()}
        if method == "collaborative":  # the others never train f_A again: their labels must not profit from it
            training.frame(encoders, pseudo, cfg.round_metric_steps)
        training.action(encoders, pseudo, cfg.round_classification_steps)
    found[f"top1 {name}"] = test_accuracy(study, encoders)
    if method == "collaborative":
        scores = gallery_scores(study, encoders, study.test, seed, cfg.rounds)
        found["top1 f_A alone, last round"] = _accuracy(scores, study, study.test)
    return found


def draw_pseudo_labels(
    study: Study, rule: PseudoLabelConfig, encoders: Encoders, scores: Tensor
) -> tuple[Labelled, dict[str, float]]:
    """Label the unlabelled clips; return rows and labels of the accepted, and count, precision and the like."""
    pool = np.sort(study.unlabelled)
    keys = [f"{row:08d}" for row in pool]
    p_e = in_chunks(study.source, pool, lambda frames: encoders.action(frames).softmax(-1)).numpy()
    table = label_pool(rule, keys, scores.numpy(), p_e, np.zeros(len(pool)), np.ones(len(pool), bool))
    labels = table["label"].to_numpy().astype(np.int64)
    accepted = table["accepted"].to_numpy(zero_copy_only=False).astype(bool)
    truth, count = study.labels[pool], int(accepted.sum())
    surest = np.argsort(-p_e.max(1), kind="stable")[:count]
    numbers = {
        "accepted": float(count),
        "precision": _share(labels[accepted] == truth[accepted]),
        "precision of f_E at equal count": _share(p_e.argmax(1)[surest] == truth[surest]),
        "classes": float(len(np.unique(labels[accepted]))),
    }
    return Labelled(pool[accepted], labels[accepted]), numbers


def _share(right: npt.NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else float("nan")


def gallery_scores(study: Study, encoders: Encoders, rows: Rows, seed: int, round_: int) -> Tensor:
    """Mean alignability of clips `rows` with each class's labelled clips (eq. 7), [N, C]."""
    labelled = in_chunks(study.source, study.labelled, encoders.frame)
    gallery = build_gallery(labelled, study.labels[study.labelled].tolist(), study.classes, seed=seed, round=round_)
    return class_scores(in_chunks(study.source, rows, encoders.frame), gallery, encoders.scorer)


def test_accuracy(study: Study, encoders: Encoders) -> float:
    """Top-1 of f_E on the test clips, one view."""
    return _accuracy(in_chunks(study.source, study.test, encoders.action), study, study.test)


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
