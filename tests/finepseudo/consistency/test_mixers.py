from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from finepseudo.consistency.mixers import PATCH, actor_weight, box_mask, mix, partners, token_mask


@given(st.lists(st.booleans(), max_size=9))
def test_partners_are_mutual_usable_neighbours(valid: list[bool]) -> None:
    other = partners(torch.tensor(valid, dtype=torch.bool))
    assert other[other].tolist() == list(range(len(valid)))
    for place, partner in enumerate(other.tolist()):
        assert partner == place or (partner == place ^ 1 and valid[place] and valid[partner])
    if valid[:2] == [True, True]:
        assert other[:2].tolist() == [1, 0]


def test_partners_do_not_depend_on_the_number_of_ranks() -> None:
    valid = torch.rand(12) < 0.8
    whole = partners(valid)
    parts = [partners(valid[first : first + 4]) + first for first in (0, 4, 8)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_mask_keeps_its_share_of_whole_blocks() -> None:
    mask = token_mask(224, 224, 0.37, torch.Generator().manual_seed(0))
    blocks = mask.view(14, PATCH, 14, PATCH).transpose(1, 2).flatten(2)
    assert bool((blocks == blocks[..., :1]).all())
    assert int(blocks[..., 0].sum()) == int(0.37 * 196)


def test_mixing_pixels_equals_mixing_tokens_of_a_patch_embedding() -> None:
    embed = nn.Conv2d(3, 8, PATCH, PATCH)
    own, other = torch.randn(2, 3, 64, 48), torch.randn(2, 3, 64, 48)
    mask = token_mask(64, 48, 0.5, torch.Generator().manual_seed(3))
    tokens = torch.where(mask[::PATCH, ::PATCH], embed(own), embed(other))
    torch.testing.assert_close(embed(mix(own, other, mask)), tokens)


def test_mixed_pixels_and_mixed_labels_have_one_partner() -> None:
    clips = torch.arange(6.0).view(6, 1, 1, 1, 1).expand(6, 2, 3, 32, 32)
    labels = torch.eye(6)
    other = partners(torch.ones(6, dtype=torch.bool))
    mixed = mix(clips, clips[other], token_mask(32, 32, 0.5, torch.Generator().manual_seed(0)))
    target = 0.5 * labels + 0.5 * labels[other]
    for clip in range(6):
        assert set(mixed[clip].unique().tolist()) == set(target[clip].nonzero()[:, 0].tolist())


def test_actors() -> None:
    boxes = torch.tensor([[[[1, 2, 3, 4], [0, 0, 0, 0]]], [[[0, 0, 4, 4], [0, 0, 0, 0]]]]).float()
    mask = box_mask(boxes, 4, 4)
    assert mask.shape == (2, 1, 1, 4, 4)
    assert mask[0, 0, 0].nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]
    assert actor_weight(mask).tolist() == pytest.approx([1 - 0.75**4, 1])
