import pytest

from shards.check.hopeless import hopeless

MANY = [0, 1, 2] * 10


@pytest.mark.parametrize(
    ("labelled", "tested", "said"),
    [
        ([0, 0, 1, 1, 2, 2], MANY, []),
        ([0, 0, 1, 1, -1], [*MANY, -1], []),
        ([0, 0, 1, 2], MANY, ["2 of 3 classes have one labelled clip (b, c)"]),
        ([0, 0], [0] * 30, ["all labelled clips are of one class (a)"]),
        ([0], MANY, ["all labelled clips are of one class (a)"]),
        ([0, 0, 1, 1], [1] * 30, ["all test clips are of one class (b)"]),
        ([0, 0, 1, 1], [0, 1, 0, 1], []),
        ([0, 0, 1, 1], [], []),
        ([], [], []),
    ],
)
def test_what_nothing_can_be_learned_from_is_said(labelled, tested, said):
    found = list(hopeless(labelled, tested, ["a", "b", "c"]))
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))
