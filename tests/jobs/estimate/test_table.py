"""Hours and bytes from rates: by hand for one stage, and how they scale; what was not measured is said."""

import pytest
import yaml

from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.estimate.rates import FILE, shipped
from jobs.estimate.table import Cluster, hours, lines, shard_lines, stops_paying
from jobs.estimate.work import Counts, Work, works
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter

COUNTS = Counts(labelled=1500, unlabelled=13500, test=2000, gallery=720, classes=48)
RATES = shipped()


def found(*overrides):
    cfg = load("diving48", ["seeds=[0]", *overrides])
    return cfg, list(works(cfg, make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False))), COUNTS, RATES))


def one(kind, *overrides):
    return next(work for work in found(*overrides)[1] if work.kind == kind)


def test_the_shipped_rates_are_those_of_the_pages_that_name_them():
    text = (FILE.parents[2] / "tests" / "gpu" / "RESULTS.md").read_text()
    gpu, core = yaml.safe_load(FILE.read_text())
    for row in gpu["train"].values():
        for precision in ("fp32", "bf16"):
            clips, gib = row[precision]
            assert f"{clips:g} clips/s, {gib:g} GiB" in text
    pairs = [value for row in gpu["align"].values() for value in row.values()]
    assert all(f"{value:g} Mpair/s" in text for value in pairs)
    bench = (FILE.parents[2] / "tests" / "golden" / "bench_data.md").read_text()
    assert f"| write-shards | {core['write_ms']} |" in bench
    assert f"| reader 224 | {core['decode_ms'][224]} |" in bench


def test_a_training_takes_its_steps_at_the_measured_rate():
    work = one("pretrain")
    steps = 100 * -(-15000 // 32)  # 100 epochs of batches of 32
    assert work.seconds == pytest.approx(steps * 32 / 106.8)
    assert work.core_seconds == pytest.approx(steps * 32 * 4 * 0.0426)  # two views of 32 frames, 16 measured
    assert work.gib == pytest.approx(6.507)
    assert work.doubts == ()


def test_metric_learning_on_kept_features_computes_each_view_of_a_clip_once():
    """Whether it passes over them a hundred times or once; what it costs from frames is by the step, as before."""
    kept = [work for work in found("rounds=2")[1] if work.kind == "frame_encoder"]
    rate = yaml.safe_load(FILE.read_text())[0]["embed"]["frame"]
    per_second = rate["bf16"] if not isinstance(rate["bf16"], list) else rate["bf16"][0]
    assert [round(work.seconds * per_second / 4) for work in kept] == [1500, round(0.34 * 13500), 0]
    assert kept[0].seconds == one("frame_encoder", "frame_stage.train.epochs=1").seconds
    frames = one("frame_encoder", "frame_stage.freeze_image=false")
    assert frames.seconds > 10 * kept[0].seconds
    assert any("kept features" in what for what, _ in kept[0].doubts) and not frames.doubts
    first, *later = [work for work in found("rounds=2")[1] if work.kind == "embeddings"]
    assert all(work.seconds < first.seconds for work in later), "f_A's frames are there from round 0"


def test_alignment_takes_its_pairs():
    assert one("scores").seconds == pytest.approx(13500 * 720 / 404.6e6)
    assert one("scores", "embed.gallery_dtype=bfloat16").seconds == pytest.approx(13500 * 720 / 963.1e6)
    assert one("embeddings").bytes == 15000 * (32 * 128 + 48) * 4


@pytest.mark.parametrize(
    ("overrides", "doubt"),
    [
        (["frame_encoder.precision=tf32"], "gitdl, f_A in tf32: as in fp32"),
        (["frame_input.sampling.frames=24"], "alignment at T 24: in proportion to the cells of T 16"),
        (["action_encoder.variant=r3d_18"], "cross-entropy, f_E of r3d_18: as of r2plus1d_18"),
        (["action_input.augment.size=96"], "cross-entropy, f_E of other frames or another size"),
    ],
)
def test_what_was_not_measured_is_said(overrides, doubt):
    cfg, all_work = found(*overrides)
    said = list(lines(cfg, COUNTS, all_work, RATES, Cluster(nodes=1, gpus=1, cores=16)))
    assert any(line.startswith(f"not measured: {doubt}") for line in said)
    assert any("nothing was measured over a network" in line for line in said)
    assert any("NVIDIA H100" in line for line in said)


def test_more_gpus_help_until_the_work_cannot_be_shared():
    work = Work(kind="scores", seconds=3600, core_seconds=0, most=4)
    assert [round(work.hours(gpus, 16), 3) for gpus in (1, 2, 4, 8)] == [1, 0.5, 0.25, 0.25]
    reading = Work(kind="data", seconds=0, core_seconds=7200, most=100)
    assert [reading.hours(1, cores) for cores in (1, 2, 4)] == [2, 1, 0.5]


def test_nodes_stop_paying_and_more_of_them_never_take_longer():
    _, all_work = found()
    times = [hours(all_work, Cluster(nodes=nodes, gpus=2, cores=16)) for nodes in (1, 2, 4, 8, 16, 64)]
    assert times == sorted(times, reverse=True)
    last = stops_paying(all_work, Cluster(nodes=1, gpus=2, cores=16))
    now, then = (hours(all_work, Cluster(nodes=nodes, gpus=2, cores=16)) for nodes in (last, 2 * last))
    assert then > 0.75 * now
    assert stops_paying([Work(kind="x", seconds=1, core_seconds=0, most=1)], Cluster(nodes=1, gpus=1, cores=1)) == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("resources.workers=auto", "nothing has to be typed (resources: auto)"),
        ("resources={workers: 1, embed_actors: auto, score_actors: 1}", "resources.workers=4 resources.score_actors=6"),
    ],
)
def test_keys_that_take_all_gpus_are_said_where_they_are_not_auto(override, said):
    all_lines = list(lines(load("diving48", [override]), COUNTS, [], RATES, Cluster(nodes=2, gpus=3, cores=16)))
    assert f"all GPUs    {said}" in all_lines
    assert any("for 4 training workers" in line for line in all_lines), "batches of 32 and 96 by six GPUs"


def test_shards_are_enough_for_the_workers():
    cfg = load("diving48")
    assert not [line for line in shard_lines(cfg, COUNTS, 8) if line.startswith("warn")]
    (warning,) = [line for line in shard_lines(cfg, COUNTS, 128) if line.startswith("warn")]
    assert warning.endswith("shards.clips_per_shard=33")


def test_the_command_prints_a_plan_and_needs_lists_alone(tmp_path, capsys):
    assert main(["plan", "smoke", f"out={tmp_path}", "--nodes", "2", "--gpus", "4"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("cluster     2 nodes x 4 GPUs, 16 cores; rates of NVIDIA H100")
    assert "f_A of tiny: as of vtn" in said
    assert main(["plan", "diving48", f"out={tmp_path}"]) == 2
    assert "the lists are enough, no video is read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_calibration_measures_the_recipes_own_networks(tmp_path, capsys):
    assert main(["plan", "smoke", f"out={tmp_path}", "--calibrate"]) == 0
    said = capsys.readouterr().out
    assert "this machine (cpu) for training" in said or "this machine (cuda" in said
    assert "gitdl of tiny" not in said
