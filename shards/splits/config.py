"""Settings of the label split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shards.settings import BadSetting, Settings, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig(Settings):
    """How labelled clips are chosen from the training clips."""

    ratio: float = setting(
        0.1,
        "share of the training clips that keep their label; 10 % is written 0.1",
        source="paper: 5, 10 and 20 %",
        above=0,
        at_most=1,
    )
    method: Literal["auto", "stratified", "random", "lists"] = setting(
        "auto",
        "auto: lists where the data set says who is labelled (its roles, or classes that only some clips have), else "
        "stratified | stratified: ceil(ratio * n) in each class | random: over all clips | lists: the data set's own "
        "labelled and unlabelled lists",
        source="open in the paper; the rule of its predecessors",
    )
    per_class: int | None = setting(
        None, "labelled clips in each class, instead of a ratio; null = use the ratio", at_least=1
    )
    min_per_class: int = setting(1, "labelled clips every class gets at least, when it has them", at_least=0)
    allow_unseen: bool = setting(False, "let classes without any labelled clip pass; they can then never be predicted")
    lists: str = setting(
        "",
        "method lists: folder of published lists (train.csv, unlabel.csv, val.csv); empty = the data set's own roles",
    )
    allow_missing: bool = setting(
        False, "method lists: leave out listed clips that the data set lacks (vanished videos) instead of refusing"
    )
    group_by_source: bool = setting(
        False,
        "stratified: never split a source video between labelled and unlabelled, and leave out training clips from "
        "the source videos of test clips (a quarter of Gym99's)",
    )
    test_share: float = setting(
        0.2,
        "share of the labelled clips that is held out as the test where a data set has no test clips, stratified, "
        "never from a source video that is trained on; 0 = refuse such a data set",
        at_least=0,
        at_most=0.5,
    )
    reviewed: str = setting(
        "",
        "labels that a person gave to clips of the pool (`finepseudo review` writes them): CSV with key and class, an "
        "empty class leaves the clip out; a run goes on with it",
    )
    held_out: float = setting(
        0.0,
        "share of the labelled clips of each class that nothing trains on (at least one where a class has two), never "
        "from a source video that is trained on: they choose the vote, calibrate the bar of pseudo-labels and the "
        "best weights, which test clips must not",
        at_least=0,
        at_most=0.5,
    )

    def check(self) -> None:
        """Refuse settings that another method would ignore."""
        if self.per_class is not None and self.method not in ("auto", "stratified"):
            self._needs("per_class", "stratified")
        if self.lists and self.method not in ("auto", "lists"):
            self._needs("lists", "lists")
        if self.group_by_source and self.method not in ("auto", "stratified"):
            self._needs("group_by_source", "stratified")

    def _needs(self, key: str, method: str) -> None:
        raise BadSetting(key, getattr(self, key), f"needs split.method {method}, not {self.method}; change one of them")
