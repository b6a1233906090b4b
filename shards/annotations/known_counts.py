"""What a complete copy of each data set holds; every number was counted on the official lists."""

from __future__ import annotations

from typing import NamedTuple


class KnownCounts(NamedTuple):
    """Classes of the head, clips of the training pool and the test set, and classes that occur in each of the two."""

    classes: int
    train: int
    test: int
    train_classes: int
    test_classes: int


KNOWN_COUNTS: dict[tuple[str, str], KnownCounts] = {
    ("diving48", "V2"): KnownCounts(48, 15_027, 1_970, 47, 47),
    ("finegym-gym99", "v1.0"): KnownCounts(99, 20_484, 8_521, 99, 99),
    ("finegym-gym99", "v1.1"): KnownCounts(99, 26_320, 8_521, 99, 99),
    ("finegym-gym288", "v1.0"): KnownCounts(288, 22_671, 9_646, 287, 288),
    ("finegym-gym288", "v1.1"): KnownCounts(288, 29_334, 9_646, 288, 288),
    ("finegym-VT", "v1.0"): KnownCounts(6, 1_074, 446, 6, 6),
    ("finegym-VT", "v1.1"): KnownCounts(6, 1_080, 446, 6, 6),
    ("finegym-FX", "v1.0"): KnownCounts(35, 5_385, 2_226, 35, 35),
    ("finegym-FX", "v1.1"): KnownCounts(35, 5_408, 2_226, 35, 35),
    ("finegym-BB", "v1.0"): KnownCounts(33, 7_307, 3_035, 33, 33),
    ("finegym-BB", "v1.1"): KnownCounts(33, 10_238, 3_035, 33, 33),
    ("finegym-UB", "v1.0"): KnownCounts(25, 6_718, 2_814, 25, 25),
    ("finegym-UB", "v1.1"): KnownCounts(25, 9_594, 2_814, 25, 25),
    ("finegym-UB_S1", "v1.0"): KnownCounts(15, 3_511, 1_471, 15, 15),
    ("finegym-UB_S1", "v1.1"): KnownCounts(15, 4_964, 1_471, 15, 15),
    ("finegym-FX_S1", "v1.0"): KnownCounts(11, 1_882, 777, 11, 11),
    ("finegym-FX_S1", "v1.1"): KnownCounts(11, 1_892, 777, 11, 11),
    ("finegym-Gym_new", "v1.1"): KnownCounts(40, 6_508, 1_998, 40, 40),
    ("finediving", "action"): KnownCounts(52, 2_251, 749, 52, 44),
    ("finediving", "subaction"): KnownCounts(29, 7_491, 2_508, 28, 27),
    ("finediving-10m", "action"): KnownCounts(31, 600, 200, 31, 26),
    ("finediving-5253b", "subaction"): KnownCounts(7, 602, 232, 7, 4),
    ("ssv2", "v2"): KnownCounts(174, 168_913, 24_777, 174, 174),
    ("ssv2", "mini"): KnownCounts(87, 81_663, 11_799, 87, 87),
    ("ucf101", "split1"): KnownCounts(101, 9_537, 3_783, 101, 101),
    ("ucf101", "split2"): KnownCounts(101, 9_586, 3_734, 101, 101),
    ("ucf101", "split3"): KnownCounts(101, 9_624, 3_696, 101, 101),
    ("hmdb51", "split1"): KnownCounts(51, 3_570, 1_530, 51, 51),
    ("hmdb51", "split1+unused"): KnownCounts(51, 5_236, 1_530, 51, 51),
    ("penn_action", "phases"): KnownCounts(13, 1_140, 966, 13, 13),
}
"""(dataset, version) of the annotations -> counts; Kinetics-400 is not here, its lists shrink as videos vanish."""
