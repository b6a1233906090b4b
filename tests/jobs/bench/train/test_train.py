"""The training benchmark as a command, at its smallest size, and what it compares. No time is judged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from finepseudo.encoders.table import BACKBONES
from finepseudo.encoders.timesformer import TimeSformer
from finepseudo.training.objectives import Objective
from jobs.bench.train import ranks, resume
from jobs.bench.train.peers import divided_of_timm
from jobs.bench.train.steps import BAD_EVERY, CLIPS, Case, Cut, Drawn, cases, train
from jobs.cli.main import main
from tests.finepseudo.encoders.networks import randomised

TINY = Case(kind="action", variant="tiny")


@pytest.mark.slow
def test_the_quick_run_fills_every_line_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", "--quick"]) == 0
    page = capsys.readouterr().out
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 9
    assert re.search(
        r"kept features / frames, times faster \| 20.0 \| 50.0 \| \d+\.\d \| .* \| (aim|must|MISSED) ", page
    )
    kept = re.search(r"recompute / without \| 0.50 \| 0.35 \| (\S+) \| .* \| (aim|must|MISSED) ", page)
    assert kept
    assert 0 < float(kept[1]) < 1
    found = re.findall(
        r"(f_. tiny): 1 worker against 2, 20 steps \| 1.0e-05 .* moved by up to (\S+) \| (aim|must) ", page
    )
    assert [name for name, _, _ in found] == ["f_E tiny", "f_A tiny"]
    assert all(float(moved) > 1e-4 for _, moved, _ in found), "a training that goes nowhere shows nothing"
    assert re.findall(r"(f_. tiny): killed .* \| equal bits \|  \| must \|", page) == ["f_E tiny", "f_A tiny"]


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--clips", "3"], ["--clips", "2"]])
def test_odd_sizes_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "train", *options])


@pytest.mark.parametrize("options", [["speed"], ["ranks", "--encoder", "resnet"]])
def test_unknown_names_are_refused_in_one_line(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", *options]) == 2
    assert re.fullmatch(r"error: bench train: \w+: no such (part|encoder); known: .+\n", capsys.readouterr().err)


def test_every_encoder_of_both_tables_is_a_case_that_can_be_built() -> None:
    found = cases([])
    assert {(case.kind, case.variant) for case in found} == {
        (kind, n) for kind, rows in BACKBONES.items() for n in rows
    }
    for case in found:
        if not case.lacks:
            with torch.device("meta"):
                objective = case.objective()
            assert all(p.requires_grad for p in objective.encoder.parameters() if p.dim() > 3), "nothing is frozen"


def test_ranks_share_a_batch_whose_clips_are_not_all_sound() -> None:
    whole = next(Drawn(case=TINY).batches(BAD_EVERY - 1))["labelled"]
    parts = [next(Drawn(case=TINY, rank=rank, world=2).batches(BAD_EVERY - 1))["labelled"] for rank in range(2)]
    assert torch.equal(torch.cat([part.frames for part in parts]), whole.frames)
    assert [len(part.sound().keys) for part in parts] == [CLIPS // 2 - 1, CLIPS // 2]
    with pytest.raises(Cut):
        next(Drawn(case=TINY, cut=3).batches(3))


def test_a_gap_is_found_in_losses_and_in_weights(tmp_path: Path) -> None:
    start = dict(TINY.objective().state_dict())
    for name, case in (("one", TINY), ("same", TINY), ("other", Case(kind="action", variant="tiny", chance=True))):
        train(Drawn(case=case), tmp_path / name, ranks.OPTIM, 2, 2)
    same = ranks.Gap.between(tmp_path / "one", tmp_path / "same", start)
    assert (same.loss, same.weights) == (0, 0)
    other = ranks.Gap.between(tmp_path / "one", tmp_path / "other", start)
    assert min(other.loss, other.weights, other.moved) > 1e-6


class Forgetful(Case):
    """An encoder in an objective that keeps something where no checkpoint sees it."""

    def objective(self) -> Objective:
        made = Case.objective(self)
        taken: list[int] = []
        real = made.forward
        made.register_forward_pre_hook(lambda *_: taken.append(1))

        def forward(batches):
            out = real(batches)
            return type(out)(out.loss * len(taken), out.metrics)

        made.forward = forward  # type: ignore[method-assign]
        return made


@pytest.mark.parametrize(
    "case", [Case(kind="frame", variant="tiny", chance=True), Forgetful(kind="action", variant="tiny")]
)
def test_a_training_that_cannot_go_on_is_told_from_one_that_can(case: Case, tmp_path: Path) -> None:
    found = resume.differences(case, tmp_path / "x")
    assert bool(found) == isinstance(case, Forgetful)


def test_the_network_of_timms_blocks_is_ours() -> None:
    pytest.importorskip("timm", reason="timm is in the extra `encoders`")
    ours = randomised(TimeSformer(width=24, depth=2, heads=3, size=32, frames=4, drop_path=0.0)).double()
    video = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    theirs = divided_of_timm(ours)
    assert "timm" in type(theirs.blocks[1].attn).__module__  # type: ignore[index, union-attr]
    torch.testing.assert_close(theirs(video), ours(video), atol=1e-9, rtol=1e-9)
