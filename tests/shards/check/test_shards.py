"""Damage to written shards: every kind is named, and writing again makes only what was damaged."""

from dataclasses import replace

import pytest

from shards.check.shards import damaged_files, remove_damaged
from tests.shards.write.test_writer import CFG, contents, videos, write

__all__ = ["videos"]


def hurt(path, how):
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return
    data[len(data) // 2] ^= 1
    path.write_bytes(data if how == "flip" else data[: len(data) // 2])


@pytest.mark.parametrize("ending", ["tar", "idx"])
@pytest.mark.parametrize(("how", "reason"), [("flip", "not the"), ("cut", ""), ("gone", "it is not there")])
@pytest.mark.parametrize("store", [False, True])
def test_damage_is_named_and_only_it_is_written_again(tmp_path, videos, ending, how, reason, store):
    folder, tars = tmp_path / "shards", tmp_path / "shards"
    cfg = CFG
    if store:
        tars = tmp_path / "store"
        cfg = replace(CFG, store=f"file://{tars}")
    write(folder, videos, cfg)
    assert damaged_files(folder) == ([], 3)
    before, kept = contents(tars), (tars / "shard-000000.tar").stat()
    hurt(tars / f"shard-000001.{ending}", how)
    damaged, count = damaged_files(folder)
    assert count == 3
    assert [damage.name for damage in damaged] == [f"shard-000001.{ending}"]
    assert reason in damaged[0].reason
    remove_damaged(folder, damaged)
    write(folder, videos, cfg)
    assert damaged_files(folder) == ([], 3)
    assert contents(tars) == before
    assert (tars / "shard-000000.tar").stat().st_mtime_ns == kept.st_mtime_ns
