"""The benchmark of consistency methods: its page at the smallest size, and that its contenders do the same work."""

from __future__ import annotations

import pytest
import torch

from finepseudo.methods.fixmatch import FIXMATCH
from finepseudo.methods.sefar import SEFAR
from jobs.bench import consistency_steps as steps
from jobs.bench.methods import FIGURES
from jobs.cli.main import main
from tests.jobs.bench.test_data import cells


@pytest.mark.slow
def test_the_quick_run_fills_every_line_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "methods", "--quick"]) == 0
    found = cells(capsys.readouterr().out)
    assert set(FIGURES) < set(found) and len(found) == 6
    assert all(float(row[2]) > 0 for row in found.values())
    assert {found[name][4] for name in FIGURES} <= {"aim", "must", "MISSED"}


def test_the_bare_loop_takes_the_steps_of_ours() -> None:
    """Loss, student and teacher after two steps, with the same dropout: else a ratio of their times says nothing."""
    objective, batches = steps.trained(FIXMATCH, steps.SMALL, mu=2.0, half_life=steps.HALF_LIFE, tau=0.1)
    bare = steps.BareFixMatch(objective.encoder.__class__(objective.encoder.cfg, steps.CLASSES), batches, tau=0.1)
    for mine, theirs in ((bare.student, objective.encoder), (bare.teacher, objective.teacher.model)):
        mine.load_state_dict(theirs.state_dict())
    torch.manual_seed(3)
    ours = objective(batches)
    torch.manual_seed(3)
    assert bare.loss().item() == pytest.approx(ours.loss.item(), rel=1e-6)
    assert ours.metrics["train/weight"] > 0, "the threshold lets labels through"
    objective.encoder.load_state_dict(bare.student.state_dict())
    step = steps.step_of(objective, batches)
    for call in (lambda: [step(), step()], lambda: bare.advance(2)):
        torch.manual_seed(4)
        call()
    for mine, theirs in ((bare.student, objective.encoder), (bare.teacher, objective.teacher.model)):
        for name, value in theirs.state_dict().items():
            if value.is_floating_point():  # counters of batches are none of its business
                assert torch.allclose(mine.state_dict()[name], value, atol=1e-6), name


def test_prepared_batches_hold_what_the_method_reads() -> None:
    objective, batches = steps.trained(SEFAR, steps.Extent(clips=2, frames=8, side=16))
    assert [len(batch.keys) for batch in batches.values()] == [2, 6]
    frames = [view.frames.shape[2] for view in batches["unlabelled"].views.values()]
    assert frames == [2, 2, 4, 2, 2, 4], "groups of the weak and of the strong view"
    assert objective(batches).metrics["train/ramp"] == pytest.approx(2.0, abs=1e-3), "full weight"


def test_one_forward_and_three_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    calls = steps.forwards(steps.Extent(clips=1, frames=8, side=32), mu=1, depth=1)
    student = next(cell.cell_contents for cell in calls["one forward"].__closure__ if hasattr(cell.cell_contents, "fc"))
    found = []
    for call in calls.values():
        student.eval()  # drop path would draw for other rows
        call()
        found.append([p.grad.clone() for p in student.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))
