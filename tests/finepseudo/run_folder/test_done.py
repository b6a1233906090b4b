"""DONE records: a kill at any write is never taken for done, and changed inputs undo a stage."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from finepseudo.run_folder.done import DONE, STARTED, Identity, Output, begin, finish, is_done, set_aside_damaged, tidy
from finepseudo.run_folder.files import read_json, write_json, write_text
from shards.errors import UserError
from tests.finepseudo.run_folder.test_files import Killed


def first(folder: Path, **config: object) -> Identity:
    return Identity(
        kind="first", folder=folder / "first", config=config, inputs={}, outputs=("out-*.txt",), scratch=("tmp",)
    )


def second(folder: Path, **config: object) -> Identity:
    inputs = {"first": folder / "first" / DONE}
    return Identity(kind="second", folder=folder / "second", config=config, inputs=inputs, outputs=("out.txt",))


def run(stage: Identity, name: str, text: str) -> None:
    begin(stage)
    write_text(stage.folder / name, text)
    finish(stage, wall_s=1.0, code_version="x")


def test_a_stage_is_done_until_config_inputs_or_outputs_change(tmp_path):
    run(first(tmp_path, lr=1), "out-1.txt", "one")
    run(second(tmp_path), "out.txt", "two")
    assert is_done(first(tmp_path, lr=1))
    assert is_done(second(tmp_path))
    assert not is_done(first(tmp_path, lr=2))
    assert not is_done(second(tmp_path, gamma=1))

    (tmp_path / "first" / "out-1.txt").write_text("ONE")
    assert not is_done(first(tmp_path, lr=1))


def test_an_output_more_or_less_undoes_the_stage(tmp_path):
    run(first(tmp_path), "out-1.txt", "one")
    (tmp_path / "first" / "out-2.txt").write_text("stranger")
    assert not is_done(first(tmp_path))
    (tmp_path / "first" / "out-2.txt").unlink()
    assert is_done(first(tmp_path))
    (tmp_path / "first" / "out-1.txt").unlink()
    assert not is_done(first(tmp_path))


def test_the_same_output_made_again_leaves_later_stages_done(tmp_path):
    run(first(tmp_path, lr=1), "out-1.txt", "one")
    run(second(tmp_path), "out.txt", "two")
    run(first(tmp_path, lr=2), "out-1.txt", "one")
    assert is_done(second(tmp_path))
    run(first(tmp_path, lr=3), "out-1.txt", "other")
    assert not is_done(second(tmp_path))


def test_a_stage_that_reads_one_output_is_not_touched_by_the_others(tmp_path):
    def make(one, two):
        begin(earlier)
        for name, text in (("one", one), ("two", two)):
            write_text(earlier.folder / f"{name}.txt", text)
        finish(earlier, wall_s=1.0, code_version="x")

    earlier = Identity(kind="first", folder=tmp_path / "first", config={}, inputs={}, outputs=("one.txt", "two.txt"))
    inputs = {"one": Output(earlier.record, "one.txt")}
    later = Identity(kind="second", folder=tmp_path / "second", config={}, inputs=inputs, outputs=("out.txt",))
    assert later.missing() == [earlier.record]
    make("1", "2")
    run(later, "out.txt", "made")
    for one, two, done in (("1", "3", True), ("4", "3", False), ("1", "2", True)):
        earlier.record.unlink()
        make(one, two)
        assert is_done(later) == done
    record = read_json(earlier.record)
    del record["outputs"]["one.txt"]
    write_json(earlier.record, record)
    assert later.missing() == [earlier.record], "a stage of an earlier version did not make it"
    assert not is_done(later)


def test_a_stage_that_has_got_a_new_kind_of_output_is_not_done(tmp_path):
    run(first(tmp_path), "out-1.txt", "one")
    assert is_done(first(tmp_path))
    assert not is_done(replace(first(tmp_path), outputs=("out-*.txt", "new.txt")))


def test_a_started_stage_goes_on_only_with_the_same_key(tmp_path):
    stage = first(tmp_path, lr=1)
    assert not begin(stage)
    (stage.folder / "tmp").mkdir()
    (stage.folder / "tmp" / "checkpoint").write_text("x")
    assert begin(stage), "the same stage goes on"
    assert (stage.folder / "tmp" / "checkpoint").exists()

    assert not begin(first(tmp_path, lr=2)), "another configuration starts over"
    assert not (stage.folder / "tmp").exists()


def test_what_a_kill_left_half_written_is_gone_when_the_stage_goes_on_or_is_done(tmp_path):
    stage = replace(first(tmp_path), outputs=("parts/out-*.txt",), scratch=("checkpoints",))
    begin(stage)
    places = [stage.folder, stage.folder / "parts", stage.folder / "checkpoints", stage.folder / "other stage"]
    left = [place / ".out-1.txt.77-0123abcd.tmp" for place in places]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    (stage.folder / "parts" / "out-1.txt").write_text("one")
    assert begin(stage)
    assert [path.exists() for path in left] == [False, False, False, True]
    left[0].write_text("half")  # by a worker that was killed, and replaced, while the stage ran
    finish(stage, wall_s=1.0, code_version="x")
    assert not left[0].exists()
    write_json(stage.folder / STARTED, stage.key())  # killed between the record and the mark's removal
    left[1].write_text("half")
    tidy(stage)
    assert is_done(stage)
    assert not (stage.folder / STARTED).exists()
    assert not left[1].exists()


def test_old_outputs_are_gone_before_an_undone_stage_runs(tmp_path):
    run(first(tmp_path, lr=1), "out-1.txt", "one")
    begin(first(tmp_path, lr=2))
    assert [path.name for path in (tmp_path / "first").iterdir()] == [STARTED]


@pytest.mark.parametrize("fails_at", range(3))
def test_a_kill_at_any_write_of_a_stage_is_never_taken_for_done(tmp_path, monkeypatch, fails_at):
    """Kill at the n-th rename of: STARTED, the output, DONE. Then the same stage runs again to the same record."""
    calls = 0
    real = os.replace

    def replace(source, target):
        nonlocal calls
        calls += 1
        if calls == fails_at + 1:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Killed):
        run(first(tmp_path), "out-1.txt", "one")
    monkeypatch.undo()
    assert not is_done(first(tmp_path))
    run(first(tmp_path), "out-1.txt", "one")
    assert is_done(first(tmp_path))
    assert not [path for path in (tmp_path / "first").iterdir() if path.name.endswith(".tmp")]


def test_a_stage_without_its_output_is_refused(tmp_path):
    begin(first(tmp_path))
    with pytest.raises(UserError, match=r"first ended without out-\*\.txt"):
        finish(first(tmp_path), wall_s=0, code_version="x")


def test_a_folder_from_outside_stands_for_the_names_in_it(tmp_path):
    videos = tmp_path / "videos"
    (videos / "run").mkdir(parents=True)
    (videos / "run" / "a.mp4").write_text("x")
    stage = Identity(kind="data", folder=tmp_path / "data", config={}, inputs={"videos": videos}, outputs=("out.txt",))
    run(stage, "out.txt", "made")
    assert is_done(stage)
    (videos / "run" / "b.mp4").write_text("x")
    assert not is_done(stage)


def three(folder: Path) -> Identity:
    stage = first(folder)
    begin(stage)
    for number in range(3):
        write_text(stage.folder / f"out-{number}.txt", str(number))
    finish(stage, wall_s=1.0, code_version="x")
    return stage


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_one_bad_output_of_a_finished_stage_is_made_again_and_the_others_stay(tmp_path, damage):
    stage = three(tmp_path)
    bad = stage.folder / "out-1.txt"
    bad.unlink() if damage == "gone" else bad.write_text("x" if damage == "flip" else "")
    assert not is_done(stage)
    assert begin(stage), "it goes on from the outputs that are right"
    assert sorted(path.name for path in stage.folder.glob("out-*")) == ["out-0.txt", "out-2.txt"]
    write_text(bad, "1")
    finish(stage, wall_s=1.0, code_version="x")
    assert is_done(stage)


def test_a_folder_where_an_output_was_is_refused_by_name(tmp_path):
    stage = three(tmp_path)
    path = stage.folder / "out-1.txt"
    path.unlink()
    path.mkdir()
    assert not is_done(stage)
    with pytest.raises(IsADirectoryError) as caught:
        begin(stage)
    assert caught.value.filename == str(path)
    path.rmdir()
    assert begin(stage)


def test_size_and_time_are_asked_first_and_a_verification_asks_the_bytes(tmp_path):
    stage = three(tmp_path)
    bad = stage.folder / "out-1.txt"
    stat = bad.stat()
    bad.write_text("x")
    os.utime(bad, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert is_done(stage)
    assert set_aside_damaged(stage) == [bad]
    assert not is_done(stage)
    assert (stage.folder / "out-1.txt.damaged").read_text() == "x"
    assert set_aside_damaged(stage) == []


def test_a_copied_run_folder_is_done_though_all_times_differ(tmp_path):
    stage = three(tmp_path)
    for path in stage.folder.glob("out-*"):
        os.utime(path, ns=(1, 1))
    assert is_done(stage)


def test_a_folder_from_before_sizes_were_recorded_is_done(tmp_path):
    stage = three(tmp_path)
    record = read_json(stage.record)
    del record["stat"]
    write_json(stage.record, record)
    assert is_done(stage)


@pytest.mark.parametrize("text", ["", "[1]", "null", "7", '{"stage": "fir', '{"stage": "first"}', "\0\0", "\ud800"])
def test_a_record_that_is_cut_or_of_another_type_counts_as_none(tmp_path, text):
    stage, later = three(tmp_path), second(tmp_path)
    run(later, "out.txt", "two")
    stage.record.write_bytes(text.encode(errors="surrogatepass"))
    assert not is_done(stage)
    assert later.missing() == [stage.record]
    assert not is_done(later)
    assert not begin(stage)
    three(tmp_path)
    assert is_done(later)
