"""The split stage: its keys, its inputs, its name."""

import pytest

from tests.jobs.pipeline.stages.one_stage import inputs, reads, stage

NAME = "split of seed-0"


@pytest.mark.parametrize(
    ("key", "read"), [("split.ratio=0.5", True), ("split.min_per_class=0", True), ("rounds=2", False)]
)
def test_how_labels_are_drawn_counts(key, read):
    assert reads(NAME, key) == read


def test_it_reads_the_clips_and_the_published_lists(tmp_path):
    assert inputs(NAME) == {"data": "data/DONE.json"}
    (tmp_path / "train.csv").write_text("a.mp4 0\n")
    found = stage(NAME, "split.method=lists", f"split.lists={tmp_path}").inputs
    assert list(found.values())[1:] == [tmp_path / "train.csv"]


def test_it_lies_in_the_folder_of_the_seed_under_a_name_of_its_own():
    found = stage(NAME)
    assert found.folder.name == "seed-0"
    assert list(found.outputs) == ["split.parquet"]
