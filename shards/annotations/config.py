"""Which data set a run reads and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shards.annotations.open_world import OpenWorldConfig
from shards.annotations.roles import LIST_ROLES, ROLE_RULE
from shards.synthetic.config import SyntheticDivingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetConfig:
    """Which data set to read and where its files are."""

    # Name of the reader: a module of shards.annotations.
    name: str
    # Folder of the annotation files; paths in lists are relative to it. synthetic_diving renders into it.
    # csv: empty = the folder of the list.
    root: str = ""
    # Folder or URL of the videos; empty = rgb (diving48), frames (penn_action), root (csv) or videos below root.
    videos: str = ""
    # List files by role. csv: `all` (role in a column of its own, or none), or labelled, unlabelled, train, test, val;
    # kinetics400: train and test, empty = train.csv and val.csv below root.
    lists: Mapping[str, str] = field(default_factory=dict)
    # csv: file with one class name a line, index = line or the number beside it; empty = the names found in the lists.
    # kinetics400: the label map of the lists, where the lists do not tell it themselves.
    classes: str = ""
    # finegym: v1.0 | v1.1 of the training list; ssv2: v2 | mini; empty = v1.1, v2.
    version: str = ""
    # finegym: gym99 | gym288 | VT | FX | BB | UB | UB_S1 | FX_S1 | Gym_new; finediving: 10m or a dive number;
    # hmdb51: with-unused puts the clips that split leaves out into the training pool.
    subset: str = ""
    # finediving: action (52 dive numbers) | subaction (29 step types); empty = action.
    task: str = ""
    # ucf101, hmdb51: official split 1, 2 or 3.
    split: int = 1
    # finegym: what the video files are: element (already cut) | event | video (elements are cut out of them).
    cut_from: str = "element"
    # Pictures a second of clips that are folders of pictures (their files do not tell; broadcast video has 25).
    frame_rate: float = 25.0
    # Which files of such a folder are its frames, where others lie beside them (img_*.jpg); empty = all images.
    frame_files: str = ""
    # Known and novel classes; the default is the closed world.
    open_world: OpenWorldConfig = field(default_factory=OpenWorldConfig)
    # synthetic_diving: which dives to render.
    synthetic: SyntheticDivingConfig = field(default_factory=SyntheticDivingConfig)

    def __post_init__(self) -> None:
        """Refuse roles that no list file can have, and frame rates that no video has."""
        if not 1 <= self.frame_rate <= 240:
            raise ValueError(f"frame_rate: {self.frame_rate} is outside 1..240 pictures a second")
        for role in self.lists:
            if role not in ("all", *LIST_ROLES):
                raise ValueError(f"lists.{role}: no such role; a list file is one of all, {ROLE_RULE}")
