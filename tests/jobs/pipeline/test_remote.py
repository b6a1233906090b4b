"""A list of every kind of source, shards in a remote store, and what the run's stages and readers make of them."""

import json
from dataclasses import replace

import pytest
import torch

from finepseudo.run_folder.done import hash_outputs
from finepseudo.run_folder.layout import RunPaths
from jobs.cli.write_part import write_part
from jobs.config.recipes import load
from jobs.pipeline.predict.clips import Read, read_clips
from jobs.pipeline.predict.inputs import clips_of
from jobs.pipeline.stages.base import Run
from jobs.pipeline.stages.data import DataStage
from jobs.progress import Reporter
from jobs.workers.clip_parts import evaluation_reader
from jobs.workers.write_shards import write_data
from shards.errors import UserError
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ItemTable
from tests.shards.make_clips import write_numbered
from tests.shards.sources.test_sources import frame_folder, pack


@pytest.fixture
def sources(tmp_path, bucket, web):
    """Eight clips: files, frame folders, tar members, an object and a web page's video; one more is missing."""
    import s3fs

    folder = tmp_path / "data"
    folder.mkdir()
    videos = [write_numbered(folder / f"v{index}.mp4", 20 + index, width=64, height=64) for index in range(4)]
    frame_folder(folder / "frames" / "1", 18, size=(64, 64))
    pack(folder / "part.tar", clips__packed=videos[1])
    s3fs.S3FileSystem().put_file(str(videos[2]), f"{bucket}/videos/object.mp4")
    (web[1] / "page.mp4").write_bytes(videos[3].read_bytes())
    paths = ["v0.mp4", "v1.mp4", "frames/1", "tar://clips/packed::part.tar", f"{bucket}/videos/object.mp4"]
    paths += [f"{web[0]}/page.mp4", "gone.mp4"]
    rows = [f"{path},{'ab'[index % 2]},{'train' if index < 5 else 'test'}" for index, path in enumerate(paths)]
    (folder / "list.csv").write_text("\n".join(rows))
    return folder / "list.csv"


def config(tmp_path, name, sources, store, *more):
    data = {"data": {"name": "csv", "lists": {"all": str(sources)}}, "name": name}
    small = ["shards.clips_per_shard=3", "resources.write_tasks=0", "reading.max_bad_fraction=0.2"]
    cache = f"reading.cache.folder={tmp_path / 'cache'}"
    return load("smoke", [f"out={tmp_path / 'runs'}", f"shards.store='{store}'", cache, *small, *more], data)


def reporter(cfg):
    return Reporter(cfg.folder, tensorboard=False)


def test_every_source_goes_to_the_store_and_comes_back(tmp_path, sources, bucket, capsys):
    cfg = config(tmp_path, "remote", sources, f"{bucket}/shards", "data.frame_rate=10")
    paths = RunPaths(cfg.folder)
    write_data(cfg, paths, reporter(cfg))
    assert "quarantine: 1 of 7 clips (14.3 %)" in capsys.readouterr().out
    plain = config(tmp_path, "plain", sources, "", "data.frame_rate=10")
    local = write_data(plain, RunPaths(plain.folder), reporter(plain))
    for name in ("manifest.json", "manifest.parquet"):
        assert (paths.shards / name).read_bytes() == (local.folder / name).read_bytes()
    assert not list(paths.shards.glob("*.tar"))
    assert sorted(row.fps for row in map(local.row, local.keys)) == [10.0, *[25.0] * 5]
    readers = (
        evaluation_reader(one, RunPaths(one.folder).shards, [cfg.action_input.view()], torch.device("cpu"))
        for one in (cfg, plain)
    )
    read, expected = (reader.read(local.keys) for reader in readers)
    assert expected.valid.all()
    assert read.frames.equal(expected.frames)
    assert list((tmp_path / "cache").glob("*.tar"))
    items = ItemTable.unlabelled(local.keys)
    order = replace(cfg.pretrain.order, batch_size=2, shard_window=1)
    reader = cfg.reader(cfg.action_input.view(), order=order)
    remote = Manifest.open(paths.shards, reader.cache, scattered=False)
    batches = list(ClipReader(remote, items, reader, seed=0).epoch(0))
    assert sorted(key for batch in batches for key in batch.keys) == local.keys
    assert all(batch.valid.all() for batch in batches)


@pytest.mark.slow
def test_parts_of_an_array_fill_one_store(tmp_path, sources, bucket, capsys):
    cfg = config(tmp_path, "parts", sources, f"{bucket}/shards")
    for part in ("1/2", "0/2", "1/2"):
        assert write_part(cfg, part) == 0
    write_data(cfg, RunPaths(cfg.folder), reporter(cfg))
    assert capsys.readouterr().out.count("(there already)") == 3
    other = config(tmp_path, "other", sources, f"{bucket}/shards", "shards.short_side=64")
    with pytest.raises(UserError, match="holds the shards of other clips or of another configuration"):
        write_part(other, "0/2")


@pytest.mark.slow
def test_where_shards_lie_does_not_undo_what_was_made_from_them(tmp_path, sources, bucket):
    """The data stage has the same outputs, so the stages behind it have the same inputs."""
    hashes = []
    for store in ("", f"{bucket}/shards"):
        cfg = config(tmp_path, "moved", sources, store)
        write_data(cfg, RunPaths(cfg.folder), reporter(cfg))
        hashes.append(hash_outputs(DataStage(run_of=Run(cfg, reporter(cfg))).identity))
    assert hashes[0] == hashes[1]
    assert json.loads((RunPaths(cfg.folder).shards / "store.json").read_text()) == {"url": f"{bucket}/shards"}


def test_one_video_is_predicted_without_the_store(tmp_path, sources):
    cfg = config(tmp_path, "one", sources, "s3://no-such-bucket/x")
    (read,) = read_clips(cfg, clips_of([sources.parent / "v0.mp4"]), [cfg.action_input.view()], torch.device("cpu"), 1)
    assert isinstance(read, Read)
    assert len(read.batch.keys) == 1
