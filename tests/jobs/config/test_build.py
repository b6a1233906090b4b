"""Mappings to typed dataclasses and back, and mappings laid over each other."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config.build import build, merge, plain, set_dotted
from shards.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    mode: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = dataclasses.field(default_factory=Inner)
    count: int | None = None
    flag: bool = False


def test_types_are_checked_not_guessed():
    assert build(Outer, {"name": 3, "inner": {"sizes": [1]}}) == Outer(name="3", inner=Inner(sizes=(1,)))
    for values, message in [
        ({}, "name: a value is needed"),
        ({"name": "x", "count": 1.5}, "count = 1.5: must be a whole number"),
        ({"name": "x", "count": True}, "count = true: must be a whole number"),
        ({"name": "x", "flag": "yes"}, "flag = yes: must be true or false"),
        ({"name": "x", "inner": 3}, "inner = 3: must be a section"),
        ({"name": "x", "inner": {"mode": "c"}}, "inner.mode = c: must be one of a, b"),
        ({"name": "x", "inner": {"sizes": [1, "b"]}}, r"inner.sizes\[1\] = b: must be a whole number"),
    ]:
        with pytest.raises(UserError, match=message):
            build(Outer, values)


def test_a_key_that_stands_in_another_section_is_found_there():
    for values, message in [
        ({"name": "x", "mode": "b"}, r"mode: unknown key; did you mean inner\.mode\?"),
        ({"name": "x", "inner": {"rat": 1}}, r"inner\.rat: unknown key; did you mean inner\.rate\?"),
        ({"nme": "x"}, r"nme: unknown key; did you mean name\?"),
    ]:
        with pytest.raises(UserError, match=message):
            build(Outer, values)


trees = st.recursive(
    st.integers() | st.booleans() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
sections = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def oracle(base, over):
    """Merge by paths: every leaf of `over` replaces what lay at or below its path."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {k: oracle(base[k], over[k]) if k in base and k in over else (over | base)[k] for k in base | over}


@given(base=sections, over=sections)
def test_merge_against_an_oracle(base, over):
    before = repr(base), repr(over)
    assert merge(base, over) == oracle(base, over)
    assert (repr(base), repr(over)) == before, "nothing given is changed"


@given(values=sections, path=st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_a_dotted_key_is_found_again(values, path):
    made = dict(values)
    set_dotted(made, ".".join(path), "leaf")
    inner = made
    for name in path:
        inner = inner[name]
    assert inner == "leaf"
    assert set(made) == set(values) | {path[0]}


def test_plain_turns_paths_and_tuples_into_yaml():
    assert plain({"a": (1, Path("x")), "b": Inner()}) == {
        "a": [1, "x"],
        "b": {"rate": 0.1, "sizes": [1, 2], "mode": "a"},
    }
