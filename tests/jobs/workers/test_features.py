"""Kept frame features: the numbers of training and embedding do not depend on what lies on the disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.frame_encoder import FrameEncoder
from finepseudo.training.checkpoint import save_weights
from finepseudo.training.objectives import AlignabilityObjective
from jobs.config.recipes import load
from jobs.config.run import RunConfig
from jobs.workers import models
from jobs.workers.embed import Embedder, EmbedJob
from jobs.workers.features import FeatureReader, store_of
from jobs.workers.map_parts import Pool
from jobs.workers.pair_probe import PAIR_AP, VerificationProbe
from shards.read import loader
from shards.read.config import OrderConfig
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ClipBatch, ItemTable
from tests.shards.numbered import write

LENGTHS = {f"clip{i}": 20 + i for i in range(6)}
KEYS = list(LENGTHS)
CPU = torch.device("cpu")
STEPS = 4


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write(tmp_path_factory.mktemp("h264"), LENGTHS, "h264")


def config(*overrides: str) -> RunConfig:
    return load(
        "smoke", ["frame_stage.freeze_image=true", "frame_stage.features.views=2", "reading.prefetch=0", *overrides]
    )


def encoder_of(cfg: RunConfig, seed: int = 0) -> FrameEncoder:
    encoder: Any = models.gitdl(cfg, seed).get_submodule("encoder")
    encoder.freeze_image_encoder()
    return encoder


def reader_of(cfg: RunConfig, manifest: Manifest, rank: int = 0, world: int = 1, **values: Any) -> ClipReader:
    items = ItemTable(keys=KEYS, labels=np.arange(6, dtype=np.int32) % 3, pseudo=np.zeros(6, bool))
    order = OrderConfig(batch_size=4)
    read = replace(cfg.reader(cfg.frame_input.view(), order=order), fixed_views=cfg.frame_stage.kept_views, **values)
    return ClipReader(manifest, items, read, seed=1, rank=rank, world=world)


def batches(cfg: RunConfig, manifest: Manifest, run: Path, seed: int = 0, start: int = 0) -> list[ClipBatch]:
    """The first batches of a training that begins now, at step `start`."""
    encoder = encoder_of(cfg, seed)
    reader = FeatureReader("labelled", reader_of(cfg, manifest), store_of(cfg, run, manifest, encoder), encoder)
    found = reader.batches(start)
    read = [next(found)["labelled"] for _ in range(STEPS - start)]
    found.close()
    return read


def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the clips that are decoded from here on."""
    real, counted = loader.wanted_frames, Counter[str]()

    def counting(key: str, *rest: Any, **named: Any) -> Any:
        counted[key] += 1
        return real(key, *rest, **named)

    monkeypatch.setattr(loader, "wanted_frames", counting)
    return counted


def test_features_are_those_of_the_frames_that_a_clip_reader_reads(manifest: Manifest, tmp_path: Path) -> None:
    cfg = config()
    encoder, reader = encoder_of(cfg), reader_of(cfg, manifest)
    frames = [batch for epoch in range(2) for batch in reader.epoch(epoch)]
    for mine, shown in zip(batches(cfg, manifest, tmp_path), frames, strict=True):
        assert (mine.keys, mine.labels.tolist(), mine.valid.tolist()) == (
            shown.keys,
            shown.labels.tolist(),
            shown.valid.tolist(),
        )
        wanted = encoder.frame_features(shown.frames[:, 0])[shown.valid]
        torch.testing.assert_close(mine.frames[:, 0][mine.valid], wanted, atol=1e-3, rtol=2**-7)
        embedded = encoder.eval()(mine.frames[:, 0][mine.valid])
        torch.testing.assert_close(embedded, encoder(shown.frames[:, 0][shown.valid]), atol=0.02, rtol=0)


def test_a_clip_shows_a_few_fixed_views_the_same_in_every_run(manifest: Manifest) -> None:
    cfg = config("frame_stage.features.views=3")
    seen = {}
    for reader in (reader_of(cfg, manifest), replace_seed(cfg, manifest)):
        for step in range(40):
            for request in reader.requests(step):
                assert seen.setdefault((request.key, request.view), request.seed) == request.seed
    assert {view for _, view in seen} == {0, 1, 2}
    assert len(set(seen.values())) == len(seen) == 18


def replace_seed(cfg: RunConfig, manifest: Manifest) -> ClipReader:
    reader = reader_of(cfg, manifest)
    return ClipReader(manifest, reader.items, reader.cfg, seed=99)


