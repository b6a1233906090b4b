"""Settings of the label split."""

from __future__ import annotations

from dataclasses import dataclass

METHODS = ("stratified", "random", "lists")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """How labelled clips are chosen from the training clips."""

    # Share of the training clips that keep their label. Paper: 5, 10 and 20 % (0.05, 0.1, 0.2).
    ratio: float = 0.1
    # stratified: ceil(ratio * n) in each class (open in the paper; the rule of its predecessors) | random: over all
    # clips | lists: the data set's own labelled and unlabelled lists.
    method: str = "stratified"
    # Labelled clips in each class, instead of a ratio; None = use the ratio.
    per_class: int | None = None
    # Labelled clips every class gets at least, when it has them.
    min_per_class: int = 1
    # Let classes without any labelled clip pass; they can then never be predicted.
    allow_unseen: bool = False
    # lists: folder of published lists (train.csv, unlabel.csv, val.csv); empty = the data set's own roles.
    lists: str = ""
    # lists: leave out listed clips that the data set lacks (vanished videos) instead of refusing.
    allow_missing: bool = False
    # stratified: never split a source video between labelled and unlabelled, and leave out training clips from the
    # source videos of test clips (a quarter of Gym99's).
    group_by_source: bool = False

    def __post_init__(self) -> None:
        """Refuse ratios, counts and methods that mean nothing."""
        if self.method not in METHODS:
            raise ValueError(f"split.method: {self.method} is not one of {', '.join(METHODS)}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"split.ratio: {self.ratio} is outside (0, 1]; 10 % is written 0.1")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"split.per_class: {self.per_class}; at least 1, or null to use split.ratio")
        if self.per_class is not None and self.method != "stratified":
            raise ValueError(f"split.per_class: {self.per_class} needs split.method stratified, not {self.method}")
        if self.lists and self.method != "lists":
            raise ValueError(f"split.lists: {self.lists} needs split.method lists, not {self.method}")
        if self.group_by_source and self.method != "stratified":
            raise ValueError(f"split.group_by_source: needs split.method stratified, not {self.method}")
        if self.min_per_class < 0:
            raise ValueError(f"split.min_per_class: {self.min_per_class}; 0 or more")
