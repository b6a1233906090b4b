"""What a prediction is written as: an arrow table, a CSV with plain columns, JSON lines, parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from finepseudo.evaluation.predict import Match, Prediction
from finepseudo.run_folder.files import write_table, write_text
from shards.errors import UserError
from shards.files import check_writable
from shards.write.plans import PlannedClip

ENDINGS = (".csv", ".jsonl", ".parquet")
_VOTE = pa.struct([("class", pa.string()), ("probability", pa.float32())])
_MATCH = pa.struct(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("class", pa.string()),
        ("score", pa.float32()),
        ("distance", pa.float32()),
        ("differs_from_s", pa.float32()),
        ("differs_to_s", pa.float32()),
        ("differs_cost", pa.float32()),
        ("cost_mean", pa.float32()),
    ]
)
PREDICTED_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("class", pa.string()),
        ("confidence", pa.float32()),
        ("answer", pa.string()),
        ("class_E", pa.string()),
        ("confidence_E", pa.float32()),
        ("class_A", pa.string()),
        ("confidence_A", pa.float32()),
        ("classes", pa.list_(_VOTE)),
        ("classes_A", pa.list_(_VOTE)),
        ("matches", pa.list_(_MATCH)),
        ("p", pa.list_(pa.float32())),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""Columns of a prediction; docs/files.md says what each one is."""
_VOTES = ("class_E", "confidence_E", "class_A", "confidence_A")
_PLAIN = ("path", "start", "end", "class", "confidence", "answer", *_VOTES, "reason", "detail")


@dataclass(frozen=True, slots=True)
class Answer:
    """A clip and what the run says about it; None where it could not be read, for a reason.

    times: seconds of the frames that f_A saw.
    """

    clip: PlannedClip
    prediction: Prediction | None
    times: tuple[float, ...] = ()
    reason: str = ""
    detail: str = ""


def table_of(answers: Sequence[Answer], paths: Mapping[str, str]) -> pa.Table:
    """Lay out answers, one row each; `paths` gives the file of a labelled clip."""
    return pa.Table.from_pylist([_row(answer, paths) for answer in answers], schema=PREDICTED_SCHEMA)


def _row(answer: Answer, paths: Mapping[str, str]) -> dict[str, Any]:
    clip, made = answer.clip, answer.prediction
    row: dict[str, Any] = {"path": clip.path, "start": clip.start, "end": clip.end}
    if made is None:
        return {**row, "reason": answer.reason, "detail": answer.detail}
    for name, votes in (("", made.classes), ("_E", made.acted), ("_A", made.aligned)):
        if votes:
            row |= {f"class{name}": votes[0].name, f"confidence{name}": votes[0].probability}
    for name, votes in (("classes", made.classes), ("classes_A", made.aligned)):
        row[name] = [{"class": vote.name, "probability": vote.probability} for vote in votes]
    row["answer"] = made.answer
    row["matches"] = [_match(match, answer.times, paths) for match in made.matches]
    return {**row, "p": made.p.tolist(), "reason": "", "detail": ""}


def _match(match: Match, times: Sequence[float], paths: Mapping[str, str]) -> dict[str, Any]:
    first, last = match.differs
    return {
        "key": match.key,
        "path": paths.get(match.key, ""),
        "class": match.class_name,
        "score": match.score,
        "distance": match.distance,
        "differs_from_s": times[first] if times else None,
        "differs_to_s": times[last] if times else None,
        "differs_cost": match.differs_cost,
        "cost_mean": match.cost_mean,
    }


def check_out(path: Path, endings: Sequence[str] = ENDINGS) -> None:
    """Refuse a file of another kind, or one that cannot be written, before anything is computed."""
    if path.suffix.lower() not in endings:
        raise UserError(f"--out {path}: ends with none of {', '.join(endings)}; the ending says what is written")
    check_writable(path)


def write_predictions(path: Path, table: pa.Table) -> None:
    """Write the table as its name says, whole or not at all."""
    match path.suffix.lower():
        case ".parquet":
            write_table(path, table)
        case ".jsonl":
            write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()))
        case _:
            write_text(path, csv_text(table))


def csv_text(table: pa.Table) -> str:
    """Write the plain columns, then further classes and the matches in columns of their own."""
    rows = [{**{name: row[name] for name in _PLAIN}, **dict(_spread(row))} for row in table.to_pylist()]
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(_PLAIN)
    buffer = io.StringIO()
    out = csv.DictWriter(buffer, sorted(names, key=_place), restval="", lineterminator="\n")
    out.writeheader()
    out.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _spread(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for number, vote in enumerate((row["classes"] or [])[1:], start=2):
        yield from ((f"class_{number}", vote["class"]), (f"confidence_{number}", vote["probability"]))
    for number, match in enumerate(row["matches"] or [], start=1):
        yield from ((f"match_{number}_{name}", match[name]) for name in _MATCH_NAMES)


_MATCH_NAMES = ("key", "path", "class", "score", "differs_from_s", "differs_to_s")


def _place(name: str) -> tuple[int, int, int]:
    """Order columns: the plain ones, classes by rank, matches by rank; reasons last."""
    if name in _PLAIN:
        return (3 if name in ("reason", "detail") else 0, _PLAIN.index(name), 0)
    kind, number, *rest = name.split("_", 2)
    if kind == "match":
        return (2, int(number), _MATCH_NAMES.index(rest[0]))
    return (1, int(number), int(kind != "class"))


def _cell(value: object) -> object:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
