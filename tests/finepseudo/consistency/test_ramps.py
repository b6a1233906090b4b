from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.consistency import ramps


def test_sines_of_the_paper() -> None:
    expected = {0: 0, 4: 0, 5: 0.063, 10: 0.368, 17: 0.729, 24: 0.951, 29: 1}
    for epoch, weight in expected.items():
        assert ramps.sine(epoch, 5, 30) == pytest.approx(weight, abs=5e-4)


@given(warm=st.floats(0, 50), length=st.floats(1, 100), a=st.floats(0, 200), b=st.floats(0, 200))
def test_a_ramp_rises_from_0_to_1_and_stays(warm: float, length: float, a: float, b: float) -> None:
    low, high = sorted((a, b))
    for ramp in (lambda x: ramps.sine(x, warm, warm + length), lambda x: ramps.linear(x, warm, warm + length)):
        assert 0 <= ramp(low) <= ramp(high) + 1e-12 <= 1 + 1e-9
        assert ramp(warm + length + 1) == pytest.approx(1)


def test_the_ramp_of_lee() -> None:
    assert [3 * ramps.linear(t, 100, 600) for t in (99, 100, 350, 600)] == [0, 0, 1.5, 3]
    assert [ramps.step(e, 5) for e in (4, 5)] == [0, 1]
    assert ramps.linear(3, 3, 3) == 1
    assert math.isclose(ramps.linear(2, 3, 3), 0)
