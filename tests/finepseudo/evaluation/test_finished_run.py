"""A finished run in Python."""

from dataclasses import replace

import pytest

from finepseudo import load_run
from shards.annotations.base import read_clips, write_clips
from shards.errors import UserError
from tests.finepseudo.report.run_folder_fixture import write_run_folder


@pytest.fixture
def folder(tmp_path):
    return write_run_folder(tmp_path / "run", seeds=(3, 0), rounds=2, n_classes=4, per_class=(2, 3, 2), steps=2)


def test_a_run_says_what_it_is(folder):
    run = load_run(str(folder))
    assert run.seeds == (0, 3)
    assert run.methods(3) == ("supervised", "pseudo_label", "finepseudo")
    assert len(run.classes) == 4
    assert run.dataset == "synthetic_diving"
    assert run.config["rounds"] == 2


def test_tables_and_metrics_are_those_of_the_seed_method_and_round(folder):
    run = load_run(folder)
    assert run.labelled_rounds(0, "finepseudo") == (0, 1)
    last = run.pseudo_labels(0, "finepseudo")
    assert last.equals(run.pseudo_labels(0, "finepseudo", 1))
    assert not last.equals(run.pseudo_labels(0, "finepseudo", 0))
    assert run.pseudo_metrics(0, "finepseudo", 1)["accepted"] == sum(last["accepted"].to_pylist())
    roles = run.split(3)["role"].to_pylist()
    assert run.predictions(3, "supervised").num_rows == roles.count("test") == run.metrics(3, "supervised")["n"]
    assert run.clips().num_rows == len(roles)
    assert run.quarantine()["reason"].to_pylist()[0] == "no_video_stream"
    assert {"train/loss", "seed", "step"} <= set(run.curves()[0])


def test_in_an_open_world_the_classes_are_the_known_ones(folder):
    path = load_run(folder).paths.clips
    found = read_clips(path)
    write_clips(path, replace(found, known=3))
    assert load_run(folder).classes == tuple(found.classes[:3])


def test_what_is_missing_or_damaged_is_named(folder, tmp_path):
    run = load_run(folder)
    with pytest.raises(UserError, match="no seed 7; it has 0, 3"):
        run.methods(7)
    with pytest.raises(UserError, match="supervised: no pseudo-labels"):
        run.pseudo_labels(0, "supervised")
    run.paths.quarantine.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"quarantine\.parquet: cannot be read"):
        run.quarantine()
    (run.paths.evaluation(0, "supervised") / "metrics.json").unlink()
    with pytest.raises(UserError, match="finish the run"):
        run.metrics(0, "supervised")
    with pytest.raises(UserError, match="give the folder of a run"):
        load_run(tmp_path)
