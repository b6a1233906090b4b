"""The data stage: which keys and files make the shards again."""

import pytest

from shards.errors import UserError
from tests.jobs.pipeline.stages.one_stage import inputs, reads, stage


@pytest.mark.parametrize("key", ["data.synthetic.seed=3", "shards.short_side=96", "shards.clips_per_shard=4"])
def test_what_is_stored_counts(key):
    assert reads("data", key)


@pytest.mark.parametrize("key", ["split.ratio=0.5", "seeds=[0, 1]", "resources.write_tasks=1", "reading.threads=3"])
def test_who_is_labelled_and_how_fast_it_is_written_does_not(key):
    assert not reads("data", key)


def test_the_annotation_files_are_inputs_and_shards_are_left_from_a_stop(tmp_path):
    assert inputs("data") == {}, "rendered dives have none"
    listed = stage("data", "data={name: csv}", f"data.lists.all={tmp_path / 'all.csv'}")
    assert list(listed.inputs.values()) == [tmp_path / "all.csv"]
    assert "shards" in listed.scratch
    with pytest.raises(UserError, match=r"all\.csv does not exist"):
        listed.explain()
