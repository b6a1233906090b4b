"""Look a data set over before a run: what is there, what is missing, which classes have labels, what leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from shards.annotations import load
from shards.annotations.base import Annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.known_counts import KNOWN_COUNTS, KnownCounts
from shards.check.decode import decode_clips, decode_lines
from shards.check.hopeless import hopeless
from shards.check.links import linked
from shards.check.missing import in_common
from shards.errors import UserError, counted
from shards.files import write_bytes
from shards.sources.presence import missing_paths
from shards.splits.label_split import LabelSplit
from shards.splits.leakage import SourceOverlap, source_overlap
from shards.types import NO_LABEL

_SHOWN = 5
_LISTED = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """Findings about one data set, and about one label split of it where one was given.

    clips: role -> clips; present: role -> classes that occur; absent: classes without any clip; uncovered: class ->
    test clips, for classes that no labelled clip (without a split: no training clip) shows; missing: paths that are not
    there, None when nobody looked; per_class: class -> clips, without the test; remarks: what its reader and a look
    into the videos found odd; decoded: what `decode_lines` says; warnings: what a run will take and learn nothing from;
    problems: what has to be fixed before a run.
    """

    dataset: str
    version: str = ""
    n_classes: int = 0
    clips: Mapping[str, int] = field(default_factory=dict)
    present: Mapping[str, int] = field(default_factory=dict)
    absent: Sequence[str] = ()
    uncovered: Mapping[str, int] = field(default_factory=dict)
    known: KnownCounts | None = None
    missing: Sequence[str] | None = None
    missing_list: Path | None = None
    leakage: SourceOverlap | None = None
    per_class: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    decoded: Sequence[str] = ()
    warnings: Sequence[str] = ()
    problems: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Tell whether nothing has to be fixed; the command's exit code says the same."""
        return not self.problems

    def render(self) -> str:
        """Write the report as plain lines."""
        classes, clips = counted(self.n_classes, "class", "classes"), counted(sum(self.clips.values()), "clip")
        lines = [f"{self.dataset} {self.version}: {classes}, {clips}"]
        if not self.clips:
            lines = [self.dataset]
        for role, n in self.clips.items():
            present = self.present.get(role)
            of = f" of {counted(present, 'class', 'classes')}" if present else ", no class known"
            lines.append(f"  {role}: {counted(n, 'clip')}{of}")
        if self.per_class:
            lines.append(f"  classes (clips): {_counted(self.per_class)}")
        lines += [f"  note: {remark}" for remark in self.remarks]
        if self.known:
            lines.append(f"  known: {self.known.train:,} train, {self.known.test:,} test, {self.known.classes} classes")
        if self.absent:
            lines.append(f"  classes without any clip: {_some(self.absent)}")
        if self.uncovered:
            shown = _some([f"{name} ({n})" for name, n in self.uncovered.items()])
            lines.append(f"  test classes (clips) that have no labelled clip: {shown}")
        if self.missing is not None:
            lines.append(
                f"  files: {counted(len(self.missing), 'path')} missing" if self.missing else "  files: all there"
            )
        if self.missing_list:
            lines.append(f"  list of missing paths: {self.missing_list}")
        lines += [f"  {line}" for line in self.decoded]
        lines += [f"  shared sources: {line}" for line in (self.leakage.lines() if self.leakage else ())]
        lines += [f"WARNING {warning}" for warning in self.warnings]
        lines += [f"PROBLEM {problem}" for problem in self.problems]
        ok = f"ok, with {counted(len(self.warnings), 'warning')}" if self.warnings else "ok"
        return "\n".join([*lines, ok if self.ok else f"not ok: {counted(len(self.problems), 'problem')}"])


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _counted(per_class: Mapping[str, int]) -> str:
    """All classes with their clips; of many the smallest and the largest."""
    ordered = sorted(per_class.items(), key=lambda item: (item[1], item[0]))
    if len(ordered) <= _LISTED:
        return ", ".join(f"{name} {n:,}" for name, n in per_class.items())
    few, many = (", ".join(f"{name} {n:,}" for name, n in part) for part in (ordered[:_SHOWN], ordered[-_SHOWN:]))
    return f"fewest {few}; most {many}"


