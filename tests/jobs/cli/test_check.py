"""What `check` finds before anything is trained, and that it writes nothing unasked."""

from jobs.cli.main import main
from tests.jobs.cli.test_commands import ROLES, lists


def test_it_lists_the_missing_files_where_it_is_told_to(capsys, tmp_path):
    line = ["check", *lists(tmp_path / "in", **ROLES)]
    before = sorted(tmp_path.rglob("*"))
    assert main(line) == 2
    said = capsys.readouterr().out
    assert "PROBLEM 4 paths are missing: " in said
    assert said.endswith("not ok: 1 problem\nall missing paths, one a line: the same command with --missing FILE\n")
    assert sorted(tmp_path.rglob("*")) == before
    assert main([*line, "--missing", str(tmp_path / "gone.txt")]) == 2
    assert "--missing" not in capsys.readouterr().out
    assert (tmp_path / "gone.txt").read_text() == "".join(f"{tmp_path}/in/{name}.mp4\n" for name in "abcd")


def test_weights_that_are_still_to_come_are_no_problem_of_the_data(capsys):
    assert main(["check", "smoke"]) == 0
    assert capsys.readouterr().out.endswith("no video to check\nok\n")
    assert main(["check", "smoke", "frame_encoder.variant=vtn"]) == 0


def test_two_recipes_are_one_too_many(capsys):
    assert main(["check", "smoke", "--recipe", "diving48"]) == 2
    assert capsys.readouterr().err == (
        "error: check: smoke and --recipe diving48 both name a recipe; give one of them\n"
    )
