"""What the encoders of a run make of clips, for classifiers and searches of one's own.

Every array is [N, tokens, D]: f_E gives one token for each view of the test, whatever network the method trains (the
fused groups of SeFAR), f_A one unit vector a frame. Rows are in the order given, without what could not be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from finepseudo.compute.networks import placed, prepare_torch
from finepseudo.run_folder.files import sha256_file, write_table
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import save_weights
from jobs.config.run import RunConfig
from jobs.pipeline.predict.clips import Failed, Read, read_clips
from jobs.pipeline.predict.inputs import clips_of
from jobs.pipeline.predict.trained import aligned_round, newest_round
from jobs.pipeline.predict.videos import FRAME, TEST, device_for
from jobs.workers.evaluate import VIEWS_AT_ONCE
from jobs.workers.labelling import read_truth
from jobs.workers.models import trained_action_encoder, trained_frame_encoder
from shards.errors import UserError
from shards.read.cores import available_cores
from shards.write.plans import PlannedClip

ENDINGS = (".parquet", ".safetensors")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Encoders:
    """What computes features, by name, and the hash of its weights."""

    networks: Mapping[str, Any]
    hashes: Mapping[str, str]
    device: torch.device

    @torch.inference_mode()
    def features(self, read: Read, place: int) -> dict[str, Floats]:
        """Compute [tokens, D] of each encoder for one clip of a batch."""
        views = read.batch.views[TEST].frames[place]
        parts = torch.split(views, VIEWS_AT_ONCE)
        found = {"f_E": torch.cat([self.networks["f_E"].features(part.to(self.device)) for part in parts])}
        if "f_A" in self.networks:
            found["f_A"] = self.networks["f_A"](read.batch.views[FRAME].frames[place].to(self.device))[0]
        return {name: values.float().cpu().numpy() for name, values in found.items()}


def export_features(
    cfg: RunConfig, run: RunPaths, given: Sequence[str | Path], out: Path, *, seed: int | None, method: str | None
) -> list[tuple[str, str]]:
    """Write the features of videos; return the paths that could not be read, with the reason."""
    device = device_for(cfg)
    prepare_torch(available_cores(), cfg.deterministic)
    encoders, about = _load(cfg, run, cfg.seeds[0] if seed is None else seed, method, device)
    clips = clips_of(given)
    rows: dict[str, dict[str, Floats]] = {}
    failed: dict[str, str] = {}
    for item in _read(cfg, clips, encoders):
        if isinstance(item, Failed):
            failed[item.key] = item.reason
        else:
            rows |= {key: encoders.features(item, place) for place, key in enumerate(item.batch.keys)}
    good = [clip for clip in clips if clip.key in rows]
    if not good:
        raise UserError(
            f"export features: none of {len(clips)} videos can be read, first: {next(iter(failed.items()))}"
        )
    arrays = {name: np.stack([rows[clip.key][name] for clip in good]) for name in encoders.networks}
    (_write_parquet if out.suffix.lower() == ".parquet" else _write_safetensors)(out, good, arrays, about)
    return [(clip.path, failed[clip.key]) for clip in clips if clip.key in failed]


def _read(cfg: RunConfig, clips: Sequence[PlannedClip], encoders: _Encoders) -> Iterator[Failed | Read]:
    lenient = replace(cfg, reading=replace(cfg.reading, max_bad_fraction=1.0))
    views = [cfg.test_input().view(TEST), *([cfg.frame_input.view(FRAME)] if "f_A" in encoders.networks else [])]
    with closing(read_clips(lenient, clips, views, encoders.device, cfg.evaluate.batch)) as found:
        yield from found


def _load(
    cfg: RunConfig, run: RunPaths, seed: int, name: str | None, device: torch.device
) -> tuple[_Encoders, dict[str, object]]:
    cfg = replace(
        cfg, **{key: replace(getattr(cfg, key), compile=False) for key in ("action_encoder", "frame_encoder")}
    )
    method, number = newest_round(cfg, run, seed, name)
    _, classes = read_truth(run.clips)
    weights = {"f_E": run.action_encoder(seed, method.name, number) / WEIGHTS}
    trained = trained_action_encoder(cfg, weights["f_E"], len(classes), method.name if number else None)
    networks: dict[str, Any] = {"f_E": placed(trained, device)}
    last = aligned_round(run, seed, method, number)
    if last is not None:
        weights["f_A"] = run.frame_encoder(seed, method.name, last) / WEIGHTS
        networks["f_A"] = placed(trained_frame_encoder(cfg, weights["f_A"]), device)
    hashes = {key: sha256_file(path) for key, path in weights.items()}
    about = {"run": run.root.name, "seed": seed, "method": method.name, "round": number, "weights_sha256": hashes}
    return _Encoders(networks, hashes, device), about


def _write_parquet(out: Path, clips: Sequence[PlannedClip], arrays: Mapping[str, Floats], about: object) -> None:
    """One row a clip; the shape of a list column stands in its `_shape`, what made it in the metadata `finepseudo`."""
    columns: dict[str, pa.Array] = {
        "path": pa.array([clip.path for clip in clips], pa.string()),
        "start": pa.array([clip.start for clip in clips], pa.float64()),
        "end": pa.array([clip.end for clip in clips], pa.float64()),
    }
    for name, values in arrays.items():
        columns[name] = pa.array([row.ravel() for row in values], pa.list_(pa.float32()))
        columns[f"{name}_tokens"] = pa.array([values.shape[1]] * len(clips), pa.int32())
        columns[f"{name}_size"] = pa.array([values.shape[2]] * len(clips), pa.int32())
    write_table(out, pa.table(columns).replace_schema_metadata({"finepseudo": json.dumps(about)}))


def _write_safetensors(out: Path, clips: Sequence[PlannedClip], arrays: Mapping[str, Floats], about: object) -> None:
    """Arrays [N, tokens, D] by name; paths and what made them, as JSON, in the metadata."""
    rows = [[clip.path, clip.start, clip.end] for clip in clips]
    metadata = {"clips": json.dumps(rows), "finepseudo": json.dumps(about)}
    save_weights(out, {name: torch.from_numpy(values) for name, values in arrays.items()}, metadata)
