"""The words that lists use for the role of a clip."""

from __future__ import annotations

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
