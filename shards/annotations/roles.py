"""What lists and folders say without a word of their own: the role of a clip, the video that it was cut from."""

from __future__ import annotations

import re

CLIP_ROLES = ("train", "test", "labelled", "unlabelled")
"""The roles of clips."""
VAL = "val"
"""A role of lists, not of clips: the test where a list has no other, else a part of the training clips."""
_WORDS = {
    "train": "train training trainval",
    "test": "test testing eval evaluation",
    VAL: "val valid validation dev",
    "labelled": "labelled labeled annotated",
    "unlabelled": "unlabelled unlabeled unlabel unannotated pool",
}
LIST_ROLES = {word: role for role, words in _WORDS.items() for word in words.split()}
"""Word -> role, VAL among the roles."""
ROLE_RULE = f"{', '.join(CLIP_ROLES)} or {VAL}"


def role_word(text: str) -> str | None:
    """Give the role that a cell names, or None.

    >>> role_word("Labeled"), role_word("validation"), role_word("trian")
    ('labelled', 'val', None)
    """
    return LIST_ROLES.get(text.strip().lower())


_CUTS = (
    re.compile(r"(v_.+_g\d{2})_c\d{2}"),  # UCF101: v_<class>_g<video>_c<clip>
    re.compile(r"(.{11})_\d{6}_\d{6}"),  # Kinetics: <video>_<start>_<end>
    re.compile(r"(.{11})_E_\d{6}_\d{6}(?:_A_\d{4}_\d{4})?"),  # FineGym: <video>_E_<event>_A_<element>
)


def source_of(stem: str) -> str:
    """Give the video that a file was cut from, where its name follows a known scheme; else nothing.

    >>> source_of("v_Diving_g01_c02"), source_of("dive 3")
    ('v_Diving_g01', '')
    """
    return next((match[1] for scheme in _CUTS if (match := scheme.fullmatch(stem))), "")
