"""Many classes stay readable."""

from __future__ import annotations

from finepseudo.report import write_report
from tests.finepseudo.report.pages import Page
from tests.finepseudo.report.run_folder_fixture import write_run_folder


def test_four_hundred_classes_stay_readable(tmp_path):
    folder = write_run_folder(
        tmp_path / "wide",
        n_classes=400,
        per_class=(1, 2, 2),
        seeds=(0,),
        methods=("supervised", "finepseudo"),
        steps=5,
    )
    path = write_report(folder)
    text = path.read_text()
    assert path.stat().st_size < 1_500_000
    assert "376 other classes" in text
    assert len(Page(text).tables["per-class"]) == 401
