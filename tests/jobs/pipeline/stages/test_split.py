"""The split stage: its keys, its inputs, its name."""

import pytest

from finepseudo.run_folder.files import sha256_file
from jobs.pipeline.stages.pretrain import videos_of
from shards.annotations.base import Clip, make_annotations, write_clips
from shards.splits.label_split import read_split
from tests.jobs.pipeline.stages.one_stage import inputs, reads, stage
from tests.shards.numbered import write

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


def test_labels_of_a_person_leave_the_draw_as_it_was_beside_them(tmp_path, monkeypatch):
    """What pre-training reads: the same bytes, and the videos of before, also of a clip that was rejected."""
    monkeypatch.chdir(tmp_path)
    keys = [f"c{n}" for n in range(9)]
    clips = [Clip(name=k, path=k, label=n % 2, role="train" if n < 6 else "test", source=k) for n, k in enumerate(keys)]
    overrides = (f"out={tmp_path}", "split.per_class=1")
    plain = stage(NAME, *overrides)
    plain.folder.mkdir(parents=True)
    write_clips(plain.paths.clips, make_annotations(clips, ["tuck", "pike"], "csv", "1"))
    write(plain.paths.data, dict.fromkeys(keys, 4), "h264")
    plain.run()
    before, videos = read_split(plain.paths.split(0)), videos_of(plain.cfg, 0)
    first, second = before.keys("unlabelled")[:2]
    (tmp_path / "reviewed.csv").write_text(f"key,class\n{first},pike\n{second},\n")
    overrides += ("split.reviewed=reviewed.csv",)
    was = sha256_file(plain.paths.split(0))
    for name in (NAME, f"{NAME} as drawn"):
        made = stage(name, *overrides)
        made.folder.mkdir(exist_ok=True)
        made.run()
    after = read_split(made.paths.split(0))
    assert {*before.keys("labelled"), first} == set(after.keys("labelled"))
    assert second not in after.table["key"].to_pylist()
    assert sha256_file(made.folder / made.outputs[0]) == was != sha256_file(made.paths.split(0))
    assert videos_of(made.cfg, 0).keys == videos.keys == sorted({*videos.keys, first, second})
