"""The words of counts and of names that a terminal would obey."""

from hypothesis import given
from hypothesis import strategies as st

from shards.errors import counted, visible


def test_a_count_has_its_noun():
    assert [counted(n, "problem") for n in (0, 1, 2, 1234)] == [
        "0 problems",
        "1 problem",
        "2 problems",
        "1,234 problems",
    ]
    assert [counted(n, "class has", "classes have") for n in (1, 2)] == ["1 class has", "2 classes have"]


@given(st.text())
def test_what_is_visible_is_one_printable_line_and_plain_text_stays(text):
    assert visible(text).isprintable()
    assert visible(text) == text or not text.isprintable()


def test_escapes_say_what_they_stand_for():
    assert visible("a\x1b[31m\u0085é\n") == "a\\x1b[31m\\x85é\\n"
