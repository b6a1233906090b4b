"""Tables of items, and the batches of an epoch."""

from __future__ import annotations

import numpy as np

from shards.read.config import OrderConfig
from shards.read.order import BatchOrder
from shards.types import ItemTable


def table(labels: list[int], pseudo: list[bool] | None = None) -> ItemTable:
    n = len(labels)
    flags = np.zeros(n, np.bool_) if pseudo is None else np.array(pseudo, np.bool_)
    return ItemTable(keys=[f"k{i}" for i in range(n)], labels=np.array(labels, np.int32), pseudo=flags)


def epoch_of(items: ItemTable, cfg: OrderConfig, seed: int, epoch: int) -> list[np.ndarray]:
    order = BatchOrder(items, cfg, seed)
    return [order.batch(epoch, b) for b in range(order.length)]
