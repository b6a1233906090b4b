"""Streams side by side: what each yields at a step, whatever the others' lengths are."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.workers.streams import Streams, open_streams
from shards.errors import UserError


class Numbers:
    """A reader whose batches are their own names."""

    def __init__(self, length, bad=()):
        self.batches_per_epoch, self.bad, self.open = length, Counter(bad), 0

    def epoch(self, epoch, start=0):
        self.open += 1
        try:
            yield from ((epoch, index) for index in range(start, self.batches_per_epoch))
        finally:
            self.open -= 1


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 40), st.integers(1, 12))
def test_every_stream_is_where_its_own_length_puts_it(short, long, start, count):
    streams = Streams({"labelled": Numbers(short), "unlabelled": Numbers(long)})
    assert streams.batches_per_epoch == short
    batches = streams.batches(start)
    for step in range(start, start + count):
        assert next(batches) == {"labelled": divmod(step, short), "unlabelled": divmod(step, long)}


def test_closing_ends_every_reader_and_bad_clips_add_up():
    readers = {"a": Numbers(3, ["torn"]), "b": Numbers(2, ["torn", "empty"])}
    streams = Streams(readers)
    batches = streams.batches(0)
    next(batches)
    assert [reader.open for reader in readers.values()] == [1, 1]
    batches.close()
    assert [reader.open for reader in readers.values()] == [0, 0]
    assert streams.bad == {"torn": 2, "empty": 1}


def test_an_empty_pool_is_refused(tmp_path):
    import torch

    from jobs.config.recipes import load
    from jobs.workers.streams import StreamJob
    from shards.types import ItemTable

    cfg = load("smoke")
    job = StreamJob(name="unlabelled", items=ItemTable.unlabelled([]), reader=cfg.reader(cfg.action_input))
    with pytest.raises(UserError, match="stream unlabelled: it has no clip to read; is the unlabelled pool empty"):
        open_streams([job], tmp_path, seed=0, rank=0, world=1, device=torch.device("cpu"))
