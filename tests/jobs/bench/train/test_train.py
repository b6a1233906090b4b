"""The training benchmark as a command, at its smallest size, and what it compares. No time is judged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from finepseudo.distributed import SyncBatchNorm
from finepseudo.encoders.resnet import ResNet50
from finepseudo.encoders.table import BACKBONES
from finepseudo.encoders.timesformer import TimeSformer
from finepseudo.training.objectives import Objective
from jobs.bench.train import ranks, resume
from jobs.bench.train.peers import divided_of_timm
from jobs.bench.train.steps import BAD_EVERY, BRANCH, SMALLEST, Case, Cut, Drawn, cases, settle, train
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
    assert [len(part.sound().keys) for part in parts] == [SMALLEST.clips // 2 - 1, SMALLEST.clips // 2]
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


def test_clips_in_another_order_are_the_same_training_but_for_rounding(tmp_path: Path) -> None:
    whole, turned = (next(Drawn(case=TINY, turned=flag).batches(0))["labelled"] for flag in (False, True))
    assert torch.equal(turned.frames, whole.frames.flip(0))
    assert torch.equal(turned.labels, whole.labels.flip(0))
    found = ranks.rounding(TINY, tmp_path / "x", 3)
    assert 0 <= found.worst < 1e-5 < found.moved


def test_a_missed_row_is_followed_by_what_rounding_does_and_by_a_settled_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {False: ranks.Gap(2e-2, 1e-3, 1.0), True: ranks.Gap(1e-7, 2e-6, 1.0)}
    monkeypatch.setattr(ranks, "gaps", lambda chosen, _: iter([given[case.settled] for case in chosen]))
    monkeypatch.setattr(ranks, "STEPS", 2)
    ranks.compare_ranks([TINY], tmp_path)
    first, order, settled = capsys.readouterr().out.splitlines()
    assert re.match(r"\| f_E tiny: 1 worker against 2, 2 steps \| .* \| 2.0e-02 \| .* \| MISSED \|", first)
    assert re.match(r"\| f_E tiny: 1 worker, clips in another order \|  \|  \| \d\.\de-\d+ \| .* \|  \|", order)
    assert re.match(r"\| f_E tiny: .* settled start, larger clips \| .* \| 2.0e-06 \| .* \| must \|", settled)


def test_a_settled_start_weighs_branches_and_no_shortcut() -> None:
    network = ResNet50((1, 1, 1, 1))
    network.layer1[0].ls1 = torch.nn.Module()
    network.layer1[0].ls1.gamma = torch.nn.Parameter(torch.full((3,), 1e-5))
    settle(network)
    weighed = {
        n for n, m in network.named_modules() if isinstance(m, SyncBatchNorm) and bool((m.weight == BRANCH).all())
    }
    assert weighed == {f"layer{stage}.0.bn3" for stage in range(1, 5)}
    assert bool((network.layer1[0].ls1.gamma == 1).all())


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
