from __future__ import annotations

import torch
from torch.nn import functional as F

from finepseudo.consistency.fusion_head import FusionHead


def test_it_is_what_the_paper_writes() -> None:
    torch.manual_seed(0)
    head = FusionHead(features=10, groups=3, classes=4, width=6).eval()
    f = torch.randn(2, 3, 10)
    singles = [F.layer_norm(F.gelu(head.single(f[:, i])), (6,)) for i in range(3)]
    pairs = [
        F.layer_norm(F.gelu(head.pair(torch.cat([f[:, i], f[:, j]], 1))), (6,)) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    whole = F.layer_norm(F.gelu(head.whole(torch.cat([*pairs, *singles], 1))), (6,))
    torch.testing.assert_close(head(f), head.classifier(whole))
    torch.testing.assert_close(head.classify(head.fuse(f)), head(f))


def test_one_group_needs_no_pairs() -> None:
    head = FusionHead(features=10, groups=1, classes=4, width=6)
    assert head(torch.randn(2, 1, 10)).shape == (2, 4)


def test_parameters_for_three_groups_of_a_base_and_a_small_transformer() -> None:
    def count(features: int) -> int:
        return sum(p.numel() for p in FusionHead(features, groups=3, classes=99).parameters())

    norms, whole, classifier = 3 * 512, 6 * 256 * 256 + 256, 256 * 99 + 99
    assert count(768) == 3 * 768 * 256 + 512 + norms + whole + classifier
    assert count(384) == 3 * 384 * 256 + 512 + norms + whole + classifier
