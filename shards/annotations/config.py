"""Which data set a run reads and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shards.annotations.roles import LIST_ROLES, ROLE_RULE
from shards.settings import BadSetting, Settings, needed, section, setting
from shards.synthetic.config import SyntheticDivingConfig

DataName = Literal[
    "csv",
    "diving48",
    "finediving",
    "finegym",
    "folder",
    "hmdb51",
    "kinetics400",
    "penn_action",
    "ssv2",
    "synthetic_diving",
    "ucf101",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenWorldConfig(Settings):
    """How many classes are known and novel, and which draw of them."""

    known: int = setting(
        0, "classes that may be labelled; 0 = closed world, all are", source="paper: 40 of Diving48", at_least=0
    )
    novel: int = setting(
        0,
        "classes that occur only among unlabelled clips; 0 = all that are left",
        source="paper: 8 (of Diving48's 47, 7 are left)",
        at_least=0,
    )
    seed: int = setting(
        0,
        "which classes: a draw of its own, the same for every label split",
        source="open in the paper",
        at_least=0,
    )

    def check(self) -> None:
        """Refuse novel classes in a closed world."""
        if self.novel and not self.known:
            raise BadSetting("novel", self.novel, "needs open_world.known, the number of known classes; set both")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetConfig(Settings):
    """Which data set to read and where its files are."""

    name: DataName = needed("the data set: its module in shards.annotations")
    root: str = setting(
        "",
        "folder of the annotation files; paths in lists are relative to it; synthetic_diving renders into it; csv: "
        "empty = the folder of the list",
    )
    videos: str = setting(
        "",
        "folder or URL of the videos; empty = rgb (diving48), frames (penn_action), root (csv) or videos below root",
    )
    lists: Mapping[str, str] = section(
        dict,
        "list files by role; csv: `all` (role in a column of its own, or none), or labelled, unlabelled, train, test, "
        "val; kinetics400: train and test, empty = train.csv and val.csv below root",
    )
    classes: str = setting(
        "",
        "csv: file with one class name a line, index = line or the number beside it; empty = the names found in the "
        "lists; "
        "kinetics400: the label map of the lists, where the lists do not tell it themselves",
    )
    version: str = setting("", "finegym: v1.0 | v1.1 of the training list; ssv2: v2 | mini; empty = v1.1, v2")
    subset: str = setting(
        "",
        "finegym: gym99 | gym288 | VT | FX | BB | UB | UB_S1 | FX_S1 | Gym_new; finediving: 10m or a dive number; "
        "hmdb51: with-unused puts the clips that split leaves out into the training pool",
    )
    task: str = setting("", "finediving: action (52 dive numbers) | subaction (29 step types); empty = action")
    split: int = setting(1, "ucf101, hmdb51: official split 1, 2 or 3", at_least=1, at_most=3)
    cut_from: Literal["element", "event", "video"] = setting(
        "element",
        "finegym: what the video files are: element (already cut) | event | video (elements are cut out of them)",
    )
    frame_rate: float = setting(
        25.0,
        "fps of clips that are folders of images (their files do not tell; broadcast video has 25)",
        at_least=1,
        at_most=240,
    )
    frame_files: str = setting(
        "", "which files of such a folder are its frames, where others lie beside them (img_*.jpg); empty = all images"
    )
    open_world: OpenWorldConfig = section(OpenWorldConfig, "known and novel classes; the default is the closed world")
    synthetic: SyntheticDivingConfig = section(SyntheticDivingConfig, "synthetic_diving: which dives to render")

    def check(self) -> None:
        """Refuse roles that no list file can have."""
        for role, path in self.lists.items():
            if role not in ("all", *LIST_ROLES):
                raise BadSetting(f"lists.{role}", path, f"no such role; a list file is one of all, {ROLE_RULE}")
