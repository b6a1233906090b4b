"""What the class column of a list means: which classes there are, which rows have none, and what looks odd.

A token is a class when a class file names it, or, without such a file, when nothing speaks against it. What speaks
against it is an error where it cannot be a class, and a remark where it may be one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.annotations.lines import numbered_lines, one_form, read_json
from shards.errors import UserError
from shards.types import NO_LABEL

NO_CLASS = frozenset({"", "-1", "-1.0", "nan", "unlabelled", "unlabeled"})
"""What stands in the class column of a clip whose class is not known."""
_MAYBE_NO_CLASS = frozenset({"none", "null", "n/a", "na", "?", "unknown", "undefined", "todo", "-"})
_HEADER_WORDS = frozenset(
    {"class", "class_name", "classname", "label", "label_name", "labels", "tag", "tags", "category"}
)
_NUMBER = re.compile(r"(\d{1,6})(?:\.0+)?")  # spreadsheets and pandas write a column of numbers with gaps as floats
_NUMBER_FIRST = re.compile(r"(\d{1,6})(?:\s*[,;:\t]\s*|\s+)(\S.*)")
_NUMBER_LAST = re.compile(r"(.*\S)\s*[,;:\t]\s*(\d{1,6})")
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """Class names (index = label), the label of each token of the list, and remarks for the user."""

    names: Sequence[str]
    of: Mapping[str, int]
    remarks: Sequence[str] = ()

    def label(self, token: str) -> int | None:
        """Look a token up: NO_LABEL where it says that there is no class, None where it is no class."""
        if token.lower() in NO_CLASS and token not in self.of:
            return NO_LABEL
        match = _NUMBER.fullmatch(token)
        return self.of.get(token, self.of.get(str(int(match[1]))) if match else None)


def read_class_file(path: Path) -> Classes:
    """Read class names, one a line, index = line; or with their own numbers (`1 jump`, `jump,1`, a JSON mapping).

    A list then uses the names or those numbers. UserError when a name or a number occurs twice.
    """
    pairs = _json_pairs(path) if path.suffix.lower() == ".json" else _text_pairs(path)
    for what, values in (("class names", [name for _, name in pairs]), ("numbers", [str(n) for n, _ in pairs])):
        doubled = [value for value, count in Counter(values).items() if count > 1]
        if doubled:
            raise UserError(f"{path}: {what} twice: {', '.join(doubled[:_SHOWN])}; each line must be another class")
    pairs = sorted((number, one_form(name)) for number, name in pairs)
    names = [name for _, name in pairs]
    of = {str(number): label for label, (number, _) in enumerate(pairs)}
    return Classes(names=names, of=of | {name: label for label, name in enumerate(names)})


def _text_pairs(path: Path) -> list[tuple[int, str]]:
    texts = [text for _, text in numbered_lines(path)]
    if not texts:
        raise UserError(f"{path} is empty; a class file has one name a line")
    for pattern, number, name in ((_NUMBER_FIRST, 1, 2), (_NUMBER_LAST, 2, 1)):
        rows = texts if pattern.fullmatch(texts[0]) else texts[1:]  # a header may name the columns
        matches = [pattern.fullmatch(text) for text in rows]
        pairs = [(int(match[number]), match[name].strip('" ')) for match in matches if match]
        if rows and len(dict(pairs)) == len({name for _, name in pairs}) == len(rows):  # not `1 m dive`, `3 m dive`
            return pairs
    return list(enumerate(texts))


def _json_pairs(path: Path) -> list[tuple[int, str]]:
    value = read_json(path)
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return list(enumerate(value))
    if isinstance(value, dict):
        pairs = [(key, str(item)) for key, item in value.items()]
        if all(number.isdecimal() for _, number in pairs):
            return [(int(number), name) for name, number in pairs]
        if all(number.isdecimal() for number, _ in pairs):
            return [(int(number), name) for number, name in pairs]
    raise UserError(f"{path}: a list of names or a mapping of names to numbers is needed, got {json.dumps(value)[:60]}")


def infer_classes(tokens: Counter[str]) -> Classes:
    """Make classes of the tokens of a list (token -> rows): numbers stand for themselves, names are sorted.

    Numbers that leave more than half of 0..highest unused are names: ids of another list. UserError for a token that
    can be no class: a negative number, or a column's name in a single row.
    """
    _refuse_no_classes(tokens)
    numbers = {token: int(match[1]) for token in tokens if (match := _NUMBER.fullmatch(token))}
    if tokens and len(numbers) == len(tokens):
        return _numbered(numbers)
    names = sorted(tokens)
    return Classes(
        names=names, of={name: label for label, name in enumerate(names)}, remarks=_remarks(tokens, len(numbers))
    )


def _refuse_no_classes(tokens: Counter[str]) -> None:
    for token, count in tokens.items():
        if re.fullmatch(r"-\d+(\.\d+)?", token):
            raise UserError(
                f"class {token} ({count} rows) is a negative number; a clip without a class has -1 or an empty cell"
            )
        if count == 1 and re.sub(r"[^a-z0-9]+", "_", token.lower()).strip("_") in _HEADER_WORDS:
            raise UserError(
                f"class {token!r} of a single row is the name of a column: is it a header? It belongs into the first "
                "line, beside a name for the paths; a class that is really called so stands in data.classes"
            )


def _numbered(numbers: Mapping[str, int]) -> Classes:
    found = sorted(set(numbers.values()))
    same = [f"{', '.join(t for t in numbers if numbers[t] == n)} = {n}" for n in found]
    remarks = [f"classes written in two ways are one: {text}" for text in same if text.count(",")][:_SHOWN]
    if found[0] == 0 and 2 * len(found) >= found[-1] + 1:
        return Classes(names=[str(n) for n in range(found[-1] + 1)], of=numbers, remarks=remarks)
    label = {number: index for index, number in enumerate(found)}
    return Classes(
        names=[str(n) for n in found], of={token: label[number] for token, number in numbers.items()}, remarks=remarks
    )


def _remarks(tokens: Counter[str], numbers: int) -> list[str]:
    """Say what may be no class though it is taken for one."""
    remarks = []
    single = [token for token, count in tokens.items() if count == 1]
    if single and len(single) < len(tokens):
        remarks.append(f"classes of a single clip, is each one meant? {_some(single)}")
    if maybe := [token for token in tokens if token.lower() in _MAYBE_NO_CLASS]:
        remarks.append(f"taken for classes: {_some(maybe)}; leave the cell empty where a clip has no class")
    if numbers:
        some = [token for token in tokens if _NUMBER.fullmatch(token)]
        remarks.append(f"numbers among the class names, is each one meant? {_some(some)}")
    folded = Counter(token.casefold().replace(" ", "_") for token in tokens)
    alike = [token for token in sorted(tokens) if folded[token.casefold().replace(" ", "_")] > 1]
    if alike:
        remarks.append(f"classes that are written nearly the same: {_some(alike)}")
    return remarks


def _some(tokens: Sequence[str]) -> str:
    shown = ", ".join(sorted(tokens)[:_SHOWN])
    return shown + (f" and {len(tokens) - _SHOWN} more" if len(tokens) > _SHOWN else "")
