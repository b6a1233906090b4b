"""Do frame embeddings know the phase of an action? Three tasks of one action (TCC, CARL; FinePseudo, Tables 9 and 13).

Phase classification: a linear classifier on frames. Event progress: a linear regression of how far a frame is from the
end of each phase. Kendall's tau: does the nearest frame of another video move forward as time does? Frames whose phase
is below 0 have none and count for the last task alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PhasedVideo:
    """Some frames of one video, in order: embeddings [n, F], phases [n] (below 0 = none), places [n] in the video.

    length: frames of the whole video. last: the last frame [P] of each phase; of a phase that does not occur, that of
    the phases before it (-1 where there is none).
    """

    embeddings: Floats
    phases: Ints
    places: Ints
    length: int
    last: Ints

    @staticmethod
    def of(embeddings: npt.ArrayLike, places: npt.ArrayLike, every: Sequence[int], phases: int) -> PhasedVideo:
        """Take the frames at `places` of a video whose frames have the phases `every`, each frame once."""
        at, first = np.unique(np.asarray(places, np.int64), return_index=True)
        whole = np.asarray(every, np.int64)
        ends = [np.flatnonzero((whole >= 0) & (whole <= p)).max(initial=-1) for p in range(phases)]
        rows = np.asarray(embeddings, np.float64)[first]
        return PhasedVideo(rows, whole[at], at, len(whole), np.asarray(ends, np.int64))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """The frames that have a phase."""
        return self.phases >= 0


def phase_accuracy(train: Sequence[PhasedVideo], test: Sequence[PhasedVideo]) -> float | None:
    """Accuracy on the frames of `test` of a multinomial logistic regression on those of `train`, as CARL's.

    With an L2 penalty of 1 / 2 on the weights beside the sum of losses. None where either has no frame with a phase.
    """
    (x, y), (asked, truth) = (_frames(videos) for videos in (train, test))
    if not len(x) or not len(asked):
        return None
    classes, targets = np.unique(y, return_inverse=True)
    weights, bias = _logistic(torch.from_numpy(x), torch.from_numpy(targets), len(classes))
    said = classes[(asked @ weights.T + bias).argmax(1)]
    return float((said == truth).mean())


def _frames(videos: Sequence[PhasedVideo]) -> tuple[Floats, Ints]:
    rows = [video.embeddings[video.known] for video in videos]
    phases = [video.phases[video.known] for video in videos]
    return (np.concatenate(rows), np.concatenate(phases)) if rows else (np.empty((0, 0)), np.empty(0, np.int64))


def _logistic(x: torch.Tensor, y: torch.Tensor, classes: int) -> tuple[Floats, Floats]:
    weights = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    solver = torch.optim.LBFGS([weights, bias], max_iter=500, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(x @ weights.T + bias, y, reduction="sum") + weights.square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach().numpy(), bias.detach().numpy()


def event_progress(train: Sequence[PhasedVideo], test: Sequence[PhasedVideo]) -> float | None:
    """Mean R^2 on `test` of linear regressions of (frame - last frame of phase p) / length, p each phase but the last.

    On frames with a phase. None where either set has none, there is a single phase, or a target does not vary.
    """
    rows = [_progress(videos) for videos in (train, test)]
    (x, y), (asked, truth) = rows
    if not len(x) or not len(asked) or not y.shape[1]:
        return None
    one = [np.concatenate([part, np.ones((len(part), 1))], axis=1) for part in (x, asked)]
    solution = np.linalg.lstsq(one[0], y, rcond=None)[0]
    left = np.square(truth - one[1] @ solution).sum(0)
    spread = np.square(truth - truth.mean(0)).sum(0)
    return float((1 - left / spread).mean()) if (spread > 0).all() else None


def _progress(videos: Sequence[PhasedVideo]) -> tuple[Floats, Floats]:
    """Embeddings [N, F] and targets [N, P - 1] of the frames with a phase."""
    if not videos:
        return np.empty((0, 0)), np.empty((0, 0))
    targets = [(v.places[:, None] - v.last[None, :-1])[v.known] / v.length for v in videos]
    return np.concatenate([v.embeddings[v.known] for v in videos]), np.concatenate(targets)


def kendalls_tau(videos: Sequence[PhasedVideo]) -> float | None:
    """Mean over ordered pairs of videos of the tau between time and the nearest frame (Euclid) in the other one.

    Pairs whose tau is not defined, every frame having the same nearest one, are left out. None where none is left.
    """
    found = [
        tau_b(np.square(one.embeddings[:, None] - other.embeddings[None]).sum(-1).argmin(1))
        for one in videos
        for other in videos
        if one is not other
    ]
    known = [tau for tau in found if tau is not None]
    return float(np.mean(known)) if known else None


def tau_b(values: npt.ArrayLike) -> float | None:
    """Kendall's tau-b of values [n] with 0, 1, .., n - 1; None where all values are equal."""
    value = np.asarray(values)
    first, second = np.triu_indices(len(value), k=1)
    signs = np.sign(value[second] - value[first])
    untied = int(np.abs(signs).sum())
    return float(signs.sum() / np.sqrt(float(untied) * len(signs))) if untied else None