def check_config(
    cfg: DatasetConfig,
    *,
    files: bool = True,
    missing_list: Path | None = None,
    look: Callable[[Annotations], Iterable[str]] = lambda _: (),
    decode: int | None = 0,
    max_bad_fraction: float = 0.02,
) -> CheckReport:
    """Read the data set and look it over; lists that cannot be read become a problem (first bad rows, line numbers).

    look: gives further problems of the clips that were read. decode: clips that are opened and decoded, None = all;
    more than `max_bad_fraction` of them bad is a problem, as it would stop a run.
    """
    try:
        ann = load(cfg)
    except UserError as error:
        return CheckReport(dataset=cfg.name, problems=(str(error),))
    found = check_dataset(ann, files=files, missing_list=missing_list)
    found = replace(found, problems=[*found.problems, *look(ann)])
    return found if decode == 0 else _decoded(found, ann, cfg, decode, max_bad_fraction)


def _decoded(
    found: CheckReport, ann: Annotations, cfg: DatasetConfig, limit: int | None, max_bad_fraction: float
) -> CheckReport:
    """Add what a look into the videos that are there says."""
    there = ann.clips.filter(pc.invert(pc.is_in(ann.clips["path"], pa.array(found.missing or [], pa.string()))))
    clips = decode_clips(there, cfg, limit)
    bad = sum(bool(clip.reason) for clip in clips)
    problems = []
    if bad > max_bad_fraction * len(clips):
        problems = [f"{bad:,} of {len(clips):,} clips cannot be used; a run stops over reading.max_bad_fraction"]
    lines = decode_lines(clips, there.num_rows) if clips else []
    return replace(found, decoded=lines, problems=[*found.problems, *problems])


def check_dataset(
    ann: Annotations,
    *,
    split: LabelSplit | None = None,
    files: bool = True,
    missing_list: Path | None = None,
    forbid_leakage: bool = False,
    open_world: bool = False,
) -> CheckReport:
    """Look a clip table over.

    split: judge coverage and leakage by this label split instead of the data set's own roles. files: look whether every
    path exists. missing_list: where to write the missing paths, one a line (only when there are any). forbid_leakage:
    source videos shared by labelled, unlabelled and test clips are a problem, not only a remark. open_world: classes
    without labels are wanted.
    """
    rows = _rows(ann, split)
    known = KNOWN_COUNTS.get((ann.dataset, ann.version))
    missing = missing_paths(row.path for row in rows) if files else None
    uncovered = _uncovered(rows, ann.classes)
    leakage = source_overlap((row.role, row.source) for row in rows)
    if missing and missing_list:
        write_bytes(missing_list, "".join(f"{path}\n" for path in missing).encode("utf-8", "surrogateescape"))
    problems = [
        *(_count_problems(ann, known) if known else []),
        *([_missing_problem(missing)] if missing else []),
        *_coverage_problems(uncovered, split is not None and not open_world),
        *(leakage.lines() if forbid_leakage else []),
    ]
    return CheckReport(
        dataset=ann.dataset,
        version=ann.version,
        n_classes=len(ann.classes),
        clips=dict(sorted(Counter(row.role for row in rows).items())),
        present=_present(rows),
        absent=_absent(ann),
        uncovered=uncovered,
        known=known,
        missing=missing,
        missing_list=missing_list if missing else None,
        leakage=leakage,
        per_class=_per_class(rows, ann.classes),
        remarks=ann.remarks,
        warnings=[
            *_warnings(rows, ann.classes),
            *(linked((row.path, row.role, row.label) for row in rows) if files else ()),
        ],
        problems=problems,
    )


