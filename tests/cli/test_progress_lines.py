"""Progress in a log: a line now and then, with what is left."""

from __future__ import annotations

import pytest

from fastki.cli.progress_lines import EVERY, ProgressLines, duration
from fastki.cli.terminal import STAGES, Terminal


def test_a_line_comes_every_half_minute_and_none_for_what_is_quick():
    now, said = [0.0], []
    tell = ProgressLines(said.append, STAGES, clock=lambda: now[0])
    for second in range(300):
        now[0] = float(second)
        tell("chunks", second, 300)
    assert len(said) == 299 // EVERY
    assert said[0] == "reading chunks: 10%, 4 min left"
    assert said[-1] == "reading chunks: 90%, 30 s left"
    now[0] += EVERY
    tell("chunks", 300, 300)
    tell("reach-v3", 0, 10)
    assert said[-1] == "reach-v3: 0%"


def test_what_was_there_before_took_no_time():
    now, said = [0.0], []
    tell = ProgressLines(said.append, {}, clock=lambda: now[0])
    tell("reach-v3", 1000, 2000)
    now[0] = 60.0
    tell("reach-v3", 1100, 2000)
    assert said == ["reach-v3: 55%, 9 min left"]


def test_a_stage_that_begins_again_is_timed_again():
    now, said = [0.0], []
    tell = ProgressLines(said.append, {}, clock=lambda: now[0])
    tell("losses", 0, 10)
    tell("losses", 10, 10)
    now[0] = 1000.0
    tell("losses", 0, 10)
    now[0] = 1030.0
    tell("losses", 5, 10)
    assert said == ["losses: 0%", "losses: 50%, 30 s left"]


def test_quiet_says_nothing_and_a_pipe_gets_lines(capsys, monkeypatch):
    monkeypatch.setattr("fastki.cli.progress_lines.EVERY", 0.0)
    for quiet, words in ((True, ""), (False, "reading chunks: 50%")):
        with Terminal(as_json=True, quiet=quiet).progress() as progress:
            progress("chunks", 0, 4)
            progress("chunks", 2, 4)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count(words) == 1 if words else captured.err == ""
        assert "\x1b" not in captured.err


@pytest.mark.parametrize(("seconds", "words"), [(89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (7200, "2.0 h")])
def test_durations_are_in_the_unit_that_people_would_say(seconds, words):
    assert duration(seconds) == words
