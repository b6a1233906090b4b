"""What the roles of a data set leave open: who is labelled where its list says so, who is the test where none is.

Both are settled before labels are drawn, and depend on nothing but the clips.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from shards.annotations.base import Annotations
from shards.errors import UserError
from shards.types import NO_LABEL


def labelled_by_list(ann: Annotations) -> Annotations | None:
    """Give the training clips of a list that says who is labelled their roles; None where it leaves that to a draw.

    It says so by the roles labelled and unlabelled, or by classes that only some of its training clips have: those are
    the labelled ones. UserError where training clips stand beside labelled ones.
    """
    roles, labels = (ann.clips.column(name).to_pylist() for name in ("role", "label"))
    training = [label for role, label in zip(roles, labels, strict=True) if role == "train"]
    found = set(roles)
    if "labelled" in found and training:
        raise UserError(
            f"roles: {len(training):,} clips are train and {roles.count('labelled'):,} labelled; write labelled or "
            "unlabelled for each, or train for all"
        )
    if training and "unlabelled" not in found and (NO_LABEL not in training or set(training) == {NO_LABEL}):
        return None
    if not found & {"labelled", "unlabelled"} and not training:
        return None
    of_train = ["unlabelled" if label == NO_LABEL else "labelled" for label in labels]
    return _with_roles(ann, [own if r == "train" else r for r, own in zip(roles, of_train, strict=True)])


def hold_out_test(ann: Annotations, share: float) -> Annotations:
    """Make a share of the clips with a class the test, near `share` of each class; a class keeps at least one clip.

    A source video is never divided. Which clips are held out depends on nothing but their sources and keys, so every
    label draw is tested on the same ones. UserError where no class has clips of two source videos.
    """
    columns = ("key", "role", "label", "source")
    keys, roles, labels, sources = (ann.clips.column(name).to_pylist() for name in columns)
    groups: dict[str, Counter[int]] = {}
    for key, role, label, source in zip(keys, roles, labels, sources, strict=True):
        if role in ("train", "labelled") and 0 <= label < (ann.known or len(ann.classes)):
            groups.setdefault(source or key, Counter())[label] += 1
    taken = frozenset(_take(groups, share, "test"))
    if not taken:
        raise UserError(
            "no clip is a test clip, and none can be held out: no class has two labelled clips of different source "
            f"videos{_as_one(keys, sources)}; label more clips, or give some the role test"
        )
    tested = [
        "test" if r in ("train", "labelled") and lb != NO_LABEL and (s or k) in taken else r
        for k, r, lb, s in zip(keys, roles, labels, sources, strict=True)
    ]
    return _with_roles(ann, tested)


def _as_one(keys: Sequence[str], sources: Sequence[str]) -> str:
    """Name two clips that count as one, where there are any: by their names, or by what the list says."""
    first: dict[str, str] = {}
    for key, source in zip(keys, sources, strict=True):
        if source and first.setdefault(source, key) != key:
            return f" ({first[source]} and {key} count as parts of one, {source})"
    return ""


def hold_out_labelled(rows: Iterable[tuple[str, int, str]], share: float, seed: int) -> frozenset[str]:
    """Choose near `share` of the labelled clips (key, label, source) of each class: at least one, never the last.

    A source video is never divided. UserError where no class has clips of two source videos.
    """
    groups: dict[str, Counter[int]] = {}
    of: dict[str, str] = {}
    for key, label, source in rows:
        of[key] = source or key
        groups.setdefault(of[key], Counter())[label] += 1
    taken = frozenset(_take(groups, share, f"held out\t{seed}"))
    if not taken:
        raise UserError(
            f"split.held_out = {share:g}: no class has two labelled clips of different source videos; label more clips "
            "(split.ratio, split.per_class), or set split.held_out=0"
        )
    return frozenset(key for key, source in of.items() if source in taken)


def _take(groups: Mapping[str, Counter[int]], share: float, salt: str) -> Iterator[str]:
    total: Counter[int] = Counter()
    for counts in groups.values():
        total.update(counts)  # a sum of counters would copy all classes for each source
    want = {label: max(1, round(share * n)) for label, n in total.items() if n > 1}
    have: Counter[int] = Counter()
    ranked = sorted(groups, key=lambda source: hashlib.sha256(f"{salt}\t{source}".encode()).digest())
    left = []
    for source in ranked:
        if all(have[label] + n <= want.get(label, 0) for label, n in groups[source].items()):
            have.update(groups[source])
            yield source
        else:
            left.append(source)
    for source in sorted(left, key=lambda source: sum(groups[source].values())):  # classes whose sources are large
        lacking = any(not have[label] and label in want for label in groups[source])
        if lacking and all(have[label] + n < total[label] for label, n in groups[source].items()):
            have.update(groups[source])
            yield source


def _with_roles(ann: Annotations, roles: list[str]) -> Annotations:
    place = ann.clips.schema.get_field_index("role")
    return replace(ann, clips=ann.clips.set_column(place, "role", pa.array(roles, pa.string())))
