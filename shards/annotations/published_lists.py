"""Published lists of labelled and unlabelled clips, read as they are (SeFAR, SVFormer and alike).

A folder holds `train.csv` (labelled), mostly `unlabel.csv` (or, misspelt, `unlabe.csv`) and `val.csv`. Rows are
`<path of the authors' disk> <label>`, separated by a blank or a comma; clips are found by base name. The unlabelled
files carry the true labels: they are thrown away while a row is parsed, so nothing after the parser can see them.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from shards.annotations.base import Annotations, sanitise_key
from shards.annotations.lines import SHOWN_BAD_ROWS, parse_lines, split_last, stem, whole_number
from shards.errors import UserError

FILES = {
    "labelled": ("train.csv", "train.txt", "labelled.csv", "labeled.csv"),
    "unlabelled": ("unlabel.csv", "unlabe.csv", "unlabelled.csv", "unlabeled.csv", "unlabel.txt"),
    "test": ("val.csv", "val.txt", "test.csv"),
}
"""Role -> file names that are taken for it; the first that exists counts."""

_LOG = logging.getLogger(__name__)
_KINETICS = re.compile(r".{11}(_[0-9]{6}_[0-9]{6})?")  # lists come with and without times; a video has one clip
MAX_MISLABELLED = 0.05
_RULE = "`<path> <label>` or `<path>,<label>`"


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedLists:
    """Clip name -> label of the labelled and test lists, names of the unlabelled one; None = there is no such list."""

    labelled: dict[str, int]
    unlabelled: frozenset[str] | None
    test: dict[str, int] | None


def _parse_labelled(text: str) -> tuple[str, int]:
    path, label = split_last(text)
    return sanitise_key(stem(path)), whole_number(label)


def _parse_unlabelled(text: str) -> str:
    path, _ = split_last(text)
    return sanitise_key(stem(path))


def _unique(path: Path, names: Iterable[str]) -> None:
    double = [name for name, count in Counter(names).items() if count > 1]
    if double:
        raise UserError(
            f"{path}: lists {len(double)} clips twice ({', '.join(double[:SHOWN_BAD_ROWS])}); once is the rule"
        )


def _find(folder: Path, role: str) -> Path | None:
    return next((folder / name for name in FILES[role] if (folder / name).is_file()), None)


def list_files(folder: Path) -> list[Path]:
    """List the files of the folder that are read."""
    return [path for role in FILES if (path := _find(folder, role))]


def _read_labelled(path: Path) -> dict[str, int]:
    rows = parse_lines(path, _parse_labelled, _RULE)
    _unique(path, (name for name, _ in rows))
    return dict(rows)


def read_published(folder: Path) -> PublishedLists:
    """Read the lists of one folder. Raises UserError on bad rows, doubles, or a clip that stands in two lists."""
    files = {role: _find(folder, role) for role in FILES}
    if files["labelled"] is None:
        raise UserError(f"{folder}: holds no list of labelled clips ({', '.join(FILES['labelled'])}); give its folder")
    labelled = _read_labelled(files["labelled"])
    unlabelled: frozenset[str] | None = None
    if files["unlabelled"] is not None:
        names = parse_lines(files["unlabelled"], _parse_unlabelled, _RULE)
        _unique(files["unlabelled"], names)
        unlabelled = frozenset(names)
    test = _read_labelled(files["test"]) if files["test"] is not None else None
    for one, other in ((labelled, unlabelled), (labelled, test), (unlabelled, test)):
        shared = sorted(set(one or ()) & set(other or ()))
        if shared:
            raise UserError(f"{folder}: {len(shared)} clips stand in two lists ({', '.join(shared[:SHOWN_BAD_ROWS])})")
    return PublishedLists(labelled=labelled, unlabelled=unlabelled, test=test)


class _Clips:
    """Clips of an annotation table, found by key; where a source video has a single clip, by the source too."""

    def __init__(self, ann: Annotations) -> None:
        columns = [ann.clips.column(name).to_pylist() for name in ("key", "source", "label", "role")]
        self.label = dict(zip(columns[0], columns[2], strict=True))
        self.role = dict(zip(columns[0], columns[3], strict=True))
        per_source = Counter(columns[1])
        self._by_source = {
            sanitise_key(source): key
            for key, source in zip(columns[0], columns[1], strict=True)
            if source and per_source[source] == 1
        }

    def find(self, name: str) -> str | None:
        """Return the key of a listed name, or None."""
        if name in self.label:
            return name
        return self._by_source.get(name[:11]) if _KINETICS.fullmatch(name) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRoles:
    """What lists say about a data set: key -> role, keys whose listed label is not the data set's, names not found."""

    roles: dict[str, str]
    mislabelled: tuple[str, ...]
    missing: tuple[str, ...]


