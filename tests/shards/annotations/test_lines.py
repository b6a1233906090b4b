from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.annotations.config import DatasetConfig
from shards.annotations.lines import (
    numbered_lines,
    parse_lines,
    read_names,
    split_last,
    stem,
    videos_folder,
    whole_number,
)
from shards.errors import UserError

from .real import write


def _even(text):
    number = whole_number(text)
    if number % 2:
        raise ValueError("odd")
    return number


def test_the_first_three_bad_rows_are_named_with_their_line_numbers(tmp_path):
    path = write(tmp_path / "a.txt", "2\n\n1\n4\n3\nx\n5\n")
    with pytest.raises(UserError) as error:
        parse_lines(path, _even, "even numbers")
    message = str(error.value)
    assert "4 of 6 rows are bad" in message
    for part in ("line 3 '1' (odd)", "line 5 '3' (odd)", "line 6 'x' ('x' is not a whole number)", "even numbers"):
        assert part in message
    assert "line 7" not in message
    assert "\n" not in message


def test_crlf_byte_order_mark_blanks_and_missing_last_line_end(tmp_path):
    path = write(tmp_path / "a.txt", "\ufeff1 a \r\n\r\n2 b")
    assert numbered_lines(path) == [(1, "1 a"), (3, "2 b")]


def test_only_line_feeds_end_lines(tmp_path):
    path = write(tmp_path / "a.txt", "a\u2028b\x0cc 1\n")
    assert numbered_lines(path) == [(1, "a\u2028b\x0cc 1")]


@pytest.mark.parametrize(("text", "words"), [("", "holds no rows"), (None, "cannot be read")])
def test_nothing_to_read_is_refused(tmp_path, text, words):
    path = tmp_path / "a.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words):
        parse_lines(path, _even, "even numbers")


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 1\n")
    with pytest.raises(UserError, match="not UTF-8"):
        numbered_lines(tmp_path / "a.txt")


def test_class_names_are_unique_and_complete(tmp_path):
    path = write(tmp_path / "map.txt", "a\nb\na\n")
    with pytest.raises(UserError, match="'a' occurs twice"):
        read_names(path)
    with pytest.raises(UserError, match="holds 3 class names, 2 expected"):
        read_names(path, 2)


names = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1).filter(
    lambda name: not name.endswith(",")
)


@settings(deadline=None)
@given(names, st.sampled_from([" ", "\t", ",", ", ", "  "]), st.integers(0, 10**6))
def test_the_last_field_is_split_off_whatever_the_path_holds(name, separator, label):
    assert split_last(f"{name} x{separator}{label}") == (f"{name} x", str(label))


@pytest.mark.parametrize("text", ["alone", ",5", " 5", "a,", ""])
def test_a_row_without_two_fields_is_refused(text):
    with pytest.raises(ValueError, match="needed"):
        split_last(text)


@settings(deadline=None)
@given(names.filter(lambda name: "/" not in name and "\\" not in name and "." not in name))
def test_stem_undoes_folder_and_ending(name):
    assert stem(f"/root/a.b/{name}.avi") == name
    assert stem(f"C:\\videos\\{name}.MP4") == name
    assert stem(f"{name}.x1") == f"{name}.x1"


@pytest.mark.parametrize(
    ("videos", "folder"),
    [("s3://bucket/clips/", "s3://bucket/clips"), ("/data/", "/data"), ("", "/root/here/videos"), ("~", None)],
)
def test_video_folders_are_absolute_and_urls_stay(videos, folder):
    found = videos_folder(DatasetConfig(name="csv", root="/root/here", videos=videos))
    assert found == (folder or str(Path.home()))


@pytest.mark.parametrize("text", ["-1", "1.0", "", "٣", " 1"])
def test_only_plain_digits_are_numbers(text):
    with pytest.raises(ValueError, match="not a whole number"):
        whole_number(text)
