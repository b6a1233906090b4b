"""Videos through a finished run: one from Python, many from the command line, what is damaged, several label draws."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from finepseudo import load_run
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import load_weights, save_weights
from jobs.cli.main import main
from jobs.config.recipes import to_yaml
from jobs.pipeline.predict import clips as sections
from jobs.pipeline.predict import load_predictor, predict_paths, predict_video
from jobs.pipeline.predict.videos import Asked
from jobs.pipeline.run_folder import read_config
from shards.errors import UserError
from tests.shards.make_clips import numbered_frame, write_numbered
from tests.small_run import write_small_run


@pytest.fixture
def run(tmp_path):
    write_numbered(tmp_path / "dive.mp4", 24)
    return write_small_run(tmp_path / "runs" / "small")


def test_a_run_that_was_moved_says_classes_and_matches(run, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(run, moved)
    made = predict_video(moved, tmp_path / "dive.mp4", top=3, matches=2)
    assert len(made.classes) == 3
    assert len(made.matches) == 2
    assert made.classes[0].probability >= made.classes[1].probability > 0
    assert predict_video(moved, tmp_path / "dive.mp4", top=3, matches=2).classes == made.classes


def test_a_method_that_has_not_begun_does_not_stand_for_one_that_has(run):
    """Round 0 is shared: it is every method's, and nobody's newest while another has gone on."""
    paths = RunPaths(run)
    shared = paths.action_encoder(0, None, 0)
    paths.action_encoder(0, "finepseudo", 1).rename(run / "aside")
    shutil.copytree(run / "aside", shared, dirs_exist_ok=True)
    expected = load_weights(paths.action_encoder(0, "pseudo_label", 1) / WEIGHTS, "encoder.")
    found = load_predictor(read_config(run), paths).action_encoder.network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_without_embeddings_says_classes_alone(run, tmp_path):
    shutil.rmtree(RunPaths(run).embeddings(0, "finepseudo", 1))
    made = predict_video(run, tmp_path / "dive.mp4")
    assert len(made.classes) == 4
    assert made.matches == ()


@pytest.mark.parametrize(
    ("folder", "video", "words"),
    [
        ("runs/small", "nowhere.mp4", "nowhere.mp4: no such file"),
        ("runs/other", "dive.mp4", "other: no such run; .*runs holds small; train first"),
        ("runs/small", "text.mp4", "not_a_video"),
    ],
)
def test_what_is_missing_is_said_in_one_line(run, tmp_path, folder, video, words):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=words) as refused:
        predict_video(tmp_path / folder, tmp_path / video)
    assert "\n" not in str(refused.value)


@pytest.fixture
def folder(tmp_path):
    """Three videos, a folder of frames, and files that are none."""
    place = tmp_path / "many"
    place.mkdir()
    for number in range(3):
        write_numbered(place / f"{number}.mp4", 20 + number)
    with_frames(place / "3-frames", 12)
    (place / "4.mp4").write_text("no video")
    (place / "5.mp4").write_bytes((place / "0.mp4").read_bytes()[:700])
    return place


def with_frames(folder, count):
    import av

    folder.mkdir()
    for number in range(count):
        with av.open(str(folder / f"{number:03d}.png"), "w", format="image2") as output:
            stream = output.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb24"
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, 96, 64), format="rgb24")
            output.mux([*stream.encode(frame), *stream.encode(None)])


def test_many_are_predicted_as_each_is_alone_and_what_is_damaged_says_why(run, folder, capsys, monkeypatch):
    """Over the borders of sections and batches; the exit code says that some could not be read."""
    monkeypatch.setattr(sections, "SECTION", 2)
    out = folder.parent / "out.jsonl"
    where = ["--name", run.name, f"out={run.parent}"]
    assert main(["predict", str(folder), "--out", str(out), *where]) == 1
    assert "4 of 6 videos predicted" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    names = ["0.mp4", "1.mp4", "2.mp4", "4.mp4", "5.mp4", "3-frames"]
    assert [row["path"] for row in rows] == [str(folder / name) for name in names]
    assert rows[3]["reason"] == "not_a_video"
    assert rows[4]["reason"]
    for row in (*rows[:3], rows[5]):
        assert row["reason"] == ""
        alone = predict_video(run, row["path"])
        assert row["p"] == pytest.approx(alone.p.tolist(), abs=1e-6)
        assert row["class_A"] == alone.aligned[0].name
        assert [m["key"] for m in row["matches"]] == [m.key for m in alone.matches]
        assert 0 <= row["matches"][0]["differs_from_s"] <= row["matches"][0]["differs_to_s"] < 1


def test_all_label_draws_answer_with_their_mean(run, tmp_path):
    """The second draw is a copy of the first with the class layer turned round, so that the mean is known."""
    paths, cfg = RunPaths(run), replace(read_config(run), seeds=(0, 1))
    shutil.copytree(paths.seed(0), paths.seed(1))
    paths.config.write_text(to_yaml(cfg))
    place = paths.action_encoder(1, "finepseudo", 1) / WEIGHTS
    tensors = load_weights(place)
    last = {name: value.flip(0) for name, value in tensors.items() if name.startswith("encoder.fc.")}
    save_weights(place, {**tensors, **last})
    video = [tmp_path / "dive.mp4"]
    by_seed = {seed: predict_paths(run, video, Asked(seed=seed))["p"][0].as_py() for seed in (0, 1, "all")}
    assert by_seed[1] == pytest.approx(by_seed[0][::-1], abs=1e-6)
    assert by_seed["all"] == pytest.approx([(a + b) / 2 for a, b in zip(by_seed[0], by_seed[1], strict=True)], abs=1e-6)
    with pytest.raises(UserError, match="no seed 7; it has 0, 1, or all"):
        predict_paths(run, video, Asked(seed=7))


def test_a_run_in_python_predicts_and_gives_its_embeddings(run, tmp_path):
    opened = load_run(run)
    made = opened.predict([tmp_path / "dive.mp4"], top=2)
    assert made.column_names[:4] == ["path", "start", "end", "class"]
    assert len(made["classes"][0]) == 2
    found = opened.embeddings(0, "finepseudo")
    assert set(found["key"].to_pylist()) <= set(opened.split(0)["key"].to_pylist())
    assert found.equals(opened.embeddings(0, "finepseudo", 1))
    with pytest.raises(UserError, match="supervised: no embeddings"):
        opened.embeddings(0, "supervised")


@pytest.mark.parametrize("chosen", ["action", "frame", "mean"])
def test_the_answer_is_the_one_that_the_run_chose_on_held_out_clips(run, tmp_path, chosen):
    path = RunPaths(run).votes(0, "finepseudo") / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"chosen": chosen, "because": "it was best"}))
    made = predict_video(run, tmp_path / "dive.mp4")
    expected = {"action": made.p, "frame": made.p_a, "mean": (made.p + made.p_a) / 2}[chosen]
    assert made.classes[0].probability == pytest.approx(float(expected.max()))
    assert made.classes[0].name == load_run(run).classes[int(expected.argmax())]
    assert made.acted[0].probability == pytest.approx(float(made.p.max()))
    row = predict_paths(run, [tmp_path / "dive.mp4"]).to_pylist()[0]
    assert (row["answer"], row["class"]) == (chosen, made.classes[0].name)
    assert ("by f_E" in made.lines()) == (chosen != "action")


@pytest.mark.parametrize("method", ["supervised", "pseudo_label"])
def test_a_run_of_any_method_answers(run, tmp_path, method):
    row = predict_paths(run, [tmp_path / "dive.mp4"], Asked(method=method)).to_pylist()[0]
    assert row["class"]
    assert row["class_A"] is None
    with pytest.raises(UserError, match="no method ups; it has supervised"):
        predict_paths(run, [tmp_path / "dive.mp4"], Asked(method="ups"))


def test_a_url_is_predicted_as_the_file_behind_it(run, tmp_path, web):
    address, folder = web
    shutil.copy(tmp_path / "dive.mp4", folder / "dive.mp4")
    here, there, gone = predict_paths(
        run, [tmp_path / "dive.mp4", f"{address}/dive.mp4", f"{address}/gone.mp4"]
    ).to_pylist()
    assert there["p"] == here["p"]
    assert (gone["class"], gone["reason"]) == (None, "missing_file")


def test_on_a_terminal_several_videos_take_a_line_each(run, folder, capsys):
    videos = [str(folder / name) for name in ("0.mp4", "4.mp4", "1.mp4")]
    assert main(["predict", *videos, "--seed", "all", "--name", run.name, f"out={run.parent}"]) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == videos
    assert all(" %, by alignment " in line for line in (lines[0], lines[2]))
    assert lines[1].endswith("-  not_a_video")
    assert f"not readable: {videos[1]}: not_a_video" in said.err


def test_one_damaged_video_among_files_is_a_row_like_another(run, folder, capsys):
    out = folder.parent / "one.csv"
    where = ["--name", run.name, f"out={run.parent}"]
    assert main(["predict", str(folder / "4.mp4"), "--out", str(out), *where]) == 1
    assert "0 of 1 video predicted" in capsys.readouterr().out
    assert "4.mp4" in out.read_text()
    assert main(["predict", str(folder / "4.mp4"), *where]) == 2, "without a table it is the whole answer"
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_a_name_breaks_no_line_of_the_terminal(run, folder, capsys):
    shutil.copy(folder / "0.mp4", folder / "a\nb\x1b[2J.mp4")
    (folder / "c\td.mp4").write_text("no video")
    names = [str(folder / name) for name in ("a\nb\x1b[2J.mp4", "c\td.mp4")]
    assert main(["predict", *names, "--name", run.name, f"out={run.parent}"]) == 1
    said = capsys.readouterr()
    assert [line.split("/")[-1].split()[0] for line in said.out.splitlines()] == [r"a\nb\x1b[2J.mp4", r"c\td.mp4"]
    assert said.err.count("\n") == 1


def test_another_ending_is_refused_before_anything_is_computed(run, folder, capsys):
    assert main(["predict", str(folder), "--out", "x.xlsx", "--name", run.name, f"out={run.parent}"]) == 2
    assert "x.xlsx: ends with none of" in capsys.readouterr().err
