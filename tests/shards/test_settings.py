"""Ranges, choices and rules of settings, and what is said when they are broken."""

import pickle
from dataclasses import dataclass, fields, replace
from typing import Literal

import pytest

from shards.settings import BadSetting, Range, Settings, declared, needed, section, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner(Settings):
    rate: float = setting(0.1, "a rate", source="a paper", above=0, at_most=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer(Settings):
    name: str = needed("a name")
    count: int | None = setting(None, "a count", at_least=1)
    sizes: tuple[int, ...] = setting((1, 2), "sizes", below=10)
    free: float = setting(0.0, "any number")
    mode: Literal["a", "b"] = setting("a", "a mode")
    inner: Inner = section(Inner, "a section")

    def check(self) -> None:
        if self.count == 7 and self.mode == "b":
            raise BadSetting("count", self.count, "not with mode b; take mode a")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"count": 0}, "count = 0: must be at least 1; the default is null"),
        ({"sizes": (1, 10)}, "sizes = [1, 10]: must be below 10; the default is [1, 2]"),
        ({"free": float("inf")}, "free = inf: must be a finite number; the default is 0.0"),
        ({"mode": "c"}, "mode = c: must be one of a, b"),
        ({"count": 7, "mode": "b"}, "count = 7: not with mode b; take mode a"),
    ],
)
def test_what_is_refused_and_how_it_is_said(values, said):
    with pytest.raises(BadSetting) as caught:
        Outer(name="x", **values)
    assert str(caught.value) == said
    with pytest.raises(BadSetting):
        replace(Outer(name="x"), **values)


def test_settings_and_refusals_survive_a_pickle():
    made = Outer(name="x", count=3)
    assert pickle.loads(pickle.dumps(made)) == made
    error = pickle.loads(pickle.dumps(BadSetting("a.b", 1, "must be 2; set 2")))
    assert (str(error), error.key, error.rule) == ("a.b = 1: must be 2; set 2", "a.b", "must be 2; set 2")


def test_defaults_pass_and_sections_are_not_shared():
    made = Outer(name="x", count=7)
    assert (made.sizes, made.mode, made.inner) == ((1, 2), "a", Inner())
    assert made.inner is not Outer(name="y").inner
    with pytest.raises(TypeError, match="name"):
        Outer()


def test_a_field_tells_its_help_and_source():
    (rate,) = fields(Inner)
    assert (declared(rate).text, declared(rate).source, str(declared(rate).range)) == ("a rate", "a paper", "in (0, 1]")


@pytest.mark.parametrize(
    ("bounds", "text", "inside", "outside"),
    [
        (Range(at_least=0), "at least 0", [0, 5], [-1, float("nan"), float("inf")]),
        (Range(above=0), "above 0", [0.1], [0]),
        (Range(at_most=3), "at most 3", [3, -9], [3.1]),
        (Range(at_least=0, below=1), "in [0, 1)", [0, 0.99], [1, -0.01]),
        (Range(), "", [0, -1e9], [float("-inf")]),
    ],
)
def test_ranges(bounds, text, inside, outside):
    assert str(bounds) == text
    assert all(map(bounds.holds, inside))
    assert not any(map(bounds.holds, outside))
