"""The clips whose label would help most next, and the page on which a person names them.

A clip helps where the encoders disagree, where the two best classes are close, and where its class has few accepted
labels. Everything is read from a finished labelling; nothing is computed again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from finepseudo.report.clips import href
from finepseudo.run_folder.files import write_text
from shards.types import NO_LABEL

CHOICES = 9
"""Classes that have a key of their own."""
_BATCH = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """A labelled clip that the asked one aligns with; score: alignability S, None where no encoder aligns."""

    key: str
    label: int
    score: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A clip to be named: what the run says (class numbers), its likeliest classes with their p, why it is asked."""

    key: str
    said: int
    choices: tuple[tuple[int, float], ...]
    why: tuple[str, ...]
    near: tuple[Near, ...] = field(default=())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    key: str
    label: int
    label_a: int
    label_e: int
    margin: float
    accepted: bool
    p: tuple[tuple[int, float], ...]


def choose(table: Path, classes: Sequence[str], count: int) -> list[Asked]:
    """Choose `count` clips of a table of pseudo-labels, those that help most first.

    Each adds 1 for f_A and f_E that disagree, 1 - margin of its two best classes, and 1 / (1 + n) for a class with n
    accepted labels, clips chosen before it counted with them: so no class fills the page. An accepted label takes 1
    off: it may be wrong, but the run has one.
    """
    rows, accepted = _read(table)
    if not rows:
        return []
    disagree = np.array([NO_LABEL not in (r.label_a, r.label_e) and r.label_a != r.label_e for r in rows], float)
    fixed = disagree + 1 - np.array([r.margin + r.accepted for r in rows])
    label = np.array([r.label for r in rows])
    taken = np.array([accepted[number] for number in range(len(classes))], float)
    left, chosen = np.ones(len(rows), bool), []
    for _ in range(min(count, len(rows))):
        place = int(np.argmax(np.where(left, fixed + 1 / (1 + taken[label]), -np.inf)))
        left[place] = False
        taken[label[place]] += 1
        chosen.append(rows[place])
    return [
        Asked(key=r.key, said=r.label, choices=r.p, why=tuple(_reasons(r, classes, accepted[r.label]))) for r in chosen
    ]


def _read(table: Path) -> tuple[list[_Row], Counter[int]]:
    """Read the readable clips, batch by batch, and count the accepted labels of each class."""
    rows: list[_Row] = []
    accepted: Counter[int] = Counter()
    columns = ["key", "label", "label_A", "label_E", "accepted", "valid", "classes", "p"]
    for batch in pq.ParquetFile(table).iter_batches(batch_size=_BATCH, columns=columns):
        found = pa.Table.from_batches([batch])
        accepted.update(found.filter(found["accepted"])["label"].to_pylist())
        for row in found.filter(found["valid"]).to_pylist():
            p = np.asarray(row["p"])
            best = np.argsort(-p, kind="stable")[:CHOICES]
            margin = float(p[best[0]] - p[best[1]]) if len(best) > 1 else 1.0
            classes = row.get("classes") or range(len(p))  # tables of before list all of them
            likely = tuple((classes[i], float(p[i])) for i in best)
            rows.append(
                _Row(
                    key=row["key"],
                    label=row["label"],
                    label_a=row["label_A"],
                    label_e=row["label_E"],
                    margin=margin,
                    accepted=row["accepted"],
                    p=likely,
                )
            )
    return rows, accepted


def _reasons(row: _Row, classes: Sequence[str], accepted: int) -> list[str]:
    said = []
    if NO_LABEL not in (row.label_a, row.label_e) and row.label_a != row.label_e:
        said.append(f"f_A says {classes[row.label_a]}, f_E says {classes[row.label_e]}")
    if row.margin < 0.2:
        said.append(f"the two best classes are {100 * row.margin:.0f} points apart")
    if accepted < 3:
        said.append(f"{classes[row.label]} has {accepted or 'no'} accepted label{'' if accepted == 1 else 's'}")
    return said or ["its label was accepted" if row.accepted else "no label was accepted"]


def write_review(
    out: Path,
    run: str,
    asked: Sequence[Asked],
    classes: Sequence[str],
    *,
    paths: Mapping[str, str],
    thumbnails: Mapping[str, str],
    before: Mapping[str, int | None] | None = None,
) -> Path:
    """Write the page of one file; paths and thumbnails (strips of frames as data URIs) by key.

    before: what a person decided already, key -> class or None for a rejected clip; it is saved with the new list.
    """
    items = [_item(one, paths, thumbnails) for one in asked]
    kept = [
        [key, "" if label is None else classes[label], "before", paths.get(key, "")]
        for key, label in (before or {}).items()
        if key not in {one.key for one in asked}
    ]
    about = {"run": run, "classes": list(classes), "items": items, "before": kept}
    text = json.dumps(about, ensure_ascii=False)
    template = Environment(
        loader=PackageLoader("finepseudo"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("review.html.j2")
    write_text(out, template.render(run=run, before=len(kept), data=Markup(text.replace("<", "\\u003c"))))  # noqa: S704
    return out


def _item(one: Asked, paths: Mapping[str, str], thumbnails: Mapping[str, str]) -> dict[str, Any]:
    return {
        "key": one.key,
        "path": paths.get(one.key, ""),
        "href": href(paths.get(one.key, "")),
        "strip": thumbnails.get(one.key, ""),
        "said": one.said,
        "choices": [[label, round(p, 3)] for label, p in one.choices],
        "why": list(one.why),
        "near": [
            {
                "key": near.key,
                "label": near.label,
                "score": None if near.score is None else round(near.score, 3),
                "strip": thumbnails.get(near.key, ""),
            }
            for near in one.near
        ],
    }
