import pickle
import pickletools
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shards.annotations.restricted_pickle import load_restricted
from shards.errors import UserError


class _Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _load(tmp_path, raw):
    path = tmp_path / "a.pkl"
    path.write_bytes(raw)
    return load_restricted(path)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(value=plain, protocol=st.integers(3, 4))
def test_plain_values_come_back(tmp_path_factory, value, protocol):
    assert _load(tmp_path_factory.mktemp("p"), pickle.dumps(value, protocol)) == value


@settings(max_examples=40, deadline=None)
@given(
    array=hnp.arrays(
        st.sampled_from(["<i8", ">i4", "<f4", "<f8", "?", "<U5", "S3", "u1"]),
        hnp.array_shapes(min_dims=0, max_dims=3, max_side=4),
    ),
    fortran=st.booleans(),
)
def test_arrays_and_scalars_come_back(tmp_path_factory, array, fortran):
    array = np.asfortranarray(array) if fortran else array
    folder = tmp_path_factory.mktemp("p")
    loaded = _load(folder, pickle.dumps({"a": array, "s": array.reshape(-1)[0]}, 3))
    np.testing.assert_array_equal(loaded["a"], array)
    assert loaded["a"].dtype == array.dtype
    scalar = array.reshape(-1)[0].item()
    assert loaded["s"] == scalar or scalar != scalar


def test_arrays_of_objects_become_lists(tmp_path):
    array = np.array(["a", 1, None, np.arange(3)], dtype=object)
    loaded = _load(tmp_path, pickle.dumps([array], 3))
    assert loaded[0][:3] == ["a", 1, None]
    np.testing.assert_array_equal(loaded[0][3], np.arange(3))


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Path("x"), "pathlib"),
        (Fraction(1, 2), "fractions.Fraction"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (_Evil(eval, "1"), "builtins.eval"),
        (_Evil(getattr, "a", "upper"), "builtins.getattr"),
        (np.datetime64("2020-01-01"), "dtype 'M8'"),
        (np.zeros(2, dtype=[("a", "i4")]), "dtype 'V4'"),
        (np.ma.masked_array([1]), "numpy.ma"),
    ],
)
def test_everything_else_is_refused_by_name(tmp_path, thing, name):
    with pytest.raises(UserError, match="refused") as error:
        _load(tmp_path, pickle.dumps({"x": thing}, 3))
    assert name in str(error.value)


def test_nothing_named_in_the_file_is_called(tmp_path):
    with pytest.raises(UserError, match=r"posix\.system|nt\.system|os\.system"):
        _load(tmp_path, pickle.dumps(_Evil(__import__("os").system, f"touch {tmp_path}/called"), 3))
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_file_that_is_cut_off_is_refused(tmp_path, cut):
    raw = pickle.dumps({"a": np.arange(20), "b": ["x"] * 5}, 3)
    with pytest.raises(UserError, match="refused"):
        _load(tmp_path, raw[:cut])


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused_but_never_crashes(tmp_path_factory, position, byte):
    raw = bytearray(pickle.dumps({"a": np.arange(5, dtype="<i4"), ("01", 3): np.float64(2.5), "c": "text"}, 3))
    raw[position % len(raw)] = byte
    try:
        _load(tmp_path_factory.mktemp("p"), bytes(raw))
    except UserError as error:
        assert "refused" in str(error)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be opened"):
        load_restricted(tmp_path / "no.pkl")


def test_protocol_three_arrays_name_only_numpy():
    """The list of allowed names is what protocol 3 arrays need, on this numpy."""
    ops = pickletools.genops(pickle.dumps({"a": np.arange(2), "s": np.float32(1)}, 3))
    names = {argument.split(" ")[0] for opcode, argument, _ in ops if opcode.name == "GLOBAL"}
    assert names <= {"numpy", "numpy._core.multiarray", "numpy.core.multiarray"}