def test_what_lies_on_the_disk_changes_no_number(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cold, warm, begun in the middle, damaged, cut, or without room: equal bits."""
    cfg, counted = config(), decoded(monkeypatch)
    cold = batches(cfg, manifest, tmp_path)
    assert counted
    counted.clear()

    def same(found: list[ClipBatch], start: int = 0) -> None:
        assert all(torch.equal(a.frames, b.frames) for a, b in zip(found, cold[start:], strict=True))

    same(batches(cfg, manifest, tmp_path))
    assert not counted
    same(batches(cfg, manifest, tmp_path / "other", start=2), 2)
    counted.clear()
    entries = sorted(path for path in (tmp_path / "features").iterdir() if not path.name.startswith("."))
    flipped = bytearray(entries[0].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    entries[0].write_bytes(flipped)
    entries[1].write_bytes(entries[1].read_bytes()[:-3])
    same(batches(cfg, manifest, tmp_path))
    assert 1 <= counted.total() <= 8  # as often as the two views come before they are made again
    counted.clear()
    same(batches(cfg, manifest, tmp_path))
    assert not counted
    small = config("frame_stage.features.cache.gigabytes=1e-4")
    same(batches(small, manifest, tmp_path / "small"))
    assert sum(p.stat().st_size for p in (tmp_path / "small" / "features").iterdir()) <= 1.01e5
    same(batches(config("frame_stage.features.cache.gigabytes=0"), manifest, tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("override", ["frame_input.augment.size=32", "frame_input.augment.flip=0.5", None])
def test_other_weights_frames_or_augmentation_share_nothing(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str | None
) -> None:
    batches(config(), manifest, tmp_path)
    counted = decoded(monkeypatch)
    batches(config(*([override] if override else [])), manifest, tmp_path, seed=0 if override else 5)
    assert counted


def test_two_ranks_read_the_halves_of_one(manifest: Manifest, tmp_path: Path) -> None:
    cfg, whole = config(), batches(config(), manifest, tmp_path)
    for rank in range(2):
        encoder = encoder_of(cfg)
        reader = FeatureReader(
            "labelled", reader_of(cfg, manifest, rank, 2), store_of(cfg, tmp_path, manifest, encoder), encoder
        )
        for step, found in zip(range(STEPS), reader.batches(0), strict=False):
            half = whole[step].frames[2 * rank : 2 * rank + 2]
            assert torch.equal(found["labelled"].frames, half)


@torch.inference_mode()
def embedded(job: EmbedJob) -> pa.Table:
    return Embedder(job, Pool(actors=1, cpus=1, gpu=False)).table(KEYS)


@pytest.mark.parametrize("seen", ["[0.8, 1.0]", "[1.0, 1.0]"])
def test_the_pool_is_embedded_from_kept_features(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: str
) -> None:
    """f_A's frames are decoded once; p_E and embeddings are the same afterwards. f_E may see the same images or not."""
    cfg = config("frame_input.sampling.frames=12", f"action_input.augment.scale={seen}")
    frame, action = models.gitdl(cfg, 0), build_action_encoder(cfg.action_encoder, 4)
    save_weights(tmp_path / "f.safetensors", frame.state_dict())
    save_weights(tmp_path / "a.safetensors", {f"encoder.{n}": v for n, v in action.state_dict().items()})
    job = EmbedJob(
        cfg=cfg,
        run=tmp_path,
        folder=tmp_path,
        shards=Path(manifest.folder),
        n_classes=4,
        seed=0,
        action_weights=tmp_path / "a.safetensors",
        frame_weights=tmp_path / "f.safetensors",
    )
    asked: list[int] = []
    real = loader.draw_views
    monkeypatch.setattr(loader, "draw_views", lambda views, *rest: asked.append(len(views)) or real(views, *rest))
    tables = [embedded(job) for _ in range(2)]
    assert tables[0].equals(tables[1])
    assert asked == [2] * len(KEYS) + [1] * len(KEYS)
    plain_job = replace(job, cfg=config("frame_input.sampling.frames=12", "frame_stage.freeze_image=false"))
    other = embedded(plain_job)
    one, two = (torch.tensor(table["embedding"].to_pylist()) for table in (tables[0], other))
    torch.testing.assert_close(one, two, atol=0.02, rtol=0)
    assert tables[0]["p_E"].equals(other["p_E"])


def test_a_look_at_held_out_clips_tells_how_well_their_pairs_are_told(manifest: Manifest) -> None:
    """While training on kept features: f_A embeds the frames of the clips themselves."""
    cfg = config()
    objective = AlignabilityObjective(encoder_of(cfg), AlignabilityScorer(), cfg.frame_stage.loss).eval()
    labels = np.array([0, 1, 0], np.int32)
    items = [
        ItemTable(keys=keys, labels=labels[: len(keys)], pseudo=np.zeros(len(keys), bool))
        for keys in (KEYS[:3], KEYS[3:5])
    ]
    probe = VerificationProbe(cfg=cfg, shards=manifest.folder, labelled=items[0], held_out=items[1])
    assert 0 < probe(objective, 1)[PAIR_AP] <= 1
    none = ItemTable.unlabelled([])
    assert replace(probe, held_out=none)(objective, 1) == {}
