"""Histograms and the thresholds drawn into them."""

from __future__ import annotations

from finepseudo.report import write_report


def test_the_threshold_of_each_method_is_its_own(folder):
    """finepseudo has .5 in the configuration, pseudo_label none there: no line is drawn for it."""
    rounds = len(list(folder.glob("seed-0/finepseudo/round-*/pseudo_metrics.json")))
    assert write_report(folder).read_text().count("θ = 0.5") == rounds
