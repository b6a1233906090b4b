"""Numbers of clips by key, and the alignability vote that joins a teacher's."""

import numpy as np
import pytest
import torch

from finepseudo.consistency.side import ByKey, Vote

SCORES = np.array([[0.9, 0.1, 0.2], [0.2, 0.2, 0.8]], np.float32)
SIDE = ByKey(("b", "a"), SCORES)
MEAN = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64)


def p_a(place, tau):
    powers = np.exp(SCORES[place].astype(float) / tau)
    return torch.from_numpy(powers / powers.sum())


def test_rows_come_by_key_whatever_their_order_and_a_missing_one_is_said():
    rows, known = SIDE.rows(("a", "nowhere", "b", "a"), MEAN)
    assert known.tolist() == [True, False, True, True]
    assert rows.dtype == MEAN.dtype
    wanted = [SCORES[1], [0, 0, 0], SCORES[0], SCORES[1]]
    torch.testing.assert_close(rows, torch.tensor(np.array(wanted)).double())
    assert SIDE.rows((), MEAN)[0].shape == (0, 3)


@pytest.mark.parametrize("shares", [(0.25, 0.75), (1.0, 0.0), (0.5, 0.5)])
def test_each_share_mixes_its_own(shares):
    label, weight = Vote(SIDE, 0.2, *shares)(("a", "b", "nowhere"), MEAN)
    for found, share in zip((label, weight), shares, strict=True):
        for row, place in ((0, 1), (1, 0)):
            torch.testing.assert_close(
                found[row], (1 - share) * MEAN[row] + share * p_a(place, 0.2), rtol=1e-6, atol=1e-6
            )
        assert torch.equal(found[2], MEAN[2]), "a clip without scores is the teacher's alone"


def test_no_share_is_no_change_to_the_bit():
    label, weight = Vote(SIDE, 0.1, 0.0, 0.0)(("a", "b", "nowhere"), MEAN)
    assert torch.equal(label, MEAN) and torch.equal(weight, MEAN)
