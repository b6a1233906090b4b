"""What a name that is no run is answered with."""

from pathlib import Path

from finepseudo.run_folder.others import SHOWN, no_run, runs_below


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "config.yaml").touch()


def test_runs_are_folders_with_a_configuration(tmp_path):
    make(tmp_path, "b", "a")
    (tmp_path / "no_run").mkdir()
    assert [path.name for path in runs_below(tmp_path)] == ["a", "b"]
    assert runs_below(tmp_path / "nowhere") == []


def test_what_is_there_is_named_and_of_many_those_that_are_alike_first(tmp_path):
    said = str(no_run("report", tmp_path / "dvies", "do this"))
    assert said == f"report: {tmp_path}/dvies: no such run; {tmp_path} holds no run; do this"
    make(tmp_path, *(f"a{number:02d}" for number in range(SHOWN)), "dives")
    names = str(no_run("report", tmp_path / "dvies", "do this")).split(" holds ")[1]
    assert names.startswith("dives, a00, a01, ")
    assert names.endswith(f"a{SHOWN - 2:02d} and 1 more; do this")