def _warnings(rows: Sequence[_Row], classes: Sequence[str]) -> list[str]:
    """Warn of labels that are too few; where labels are drawn, of the clips that they are drawn from."""
    role = "labelled" if any(row.role == "labelled" for row in rows) else "train"
    labels = {name: [row.label for row in rows if row.role == name] for name in (role, "test")}
    return list(hopeless(labels[role], labels["test"], classes))


def _present(rows: Sequence[_Row]) -> dict[str, int]:
    """Count the classes that each role shows."""
    shown = {(row.role, row.label) for row in rows if row.label != NO_LABEL}
    return dict(sorted(Counter(role for role, _ in shown).items()))


def _missing_problem(missing: Sequence[str]) -> str:
    common = in_common(missing)
    return f"{counted(len(missing), 'path is', 'paths are')} missing: {_some(missing)}" + (
        f"; {common}" if common else ""
    )


def _per_class(rows: Sequence[_Row], classes: Sequence[str]) -> dict[str, int]:
    """Count the clips of each class outside the test, classes without any left out, and those without a class last."""
    counted = Counter(row.label for row in rows if row.role != "test")
    named = {classes[label]: n for label, n in sorted(counted.items()) if label != NO_LABEL}
    return named | ({"(no class)": counted[NO_LABEL]} if counted[NO_LABEL] else {})


class _Row(NamedTuple):
    key: str
    path: str
    label: int
    role: str
    source: str


def _rows(ann: Annotations, split: LabelSplit | None) -> list[_Row]:
    """Take the clips the data set (or, when given, the split) uses, with the true label of each."""
    columns = (ann.clips.column(name).to_pylist() for name in _Row._fields)
    rows = [_Row(*values) for values in zip(*columns, strict=True)]
    if split is None:
        return rows
    keys, roles = (split.table.column(name).to_pylist() for name in ("key", "role"))
    role_of = dict(zip(keys, roles, strict=True))
    unknown = role_of.keys() - {row.key for row in rows}
    if unknown:
        raise UserError(f"the split has {len(unknown)} clips that {ann.dataset} lacks ({min(unknown)}); draw it again")
    return [row._replace(role=role_of[row.key]) for row in rows if row.key in role_of]


def _absent(ann: Annotations) -> list[str]:
    seen = set(ann.clips.column("label").to_pylist())
    return [name for label, name in enumerate(ann.classes) if label not in seen]


def _uncovered(rows: Sequence[_Row], classes: Sequence[str]) -> dict[str, int]:
    """Count the test clips of classes that nobody labelled; without labelled clips the training pool counts as such."""
    has_labelled = any(row.role == "labelled" for row in rows)
    shown = {row.label for row in rows if row.role == ("labelled" if has_labelled else "train")}
    tested = Counter(row.label for row in rows if row.role == "test" and row.label != NO_LABEL)
    return {classes[label]: n for label, n in sorted(tested.items()) if label not in shown}


def _coverage_problems(uncovered: Mapping[str, int], required: bool) -> list[str]:
    if not (uncovered and required):
        return []
    return [
        f"{len(uncovered)} test classes have no labelled clip ({_some(list(uncovered))}); "
        "draw the split with min_per_class=1, or use the open-world protocol"
    ]


def _count_problems(ann: Annotations, known: KnownCounts) -> list[str]:
    """Compare the data set's own roles, not a split's, with the table of known counts."""
    rows = _rows(ann, None)
    of_role = {role: [row.label for row in rows if row.role == role] for role in ("train", "test")}
    counted = {
        "classes": (len(ann.classes), known.classes),
        "training clips": (len(of_role["train"]), known.train),
        "test clips": (len(of_role["test"]), known.test),
        "classes among the training clips": (len(set(of_role["train"])), known.train_classes),
        "classes among the test clips": (len(set(of_role["test"])), known.test_classes),
    }
    return [f"{have:,} {what}, {want:,} are known" for what, (have, want) in counted.items() if have != want]
