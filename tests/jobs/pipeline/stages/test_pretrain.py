"""What pre-training says of clips that are short for its two clips."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.pipeline.stages.pretrain import slowed_note


@pytest.mark.parametrize(
    ("lengths", "frames", "said"),
    [
        ([154, 200, 63], 32, None),
        ([30, 200], 32, None),
        ([36, 36, 300], 32, "2 of 3 clips have fewer than 63 frames and are slowed down; "
         "pretrain.input.sampling.frames=18 fits half of them"),
        ([9, 9, 9], 8, "3 of 3 clips have fewer than 15 frames and are slowed down"),
    ],
)  # fmt: skip
def test_short_clips_are_said(lengths: list[int], frames: int, said: str | None) -> None:
    assert slowed_note(np.array(lengths, np.int32), frames) == said
