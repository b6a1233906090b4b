"""Which clips have a label: seeded draws and published lists, as one hashed table.

A draw ranks keys by sha256(seed, class, key). So it depends on nothing but the seed, the class and the keys: not on the
order of annotation files, on the platform or on the version of a library; and for one seed the 5 % subset lies inside
the 10 % subset, which lies inside the 20 % subset.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.annotations.base import Annotations, read_table, write_table
from shards.annotations.published_lists import with_published_lists
from shards.errors import UserError, counted
from shards.splits.config import SplitConfig
from shards.splits.own_roles import hold_out_labelled, hold_out_test, labelled_by_list
from shards.splits.reviewed import with_reviewed
from shards.splits.source_draw import choose_by_source
from shards.types import NO_LABEL, ROLES, ItemTable

SPLIT_SCHEMA = pa.schema([("key", pa.string()), ("role", pa.string()), ("label", pa.int32())])
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Leakage:
    """Source videos that labelled (unlabelled) training clips share with test clips, and the test clips concerned."""

    labelled_sources: int
    unlabelled_sources: int
    test_clips: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSplit:
    """Roles and labels of all clips (SPLIT_SCHEMA, sorted by key); unlabelled rows carry NO_LABEL."""

    table: pa.Table
    classes: list[str]
    dataset: str
    seed: int
    ratio: float
    method: str
    sha256: str
    leakage: Leakage

    def keys(self, role: str) -> list[str]:
        """List the keys of `labelled`, `unlabelled`, `test` or `held_out`, sorted."""
        keys: list[str] = self._rows(role).column("key").to_pylist()
        return keys

    def items(self, role: str) -> ItemTable:
        """Give the clips of a role as a reader takes them; unlabelled clips without a label."""
        rows = self._rows(role)
        labels = rows.column("label").to_numpy().astype(np.int32)
        return ItemTable(keys=rows.column("key").to_pylist(), labels=labels, pseudo=np.zeros(len(labels), np.bool_))

    def _rows(self, role: str) -> pa.Table:
        if role not in ROLES:
            raise ValueError(f"role {role} is not one of {', '.join(ROLES)}")
        return self.table.filter(pc.equal(self.table.column("role"), role))


def draw_split(ann: Annotations, cfg: SplitConfig, seed: int) -> LabelSplit:
    """Give every clip its role. Raises UserError when lists and method do not fit or a class gets no labelled clip."""
    ann, cfg = settle(ann, cfg)
    held_out = "test" not in ann.clips["role"].to_pylist()
    if held_out:
        ann = _with_test(ann, cfg)
    if cfg.group_by_source:
        ann = _without_test_sources(ann)
    classes = ann.classes[: ann.known]
    columns = ann.clips.sort_by("key").select(["key", "label", "role", "source"]).to_pydict()
    keys: list[str] = columns["key"]
    truth = [label if label < len(classes) else NO_LABEL for label in columns["label"]]  # novel: as if without a class
    _check_roles(columns["role"], cfg)
    if cfg.method == "lists":
        roles = columns["role"]
    else:
        rows = zip(keys, truth, columns["source"], columns["role"], strict=True)
        pool = [(key, label, source) for key, label, source, role in rows if role == "train"]
        chosen = _choose(pool, cfg, seed)
        roles = [_drawn_role(key, role, chosen) for key, role in zip(keys, columns["role"], strict=True)]
    if cfg.held_out:
        rows = zip(keys, truth, columns["source"], roles, strict=True)
        labelled = ((key, label, source) for key, label, source, role in rows if role == "labelled")
        held = hold_out_labelled(labelled, cfg.held_out, seed)
        roles = ["held_out" if key in held else role for key, role in zip(keys, roles, strict=True)]
    labels = [NO_LABEL if role == "unlabelled" else label for label, role in zip(truth, roles, strict=True)]
    _check_known(keys, roles, labels)
    table = pa.table({"key": keys, "role": roles, "label": labels}, schema=SPLIT_SCHEMA)
    if cfg.reviewed:
        table = _reviewed(table, Path(cfg.reviewed), classes)
    split = LabelSplit(
        table=table,
        classes=classes,
        dataset=ann.dataset,
        seed=seed,
        ratio=cfg.ratio,
        method=cfg.method + (f"; {cfg.test_share:.0%} held out as the test" if held_out else ""),
        sha256=split_hash(table, classes),
        leakage=_leakage(roles, columns["source"]),
    )
    if not cfg.allow_unseen:
        check_coverage(split, dict(zip(keys, truth, strict=True)))
    return split


def _reviewed(table: pa.Table, path: Path, classes: Sequence[str]) -> pa.Table:
    """Lay the labels of a person over a split."""
    rows = {row["key"]: (row["role"], row["label"]) for row in table.to_pylist()}
    laid = with_reviewed(path, rows, classes)
    shown = [{"key": key, "role": role, "label": label} for key, (role, label) in laid.items()]
    return pa.Table.from_pylist(shown, schema=SPLIT_SCHEMA)


def settle(ann: Annotations, cfg: SplitConfig) -> tuple[Annotations, SplitConfig]:
    """Read the published lists, and settle the method `auto`; keys that only a draw uses are dropped where none is."""
    if cfg.lists:
        ann = with_published_lists(ann, Path(cfg.lists), cfg.allow_missing)
    if cfg.method != "auto":
        return ann, replace(cfg, lists="")
    listed = ann if cfg.lists else labelled_by_list(ann)
    if listed is None:
        return ann, replace(cfg, method="stratified")
    return listed, replace(cfg, method="lists", lists="", per_class=None, group_by_source=False)


def _with_test(ann: Annotations, cfg: SplitConfig) -> Annotations:
    if not cfg.test_share:
        raise UserError(
            "the data set has no test clips; give some the role test, or let split.test_share=0.2 hold some out"
        )
    return hold_out_test(ann, cfg.test_share)


def split_hash(table: pa.Table, classes: Sequence[str]) -> str:
    """sha256 over the sorted lines `key<TAB>role<TAB>label` and then the class names, one a line."""
    rows = zip(*(table.column(name).to_pylist() for name in SPLIT_SCHEMA.names), strict=True)
    lines = sorted(f"{key}\t{role}\t{label}\n" for key, role, label in rows)
    return hashlib.sha256(("".join(lines) + "".join(f"{name}\n" for name in classes)).encode()).hexdigest()


def write_split(path: Path, split: LabelSplit) -> None:
    """Write the table with seed, method, hash and classes in its metadata, atomically."""
    names = ("dataset", "classes", "seed", "ratio", "method", "sha256")
    meta = {name: getattr(split, name) for name in names} | {"leakage": asdict(split.leakage)}
    write_table(path, split.table, meta)


def read_split(path: Path) -> LabelSplit:
    """Read a split back and check its hash. Raises UserError when the file is missing or was changed."""
    table, meta = read_table(path, SPLIT_SCHEMA)
    found = split_hash(table, meta["classes"])
    if found != meta["sha256"]:
        raise UserError(f"{path}: its rows hash to {found[:12]}, it says {meta['sha256'][:12]}; draw the split again")
    return LabelSplit(**{**meta, "leakage": Leakage(**meta["leakage"])}, table=table)


def _check_roles(roles: Sequence[str], cfg: SplitConfig) -> None:
    found = set(roles)
    listed = found & {"labelled", "unlabelled"}
    if cfg.method == "lists" and ("train" in found or "labelled" not in found):
        raise UserError(
            "split.method: lists takes roles labelled, unlabelled and test, but the data set has "
            f"{', '.join(sorted(found))}; give a labelled list or set split.method=stratified"
        )
    if cfg.method != "lists" and listed:
        raise UserError(
            f"split.method: {cfg.method} draws from training clips, but the data set brings its own "
            f"{' and '.join(sorted(listed))} list; set split.method=lists"
        )
    if cfg.method != "lists" and "train" not in found:
        raise UserError("the data set has no training clips to draw labelled ones from; check data.lists")


def _drawn_role(key: str, role: str, chosen: set[str]) -> str:
    if role != "train":
        return role
    return "labelled" if key in chosen else "unlabelled"


def _without_test_sources(ann: Annotations) -> Annotations:
    """Leave out training clips of source videos that test clips come from."""
    roles, sources = (ann.clips.column(name).to_pylist() for name in ("role", "source"))
    tested = {source for source, role in zip(sources, roles, strict=True) if role == "test" and source}
    keep = [role == "test" or source not in tested for source, role in zip(sources, roles, strict=True)]
    return replace(ann, clips=ann.clips.filter(pa.array(keep)))


def _choose(pool: Sequence[tuple[str, int, str]], cfg: SplitConfig, seed: int) -> set[str]:
    """Pick the labelled keys among (key, label, source); clips without a known class can only be unlabelled."""
    by_class: dict[int, list[str]] = {}
    for key, label, _ in pool:
        if label != NO_LABEL:
            by_class.setdefault(label, []).append(key)
    if cfg.group_by_source:
        quota = {label: _class_count(len(keys), cfg) for label, keys in by_class.items()}
        floor = {label: min(cfg.min_per_class, len(keys)) for label, keys in by_class.items()}
        known_rows = [row for row in pool if row[1] != NO_LABEL]
        return choose_by_source(known_rows, quota, floor, lambda sources: _ranked(sources, f"{seed}\tsource"))
    ranked = {label: _ranked(keys, f"{seed}\t{label}") for label, keys in by_class.items()}
    if cfg.method == "stratified":
        return {key for keys in ranked.values() for key in keys[: _class_count(len(keys), cfg)]}
    known = _ranked((key for keys in by_class.values() for key in keys), f"{seed}")
    least = {key for keys in ranked.values() for key in keys[: cfg.min_per_class]}
    return least | set(known[: _share(cfg.ratio, len(known))])


def _ranked(keys: Iterable[str], salt: str) -> list[str]:
    """Put keys in the random order that the salt stands for."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{salt}\t{key}".encode()).digest())


