"""Numbers of single clips that earlier stages made, looked up by key where a step needs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finepseudo.compute.networks import sent


class ByKey:
    """A table of numbers on the host, never of true labels; a step brings the rows of its clips to the device."""

    def __init__(self, keys: Sequence[str], values: npt.NDArray[np.float32]) -> None:
        """Take the table: keys [N], values [N, D]."""
        self.keys, self.values = list(keys), torch.from_numpy(np.ascontiguousarray(values, np.float32))
        self._places = {key: place for place, key in enumerate(self.keys)}

    def rows(self, keys: Sequence[str], like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows [B, D] of these clips and whether each has one, bool [B]; rows that are not there are 0.

        They are on the device and of the dtype of `like`; a GPU is not waited for.
        """
        found = [self._places.get(key) for key in keys]
        known = torch.tensor([place is not None for place in found], dtype=torch.bool)
        rows = self.values[[place or 0 for place in found]] * known[:, None]
        return sent(rows.to(like.dtype), like.device), sent(known, like.device)


class Vote:
    """The alignability vote beside the teacher's (finepseudo_sefar): p_A = softmax(S / tau), eq. (8) of FinePseudo.

    What is believed of a clip is (1 - share) p_teacher + share p_A: with `target_share` for the label and the mixed
    target, with `weight_share` for the confidence that weighs it. A clip without scores is the teacher's alone.
    """

    def __init__(self, scores: ByKey, tau: float, target_share: float, weight_share: float) -> None:
        """Take the class-wise alignability S [N, C] of the pool."""
        self.table, self.tau, self.shares = scores, tau, (target_share, weight_share)

    def __call__(self, keys: Sequence[str], mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the label is taken from and what its confidence is taken from, [N, C] each; mean: the teacher."""
        scores, known = self.table.rows(keys, mean)
        p_a = (scores / self.tau).softmax(dim=1)
        label, weight = (torch.where(known[:, None], torch.lerp(mean, p_a, share), mean) for share in self.shares)
        return label, weight
