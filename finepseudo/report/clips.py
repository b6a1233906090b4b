"""The clips of a run on the page: which are worth a look, and a table of all that leads to their files.

What is shown is one label draw of the main method, the first: its test clips and the pool after its last labelling.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from finepseudo.methods.table import title as method_title
from finepseudo.report.blocks import NOT_YET, Block, ClipTable, Gallery, Note, Section, Thumbnail
from finepseudo.report.reading import MethodRun, RunFolder
from finepseudo.report.tables import attempt
from shards.types import NO_LABEL

SHOWN = 24
"""Thumbnails of a gallery."""
ROWS = 20_000
"""Rows of the table: 1 MB and more; wrong, accepted and test clips come first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownClip:
    """One clip as the run sees it. truth and said: class numbers, NO_LABEL where nobody knows."""

    key: str
    path: str
    role: str
    truth: int
    said: int
    confidence: float
    accepted: bool = False
    fresh: bool = False
    said_a: int = NO_LABEL
    said_e: int = NO_LABEL

    @property
    def wrong(self) -> bool:
        """Tell whether what is said is known to be wrong."""
        return NO_LABEL not in (self.truth, self.said) and self.truth != self.said


def shown_clips(run: RunFolder) -> list[ShownClip]:
    """Read the test clips and the labelled pool of the main method's first label draw."""
    found = next(iter(run.runs(run.main_method() or "")), None)
    if found is None:
        return []
    paths = attempt(run, run.paths.clips, _paths) if run.paths.clips.is_file() else {}
    _, method = found
    return [*_tested(run, method, paths or {}), *_pool(run, method, paths or {})]


def _paths(path: Path) -> dict[str, str]:
    table = pq.read_table(path, columns=["key", "path"])
    return dict(zip(table["key"].to_pylist(), table["path"].to_pylist(), strict=True))


def _tested(run: RunFolder, method: MethodRun, paths: Mapping[str, str]) -> list[ShownClip]:
    if method.predictions is None:
        return []
    table = attempt(run, method.predictions, lambda p: pq.read_table(p, columns=["key", "label", "prediction", "p"]))
    return [
        ShownClip(
            key=row["key"],
            path=paths.get(row["key"], ""),
            role="test",
            truth=row["label"],
            said=row["prediction"],
            confidence=float(np.max(row["p"])) if row["prediction"] != NO_LABEL else 0.0,
        )
        for row in (table.to_pylist() if table is not None else [])
    ]


_COLUMNS = ["key", "label", "accepted", "confidence", "label_A", "label_E"]


def _pool(run: RunFolder, method: MethodRun, paths: Mapping[str, str]) -> list[ShownClip]:
    tables = [(r.round, r.table) for r in method.rounds if r.table is not None]
    read = [attempt(run, path, lambda p: pq.read_table(p, columns=_COLUMNS)) for _, path in sorted(tables)[-2:]]
    if not read or read[-1] is None:
        return []
    before = read[0] if len(read) > 1 else None
    had = {} if before is None else {r["key"]: r["label"] for r in before.to_pylist() if r["accepted"]}
    return [
        ShownClip(
            key=row["key"],
            path=paths.get(row["key"], ""),
            role="pool",
            truth=run.truth.get(row["key"], NO_LABEL),
            said=row["label"],
            confidence=row["confidence"],
            accepted=row["accepted"],
            fresh=row["accepted"] and had.get(row["key"]) != row["label"],
            said_a=row["label_A"],
            said_e=row["label_E"],
        )
        for row in read[-1].to_pylist()
    ]


def galleries(clips: Sequence[ShownClip]) -> dict[str, list[ShownClip]]:
    """Choose what is worth a look: wrong test clips, confusion after confusion; the least sure; the newest labels."""
    test = [clip for clip in clips if clip.role == "test" and clip.said != NO_LABEL]
    found = {
        "Wrong test clips, of every confusion the surest first": _in_turns(
            (clip for clip in test if clip.wrong), lambda clip: (clip.truth, clip.said)
        ),
        "Least sure test clips": sorted(test, key=lambda c: (c.confidence, c.key)),
        "Newest accepted labels, of every class the surest first": _in_turns(
            (clip for clip in clips if clip.fresh), lambda clip: clip.said
        ),
    }
    return {title: chosen[:SHOWN] for title, chosen in found.items()}