def _class_count(n: int, cfg: SplitConfig) -> int:
    wanted = cfg.per_class if cfg.per_class is not None else _share(cfg.ratio, n)
    return min(n, max(wanted, cfg.min_per_class))


def _share(ratio: float, n: int) -> int:
    """ceil(ratio * n) of the ratio as it is written: .07 of 100 is 7, whatever binary fractions make of it."""
    return math.ceil(Fraction(str(ratio)) * n)


def _check_known(keys: Sequence[str], roles: Sequence[str], labels: Sequence[int]) -> None:
    rows = zip(keys, roles, labels, strict=True)
    bad = [f"{key} ({role})" for key, role, label in rows if role != "unlabelled" and label == NO_LABEL]
    if bad:
        raise UserError(f"{len(bad)} labelled or test clips have no class, first: {', '.join(bad[:_SHOWN])}")


def check_coverage(split: LabelSplit, truth: Mapping[str, int]) -> None:
    """Raise UserError for a known class that has clips but no labelled one; Diving48's 30 has no clip at all.

    truth: key -> true label of every clip of the split, NO_LABEL or a novel class where it is not to be labelled.
    """
    known = range(len(split.classes))
    seen = set(split.items("labelled").labels.tolist())
    unseen = sorted({label for key in split.table["key"].to_pylist() if (label := truth[key]) in known} - seen)
    if unseen:
        names = ", ".join(f"{label} {split.classes[label]}" for label in unseen[:_SHOWN])
        raise UserError(
            f"{counted(len(unseen), 'class has', 'classes have')} clips but no labelled one: {names}; raise "
            "split.ratio or split.min_per_class, add labelled clips, or set split.allow_unseen=true"
        )


def _leakage(roles: Sequence[str], sources: Sequence[str]) -> Leakage:
    of = {role: {source for source, r in zip(sources, roles, strict=True) if r == role} for role in ROLES}
    shared = (of["labelled"] | of["unlabelled"]) & of["test"]
    hit = sum(role == "test" and source in shared for role, source in zip(roles, sources, strict=True))
    return Leakage(
        labelled_sources=len(of["labelled"] & of["test"]),
        unlabelled_sources=len(of["unlabelled"] & of["test"]),
        test_clips=hit,
    )
