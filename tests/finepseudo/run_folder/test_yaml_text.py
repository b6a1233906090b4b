"""YAML that reads back as it was written, whatever the text; dates are text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.run_folder.yaml_text import NoYaml, parse_yaml, read_yaml, yaml_text

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, st.booleans())
def test_what_is_written_reads_back(value, flow):
    assert parse_yaml(yaml_text(value, flow=flow)) == value


@pytest.mark.parametrize("text", ["2024-01-01", "2020-13-45", "2024-01-01 10:00:00"])
def test_a_date_is_the_text_that_it_is(text):
    assert parse_yaml(f"name: {text}") == {"name": text}


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"\0\0", b"name: [", b"a: b: c", b"[" * 3000, b"!!python/name:os.system"]
)
def test_what_is_no_yaml_is_said_in_one_line(tmp_path, content):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(NoYaml) as caught:
        read_yaml(tmp_path / "x.yaml")
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(NoYaml, match="No such file"):
        read_yaml(tmp_path / "x.yaml")