def _in_turns(clips: Iterable[ShownClip], kind: Callable[[ShownClip], Hashable]) -> list[ShownClip]:
    """Order clips, the surest of every kind before the second of any, frequent kinds first."""
    surest = sorted(clips, key=lambda c: (-c.confidence, c.key))
    often, seen = Counter(map(kind, surest)), Counter[Hashable]()
    turns = []
    for clip in surest:
        seen[kind(clip)] += 1
        turns.append((seen[kind(clip)], -often[kind(clip)], clip.key, clip))
    return [turn[-1] for turn in sorted(turns, key=lambda t: t[:3])]


def gallery_keys(run: RunFolder) -> list[str]:
    """List the clips that the page wants a thumbnail of."""
    chosen = galleries(shown_clips(run)).values()
    return list(dict.fromkeys(clip.key for clips in chosen for clip in clips))


def section(run: RunFolder, thumbnails: Mapping[str, str]) -> Section:
    """Make the part of the page; thumbnails: a strip of frames of a clip, as a data URI, by key."""
    clips = shown_clips(run)
    name = run.main_method()
    if not clips or name is None:
        return Section("clips", "Clips", [Note(NOT_YET + "no clip has been tested or labelled.")])
    blocks: list[Block] = []
    for title, chosen in galleries(clips).items():
        if chosen:
            blocks.append(Gallery(title, [_thumbnail(run, clip, thumbnails.get(clip.key, "")) for clip in chosen]))
    if not thumbnails:
        blocks.append(Note("No thumbnails: the shards could not be read where the report was written."))
    kept = sorted(clips, key=lambda c: (not c.wrong, not c.accepted, c.role != "test"))[:ROWS]
    if len(kept) < len(clips):
        blocks.append(Note(f"The table holds {ROWS:,} of {len(clips):,} clips; all are in the run's parquet files."))
    blocks.append(ClipTable(_data(run, sorted(kept, key=lambda c: (c.role, c.key)))))
    seed = next(seed for seed, _ in run.runs(name))
    lead = (
        f"{method_title(name)}, seed {seed}: test clips, and the pool after its last labelling. A thumbnail moves "
        "under the pointer; a cell of the confusion matrix and a class of a table lead here."
    )
    return Section("clips", "Clips", blocks, lead)


def _thumbnail(run: RunFolder, clip: ShownClip, strip: str) -> Thumbnail:
    words = f"{_name(run, clip.said)} {100 * clip.confidence:.0f} %"
    truth = f"true: {_name(run, clip.truth)}" if clip.wrong else ""
    return Thumbnail(key=clip.key, strip=strip, words=words, truth=truth, href=href(clip.path))


def _name(run: RunFolder, label: int) -> str:
    return run.class_name(label) if label != NO_LABEL else "–"


def href(path: str) -> str:
    """Give the address of a clip's file for a browser; empty where it can open none."""
    if path.startswith(("http://", "https://")):
        return path
    return Path(path).as_uri() if path.startswith("/") else ""


def _data(run: RunFolder, clips: Sequence[ShownClip]) -> str:
    """Pack the rows as JSON: class names once, the common folder of the paths once, an array for each clip."""
    root = _common([clip.path for clip in clips])
    rows: list[list[Any]] = [
        [
            clip.key,
            clip.path[len(root) :],
            clip.role,
            clip.truth,
            clip.said,
            round(clip.confidence, 3),
            int(clip.accepted),
            clip.said_a,
            clip.said_e,
        ]
        for clip in clips
    ]
    return json.dumps({"classes": run.classes, "root": root, "rows": rows}, separators=(",", ":"), ensure_ascii=False)


def _common(paths: Iterable[str]) -> str:
    """Find the folder that all paths begin with, its slash included."""
    shared = os.path.commonprefix(list(paths))  # noqa: RUF071 - of URLs as of paths, and cut at a slash
    return shared[: shared.rfind("/") + 1]
