from shards.annotations.config import DatasetConfig
from shards.check.dataset import check_config
from tests.shards.make_clips import need_data, write_numbered


def folder(tmp_path, n=6, bad=0):
    rows = [f"{i}.mp4,{'jump' if i % 2 else 'run'}" for i in range(n)]
    for i in range(n):
        write_numbered(tmp_path / f"{i}.mp4", 10 + i)
    for i in range(bad):
        (tmp_path / f"{i}.mp4").write_text("no video")
    (tmp_path / "all.csv").write_text("\n".join(rows))
    return DatasetConfig(name="csv", lists={"all": str(tmp_path / "all.csv")})


def test_a_look_into_the_videos_says_how_long_and_large_they_are(tmp_path):
    report = check_config(folder(tmp_path), decode=None)
    assert report.ok
    assert "decoded: 6 of 6 clips\n" in report.render()
    assert "clips: 0.4 to 0.6 s, half of them over 0.5 s; short side 96 pixels; 25 frames a second" in report.render()
    assert "classes (clips): jump 3, run 3" in report.render()
    assert "decoded: 2 of 2 clips, a sample of 6" in check_config(folder(tmp_path), decode=2).render()
    assert "decoded" not in check_config(folder(tmp_path)).render()


def test_what_reads_alike_is_said_once(tmp_path):
    for name in "ab":
        write_numbered(tmp_path / f"{name}.mp4", 40)
    (tmp_path / "all.csv").write_text("a.mp4,x\nb.mp4,y\n")
    said = check_config(DatasetConfig(name="csv", lists={"all": str(tmp_path / "all.csv")}), decode=None).render()
    assert "clips: 1.6 s; short side 96 pixels; 25 frames a second" in said


def test_videos_that_cannot_be_used_are_a_problem_before_a_run(tmp_path):
    report = check_config(folder(tmp_path, bad=2), decode=None)
    assert "cannot be used: 2 clips, not_a_video" in report.render()
    assert list(report.problems) == ["2 of 6 clips cannot be used; a run stops over reading.max_bad_fraction"]
    assert check_config(folder(tmp_path, bad=2), decode=None, max_bad_fraction=0.5).ok
    assert check_config(folder(tmp_path, bad=2), decode=0).ok


def test_windows_past_the_end_and_single_frames_are_said(tmp_path):
    write_numbered(tmp_path / "a.mp4", 25)
    write_numbered(tmp_path / "b.mp4", 1)
    (tmp_path / "all.csv").write_text("path,class,start,end\na.mp4,x,0,9\nb.mp4,x,,\n")
    said = check_config(DatasetConfig(name="csv", lists={"all": str(tmp_path / "all.csv")}), decode=None).render()
    assert "odd: 1 clip, cut_past_end" in said
    assert "odd: 1 clip, one_frame" in said


def test_missing_videos_are_not_opened(tmp_path):
    cfg = folder(tmp_path)
    (tmp_path / "0.mp4").unlink()
    report = check_config(cfg, decode=None)
    assert "decoded: 5 of 5 clips\n" in report.render()
    assert len(report.problems) == 1


def test_the_flow_case_that_people_report_agrees_with_the_writer():
    path = need_data("cases/flow_beside_frames") / "train.txt"
    report = check_config(DatasetConfig(name="csv", lists={"all": str(path)}), decode=None)
    assert report.ok
    assert "decoded: 4 of 4 clips\n" in report.render()
