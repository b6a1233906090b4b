"""Races of benchmarks: turns, the clock, ratios within a round."""

from __future__ import annotations

import subprocess
import sys
import time

from finepseudo.bench.race import Contender, Target, figure, race


def test_contenders_run_in_turn_after_all_are_warm() -> None:
    calls: list[str] = []
    contenders = {name: Contender(call=lambda name=name: calls.append(name), items=1) for name in "abc"}
    race(contenders, 2)
    assert "".join(calls) == "abcabcabc"
    assert {name: len(one.seconds) for name, one in contenders.items()} == {"a": 2, "b": 2, "c": 2}


def test_processor_time_counts_work_and_children_but_no_waiting() -> None:
    def child() -> None:
        subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)

    wait, work = Contender(call=lambda: time.sleep(0.3), items=1), Contender(call=child, items=1)
    race({"wait": wait, "child": work}, 1)
    assert wait.seconds[0] < work.seconds[0]


def test_seconds_are_those_of_one_item() -> None:
    ticks = iter((0.0, 6.0, 10.0, 13.0))
    contender = Contender(call=lambda: None, items=3, clock=lambda: next(ticks))
    race({"one": contender}, 2)
    assert contender.seconds == [2.0, 1.0]


def test_a_figure_is_the_median_of_ratios_within_a_round() -> None:
    ours, peer = (Contender(call=lambda: None, items=1) for _ in range(2))
    ours.seconds, peer.seconds = [1.0, 4.0, 1.0], [10.0, 12.0, 30.0]
    assert ours.ratios(peer) == [10.0, 3.0, 30.0]
    assert figure(ours.ratios(peer), target=Target(must=10, aim=20)) == "10.0 (6.5-20.0) must"
    assert figure([0.5], ".0%", Target(must=0.6, aim=0.85)) == "50% (50%-50%) MISSED"
    assert Target(must=1, aim=2).verdict(2) == "aim"
