"""Counts where the host asks a tensor for its numbers, or hands some over; on a GPU each would wait for the device."""

from __future__ import annotations

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "bincount"}


class Waits(TorchDispatchMode):
    """Counts operations whose result or its shape the host must know: `.item()`, masks as an index, `unique`.

    And copies from one device to another that are waited for: a meta tensor's does for a GPU's.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        masks = name in {"index", "index_put", "index_put_", "_index_put_impl_"} and any(
            t is not None and t.dtype == torch.bool for t in args[1]
        )
        kwargs = kwargs or {}
        to = kwargs.get("device") if name == "_to_copy" else None
        waited = to is not None and torch.device(to) != args[0].device and not kwargs.get("non_blocking")
        asking = (name in ASKING or masks) and args[0].device.type == self.device
        if asking or waited:
            self.seen[name] += 1
        return func(*args, **kwargs)
