"""Counts where the host asks a tensor for its numbers; on a GPU each of them would wait for the device."""

from __future__ import annotations

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "bincount"}


class Waits(TorchDispatchMode):
    """Counts operations whose result or its shape the host must know: `.item()`, masks as an index, `unique`."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        masks = name in {"index", "index_put", "index_put_", "_index_put_impl_"} and any(
            t is not None and t.dtype == torch.bool for t in args[1]
        )
        if name in ASKING or masks:
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))