def roles_from_lists(ann: Annotations, lists: PublishedLists, where: str, allow_missing: bool = False) -> ListedRoles:
    """Give every clip that the lists use its role labelled, unlabelled or test; other clips are left out.

    Without an unlabelled list the rest of the training clips is unlabelled; without a test list the data set's own test
    clips are. Labels always come from the data set; those of the lists only prove that both mean the same classes: up
    to 5 % may differ and are reported (the HMDB51 lists swap `climb` and `climb_stairs` in some rows), above that
    UserError. UserError too for listed clips that the data set lacks, unless `allow_missing` (vanished videos).
    """
    clips = _Clips(ann)
    roles: dict[str, str] = {}
    missing: list[str] = []
    wrong: dict[str, str] = {}
    for role, names in (("labelled", lists.labelled), ("unlabelled", lists.unlabelled), ("test", lists.test)):
        for name in sorted(names or ()):
            key = clips.find(name)
            if key is None:
                missing.append(name)
                continue
            if isinstance(names, dict) and names[name] != clips.label[key]:
                wrong[key] = f"{key}: {names[name]}, not {clips.label[key]}"
            if roles.setdefault(key, role) != role:
                raise UserError(f"{where}: clip {key} is listed as {roles[key]} and as {role}; one role is the rule")
    _refuse(
        ann, where, list(wrong.values()), len(lists.labelled) + len(lists.test or ()), [] if allow_missing else missing
    )
    rest = {"train": lists.unlabelled is None, "test": lists.test is None}
    for key, own_role in clips.role.items():
        if rest.get(own_role, False):
            roles.setdefault(key, "unlabelled" if own_role == "train" else "test")
    return ListedRoles(roles=roles, mislabelled=tuple(wrong), missing=tuple(missing))


def with_published_lists(ann: Annotations, folder: Path, allow_missing: bool = False) -> Annotations:
    """Give the clips the roles of the lists in `folder`, see `roles_from_lists`; clips no list uses are left out."""
    if ann.known is not None:
        raise UserError(f"{folder}: published lists know no novel classes; remove split.lists or data.open_world")
    listed = roles_from_lists(ann, read_published(folder), str(folder), allow_missing)
    if listed.mislabelled or listed.missing:
        _LOG.warning(
            "%s: %d listed labels differ from the data set's (the data set's are used), %d listed clips are not in it",
            folder,
            len(listed.mislabelled),
            len(listed.missing),
        )
    keys = ann.clips.column("key").to_pylist()
    roles = pa.array([listed.roles.get(key) for key in keys], pa.string())
    clips = ann.clips.set_column(ann.clips.schema.get_field_index("role"), "role", roles)
    return replace(ann, clips=clips.filter(roles.is_valid()))


def _refuse(ann: Annotations, where: str, wrong: list[str], n_labels: int, missing: list[str]) -> None:
    if len(wrong) > MAX_MISLABELLED * n_labels:
        raise UserError(
            f"{where}: {len(wrong)} of {n_labels} labels differ from those of {ann.dataset} "
            f"({'; '.join(wrong[:SHOWN_BAD_ROWS])}); these lists number the classes of another data set or subset, "
            "choose the matching data.subset"
        )
    if missing:
        raise UserError(
            f"{where}: {len(missing)} listed clips are not in {ann.dataset} {ann.version} "
            f"({', '.join(missing[:SHOWN_BAD_ROWS])}); choose the data.version or data.subset of these lists"
        )
