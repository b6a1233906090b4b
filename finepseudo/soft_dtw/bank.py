"""The gallery, normalised and packed once a round."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from finepseudo.soft_dtw import backends, checks, native, ops, rows

BANK_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class AlignmentBank:
    """Embeddings [G, T, F] that many videos are aligned with.

    `lengths` int [G] (None: all T); `labels` int [G] in 0..C-1 (needed by `class_alignability` only); `n_classes` is
    C (None: the largest label + 1). Moved, cast and packed for a backend on its first use there, then kept.

    `dtype` is what unit rows are rounded to, on both sides, before the product; sums and recursion stay float32
    (float64 for float64). Largest error of D for unit rows of F = 128, T = 16 / 32 / 64: float32 2.5e-6 / 8e-6 / 2e-5,
    float16 3e-4 / 6e-4 / 8e-4, bfloat16 4e-3 / 5e-3 / 5e-3 (D itself is 2..60). bfloat16 is the fast one on
    GPUs and on processors with a matrix unit (AMX); without one it may be slower than float32.
    """

    def __init__(
        self,
        embeddings: Tensor,
        lengths: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        dtype: torch.dtype | None = None,
        n_classes: int | None = None,
    ) -> None:
        """Check, normalise and keep the gallery; ValueError names the argument that is wrong."""
        checks.embeddings("embeddings", embeddings)
        if len(embeddings) == 0:
            raise ValueError("embeddings holds no video; a gallery needs at least one")
        self.dtype = rows.working_dtype(embeddings) if dtype is None else dtype
        if self.dtype not in BANK_DTYPES:
            raise ValueError(f"dtype is {self.dtype}; it must be float32, float16, bfloat16 or float64")
        count, frames, self.features = embeddings.shape
        self.device = embeddings.device
        self.lengths = checks.lengths_tensor("lengths", lengths, count, frames, self.device)
        self.labels, self.n_classes = _check_labels(labels, n_classes, count, self.device)
        self.unit = self.rounded(embeddings.detach(), self.lengths)
        self._packed: dict[str, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Count the videos."""
        return len(self.unit)

    def rounded(self, embeddings: Tensor, lengths: Tensor, backend: str = "torch") -> Tensor:
        """Make unit rows [B, T, F] in the dtype of the recursion, rounded to the bank's dtype."""
        if backends.is_triton(backend):
            unit: Tensor = ops.unit_rows(embeddings.float(), lengths)
            return unit.to(self.dtype).float()
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        return rows.unit_rows(embeddings, lengths).to(self.dtype).to(wide)

    @functools.cached_property
    def members(self) -> tuple[Tensor, Tensor]:
        """The videos of each class, padded: indices [C, R] and which are real, bool [C, R].

        Raises ValueError for a bank without labels.
        """
        if self.labels is None:
            raise ValueError("bank has no labels; make it with AlignmentBank(embeddings, labels=...)")
        counts = torch.bincount(self.labels, minlength=self.n_classes)
        order = torch.argsort(self.labels, stable=True)
        first = torch.cumsum(counts, 0) - counts
        slot = torch.arange(max(1, int(counts.max())), device=self.device)
        present = slot < counts[:, None]
        return order[torch.where(present, first[:, None] + slot, 0)], present

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def operand(self, backend: str) -> tuple[Tensor, Tensor]:
        """Return the packed gallery for a resolved backend and the order [G] of the videos in it."""
        special = backends.is_native(backend) or backends.is_triton(backend)
        kind = backend if special else "time-major"
        if kind not in self._packed:
            self._packed[kind] = self._pack(kind)
        return self._packed[kind]

    def _pack(self, kind: str) -> tuple[Tensor, Tensor]:
        """Pack for compiled code, for Triton in the bank's own dtype, or as [T, G, F] in that of the recursion."""
        if backends.is_native(kind):
            return native.pack(self.unit, self.lengths, self.dtype, kind)
        order = torch.arange(len(self), device=self.device)
        if backends.is_triton(kind):
            from finepseudo.soft_dtw import triton_fused

            return triton_fused.pack(self.unit.to(self.dtype)), order
        return self.unit.transpose(0, 1).contiguous(), order


def _check_labels(
    labels: Tensor | None, n_classes: int | None, count: int, device: torch.device
) -> tuple[Tensor | None, int]:
    if labels is None:
        return None, 0
    value = torch.as_tensor(labels, device=device)
    if value.shape != (count,) or value.dtype.is_floating_point or value.dtype == torch.bool:
        raise ValueError(f"labels is {value.dtype} {list(value.shape)}; it must be integers [{count}], one per video")
    value = value.to(torch.int64)
    classes = int(value.max()) + 1 if n_classes is None else n_classes
    if int(value.min()) < 0 or int(value.max()) >= classes:
        span = f"{int(value.min())}..{int(value.max())}"
        raise ValueError(f"labels spans {span}; every label must be in 0..{classes - 1} (a gallery is labelled)")
    return value, classes
