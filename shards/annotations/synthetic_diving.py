"""Rendered dives as a data set: real H.264 files, made where they are missing, with true phase labels.

A video lies at `<root>/videos/<nuisance>-<seed>-r<renderer version>/<split>/<key>.mp4`, a path that names all it
depends on, so another configuration in the same root never meets a stale file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shards.annotations.base import Annotations, Clip, absolute, make_annotations, write_table
from shards.annotations.config import DatasetConfig
from shards.annotations.phases import phase_table
from shards.errors import UserError
from shards.files import write_bytes
from shards.synthetic.config import NUISANCES, SyntheticDivingConfig
from shards.synthetic.pose import draw_timeline, video_generator
from shards.synthetic.renderer import FPS, render
from shards.synthetic.video import encode

RENDERER_VERSION = 1
"""Raise it when the same configuration would give other images."""
PHASES = "phases.parquet"
PHASE_SCHEMA = pa.schema([("key", pa.string()), ("names", pa.list_(pa.string())), ("phase", pa.list_(pa.int8()))])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Video:
    class_name: str
    label: int
    split: str
    index: int

    @property
    def key(self) -> str:
        return f"{self.class_name.replace(':', '_')}-{self.split}-{self.index:04d}"


def files(cfg: DatasetConfig) -> list[Path]:
    """List nothing: all of it is rendered from the configuration, which `cfg` is."""
    return []


def read(cfg: DatasetConfig) -> Annotations:
    """Render what is missing, write `<root>/phases.parquet` and give the clip table (roles train and test).

    phases.parquet: key, names (the phases of this dive in order), phase (one index into names a frame).
    """
    if not cfg.root:
        raise UserError("data.root: synthetic_diving needs a folder to render into; set data.root")
    root, synthetic = Path(absolute(cfg.root, "")), cfg.synthetic
    folder = _folder(cfg)
    clips, phases = [], []
    for video in _videos(synthetic):
        path = _path(folder, video)
        phases.append({"key": video.key, **render_missing(path, video, synthetic)})
        clips.append(Clip(name=video.key, path=str(path), label=video.label, role=video.split, source=video.key))
    write_table(root / PHASES, pa.Table.from_pylist(phases, schema=PHASE_SCHEMA), {"fps": FPS})
    return make_annotations(clips, synthetic.class_names, cfg.name, _version(synthetic))


def read_phases(cfg: DatasetConfig) -> pa.Table:
    """Return the phase of every frame of the rendered dives: columns key, phases (see `shards.annotations.phases`)."""
    path = Path(absolute(cfg.root, "")) / PHASES
    rows = pq.read_table(path, columns=["key", "phase"]).to_pylist()
    return phase_table([(row["key"], row["phase"]) for row in rows], [])


def render_part(cfg: DatasetConfig, part: int, parts: int) -> int:
    """Render every `parts`-th missing video from number `part` on, so that several processes share the work."""
    rendered = 0
    folder = _folder(cfg)
    for number, video in enumerate(_videos(cfg.synthetic)):
        path = _path(folder, video)
        if number % parts == part and not path.exists():
            render_missing(path, video, cfg.synthetic)
            rendered += 1
    return rendered


def _folder(cfg: DatasetConfig) -> Path:
    return Path(absolute(cfg.root, "")) / "videos" / _version(cfg.synthetic)


def _version(cfg: SyntheticDivingConfig) -> str:
    return f"{cfg.nuisance}-{cfg.seed}-r{RENDERER_VERSION}"


def _path(folder: Path, video: _Video) -> Path:
    return folder / video.split / f"{video.key}.mp4"


def render_missing(path: Path, video: _Video, cfg: SyntheticDivingConfig) -> dict[str, list[str] | list[int]]:
    """Render one video unless its file is there; give its phase names and the phase of every frame."""
    rng = video_generator(cfg.seed, video.split, video.class_name, video.index)
    nuisance = NUISANCES[cfg.nuisance]
    timeline = draw_timeline(video.class_name, nuisance, rng)
    if not path.exists():
        write_bytes(path, encode(render(timeline, nuisance, rng), FPS))
    return {"names": list(timeline.phases), "phase": timeline.phase.tolist()}


def _videos(cfg: SyntheticDivingConfig) -> Iterator[_Video]:
    for split, count in (("train", cfg.train_per_class), ("test", cfg.test_per_class)):
        for label, name in enumerate(cfg.class_names):
            for index in range(count):
                yield _Video(class_name=name, label=label, split=split, index=index)
