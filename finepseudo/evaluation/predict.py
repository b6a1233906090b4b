"""One video in: its most likely classes by f_E and by alignment, and the labelled clips it aligns with best.

Nothing is read or decoded here: frames, trained encoders and the labelled embeddings come from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from finepseudo.alignment.config import AlignabilityConfig, Distance
from finepseudo.alignment.distances import class_scores, cross_distances
from finepseudo.evaluation.votes import VOTE_TITLES, Vote, answers
from finepseudo.soft_dtw import AlignmentBank, soft_alignment
from shards.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Exemplars:
    """Labelled clips to compare with: keys [G], true labels [G] and embeddings [G, T, F] of the run's f_A."""

    keys: Sequence[str]
    labels: Sequence[int]
    embeddings: Tensor
    # the embeddings packed, once for all videos
    bank: AlignmentBank = field(init=False)

    def __post_init__(self) -> None:
        """Refuse tables of different length and an empty one; pack the embeddings."""
        if not len(self.keys) == len(self.labels) == len(self.embeddings) or not self.keys:
            raise ValueError(
                f"exemplars: {len(self.keys)} keys, {len(self.labels)} labels, {len(self.embeddings)} embeddings; "
                "give as many of each and at least one"
            )
        object.__setattr__(self, "bank", AlignmentBank(self.embeddings))


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """What finds the labelled clips that a video aligns with.

    frame_encoder: frames [1, T, C, H, W] -> embeddings [1, T, F]; scorer: distances D [...] as they are ->
    alignability S [...] in (0, 1). gallery and vote make p_A: the labelled bank of a round, and what makes class
    probabilities [C] of mean scores S [C]; without them there is no p_A.
    """

    frame_encoder: Callable[[Tensor], Tensor]
    scorer: Callable[[Tensor], Tensor]
    exemplars: Exemplars
    # paper, sec 4.2
    gamma: float = 1e-3
    gallery: AlignmentBank | None = None
    vote: Callable[[Tensor], Tensor] | None = None
    distance: Distance = "soft_dtw"

    @property
    def loss(self) -> AlignabilityConfig:
        """What distances are computed by."""
        return AlignabilityConfig(gamma=self.gamma, distance=self.distance)


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """The trained parts of a run: action_encoder maps frames [V, T, C, H, W] to logits [V, C]; alignment needs f_A.

    answer: whose vote is the answer where there is p_A: that of f_E, of f_A, or the mean of both.
    """

    action_encoder: Callable[[Tensor], Tensor]
    alignment: Alignment | None
    classes: Sequence[str]
    answer: Vote = "action"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassVote:
    """One of the most likely classes."""

    name: str
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A labelled clip that aligns well. cost and alignment [T, T'] are those of the report's figures.

    differs: first and last frame of the video, of T, where the two differ most; differs_cost: 1 - cosine there, beside
    cost_mean, that of all frames.
    """

    key: str
    class_name: str
    score: float
    distance: float
    cost: Tensor
    alignment: Tensor
    differs: tuple[int, int]
    differs_cost: float
    cost_mean: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What the run says about one video, best first.

    classes: the answer; acted: by f_E as it is tested; aligned: by alignment, empty where the run does not vote with
    it. p and p_a [C] are all probabilities of the two votes; `answer` says which of them, or their mean, is the answer.
    """

    classes: tuple[ClassVote, ...]
    matches: tuple[Match, ...]
    p: Tensor
    acted: tuple[ClassVote, ...]
    aligned: tuple[ClassVote, ...] = ()
    p_a: Tensor | None = None
    answer: Vote = "action"

    def lines(self) -> list[str]:
        """Write it for a terminal."""
        names = (*self.classes, *self.aligned)
        width = max(len(name) for name in (*(c.name for c in names), *(m.class_name for m in self.matches)))
        said = "" if self.answer == "action" else f" by {VOTE_TITLES[self.answer]}"
        lines = [f"most likely classes{said}", *(_vote_line(vote, width) for vote in self.classes)]
        if self.answer != "action":
            lines += ["by f_E", *(_vote_line(vote, width) for vote in self.acted)]
        if self.aligned:
            lines += ["by alignment", *(_vote_line(vote, width) for vote in self.aligned)]
        if self.matches:
            lines += ["best-aligned labelled clips", *(_match_line(match, width) for match in self.matches)]
        return lines


def _vote_line(vote: ClassVote, width: int) -> str:
    return f"{vote.name.ljust(width)}  {100 * vote.probability:5.1f} %"


def _match_line(match: Match, width: int) -> str:
    first, last = match.differs
    where = f"differs most in frames {first + 1}-{last + 1} of {len(match.cost)}"
    return f"{match.class_name.ljust(width)}  S {match.score:.3f}  D {match.distance:.3f}  {where}  {match.key}"


@torch.inference_mode()
def predict(
    run: Predictor, action_frames: Tensor, frame_frames: Tensor | None, *, top: int = 5, matches: int = 3
) -> Prediction:
    """Predict one video.

    action_frames: [V, T, C, H, W], the views f_E is tested with, softmax averaged over them (paper, sec 4.2);
    frame_frames: [T, C, H, W], the one view f_A embeds, None without alignment. `top` classes and `matches` exemplars
    come back, fewer where there are fewer. UserError when frames have another rank, hold no frame or give numbers that
    are not finite.
    """
    _check("action_frames", action_frames, 5, "[V, T, C, H, W]")
    p = _finite(run.action_encoder(action_frames).double().softmax(-1).mean(0)).cpu()
    found: tuple[Match, ...] = ()
    p_a: Tensor | None = None
    if run.alignment is not None and frame_frames is not None:
        _check("frame_frames", frame_frames, 4, "[T, C, H, W]")
        u = _finite(run.alignment.frame_encoder(frame_frames[None]).float()[0])
        found = best_aligned(run.alignment, run.classes, u, matches)
        p_a = aligned_vote(run.alignment, u)
    return _prediction(p, p_a, found, run, top)


def merged(several: Sequence[Prediction], run: Predictor, *, top: int = 5, matches: int = 3) -> Prediction:
    """Join what several label draws say about one video: mean probabilities, the best matches of all.

    run: the first of them, whose kind of answer is given.
    """
    if len(several) == 1:
        return several[0]
    votes = [one.p_a for one in several if one.p_a is not None]
    found = sorted((m for one in several for m in one.matches), key=lambda m: (-m.score, m.distance, m.key))
    best = {match.key: match for match in reversed(found)}  # a clip may be labelled in several draws
    kept = sorted(best.values(), key=lambda m: (-m.score, m.distance, m.key))[:matches]
    p = torch.stack([one.p for one in several]).mean(0)
    return _prediction(p, torch.stack(votes).mean(0) if votes else None, tuple(kept), run, top)


def _prediction(p: Tensor, p_a: Tensor | None, found: tuple[Match, ...], run: Predictor, top: int) -> Prediction:
    acted, aligned = _best(p, run.classes, top), () if p_a is None else _best(p_a, run.classes, top)
    answer: Vote = "action" if p_a is None else run.answer
    best = acted
    if p_a is not None:
        best = _best(torch.from_numpy(answers(p.numpy(), p_a.numpy())[answer]), run.classes, top)
    return Prediction(classes=best, matches=found, p=p, acted=acted, aligned=aligned, p_a=p_a, answer=answer)


def _best(p: Tensor, classes: Sequence[str], top: int) -> tuple[ClassVote, ...]:
    best = torch.topk(p, min(top, len(p)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple(ClassVote(name=classes[i], probability=value) for i, value in pairs)


@torch.inference_mode()
def aligned_vote(run: Alignment, u: Tensor) -> Tensor | None:
    """Give p_A [C] of an embedding u [T, F] as the method makes it of the mean scores of its gallery (eq. 7, 8)."""
    if run.gallery is None or run.vote is None:
        return None
    return run.vote(class_scores(u[None], run.gallery, run.scorer, run.loss)[0].double().cpu())


@torch.inference_mode()
def best_aligned(run: Alignment, classes: Sequence[str], u: Tensor, count: int) -> tuple[Match, ...]:
    """Choose the exemplars with the highest S for an embedding u [T, F]; equal scores go by the smaller distance."""
    gallery = run.exemplars
    distance = cross_distances(u[None], gallery.bank, run.loss)[0]
    pairs = list(zip(run.scorer(distance).tolist(), distance.tolist(), strict=True))
    order = sorted(range(len(pairs)), key=lambda i: (-pairs[i][0], pairs[i][1], gallery.keys[i]))
    names = [classes[label] for label in gallery.labels]
    return tuple(_match(run, names[i], u, i, pairs[i]) for i in order[:count])


def _match(run: Alignment, class_name: str, u: Tensor, i: int, scored: tuple[float, float]) -> Match:
    cost, alignment = (x.cpu() for x in soft_alignment(u, run.exemplars.embeddings[i], run.gamma))
    paid = cost_by_frame(cost, alignment)
    first, last = most_different(paid)
    return Match(
        key=run.exemplars.keys[i],
        class_name=class_name,
        score=scored[0],
        distance=scored[1],
        cost=cost,
        alignment=alignment,
        differs=(first, last),
        differs_cost=float(paid[first : last + 1].mean()),
        cost_mean=float(paid.mean()),
    )


def cost_by_frame(cost: Tensor, alignment: Tensor) -> Tensor:
    """Give what each frame of the video pays along the expected alignment, both [T, T']: a mean cost [T]."""
    return (cost * alignment).sum(1) / alignment.sum(1)


def most_different(paid: Tensor) -> tuple[int, int]:
    """Find the quarter of the frames that pays most, paid [T], as first and last frame; the earliest of equal ones."""
    width = max(1, len(paid) // 4)
    start = int(paid.unfold(0, width, 1).mean(1).argmax())
    return start, start + width - 1


def _finite(values: Tensor) -> Tensor:
    if not torch.isfinite(values).all():
        raise UserError(
            "predict: an encoder returned numbers that are not finite; the weights are those of a failed run"
        )
    return values


def _check(name: str, frames: Tensor, rank: int, shape: str) -> None:
    if frames.dim() != rank or 0 in frames.shape:
        raise UserError(f"predict: {name} has shape {list(frames.shape)}; give {shape}, no axis empty")
