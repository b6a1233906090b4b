"""A job that makes steps may be restarted for ever; one that makes none is given up."""

import pytest

from jobs.cluster.restarts import ATTEMPT, MOST, note_run, steps_made, too_many


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """An attempt whose program works in a run folder."""
    folder, run = tmp_path / "attempt", tmp_path / "run"
    folder.mkdir()
    run.mkdir()
    monkeypatch.setenv(ATTEMPT, str(folder))
    note_run(run)
    return folder, run


def test_restarts_without_a_step_are_counted_to_the_end(attempt, tmp_path):
    folder, run = attempt
    record = tmp_path / "record.json"
    assert [too_many(record, folder) for _ in range(MOST + 1)] == [False] * MOST + [True]
    (run / "DONE.json").touch()
    assert not too_many(record, folder), "a finished stage begins the count anew"


def test_only_finished_work_is_a_step(attempt):
    folder, run = attempt
    before = steps_made(folder)
    (run / "metrics.jsonl").touch()
    assert steps_made(folder) == before
    (run / "seed-0").mkdir()
    (run / "seed-0" / "DONE.json").touch()
    assert steps_made(folder) != before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"made": 1}', '{"made": "", "restarts_without_a_step": "x"}'])
def test_a_damaged_record_counts_as_none(attempt, tmp_path, text):
    record = tmp_path / "record.json"
    record.write_text(text)
    assert not too_many(record, attempt[0])


def test_a_program_that_never_came_so_far_made_nothing(tmp_path):
    assert steps_made(tmp_path / "nowhere") == ""
