"""``report.html`` of a sweep."""

from __future__ import annotations

import dataclasses
import html

from sweep_results import HOSTILE, fast_row, grid_of, refused_row, result_of

from fastki.report.sweep_files import sweep_payload
from fastki.report.sweep_html import write_report
from fastki.study.grid import SweepOptions

COMMAND = "fastki sweep 'my data' --vocab 256,1024"


def written(tmp_path, rows, *, data="some data", options=None, **names):
    result = result_of(rows, **names)
    payload = sweep_payload(result, options or SweepOptions(), data, ("a note",))
    paths = write_report(payload, result, COMMAND, tmp_path)
    return paths, paths[0].read_text(encoding="utf-8")


def test_it_holds_the_advice_the_command_the_table_and_the_figures(tmp_path):
    rows = [*grid_of((256, 1024), (20.0, 64.0)), refused_row()]
    paths, text = written(tmp_path, rows)
    assert [path.relative_to(tmp_path).as_posix() for path in paths][:3] == [
        "report.html",
        "figures/tradeoff.png",
        "figures/tradeoff.svg",
    ]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)
    words = html.unescape(text)
    result = result_of(rows)
    assert f"row {result.recommended}: {result.recommendations[0].text}" in words
    assert f"<code>{COMMAND}</code>" in words
    assert "measured on 1,234 chunks of 16 × 3 values, from 5 episodes" in words
    assert "refused: coefficients exceed a vocabulary of 256" in words
    assert "joint_1: 0.025 rad" in words
    assert "a note" in words
    assert text.count("<svg") == 5
    assert text.count("<tr") == 1 + len(rows)
    assert "probe" not in words


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = grid_of((256, 1024), (20.0, 64.0), (16, 50))
    assert written(tmp_path / "a", rows)[1] == written(tmp_path / "b", rows)[1]


def test_where_every_cell_was_refused_it_says_so(tmp_path):
    paths, text = written(tmp_path, [refused_row(256), refused_row(512)])
    assert [path.name for path in paths] == ["report.html"]
    assert "Every cell was refused, so there is nothing to draw" in text
    assert text.count("refused: coefficients exceed a vocabulary of") == 2
    assert 'colspan="1"' in text


def test_columns_come_with_what_was_measured_and_wishes_are_named(tmp_path):
    rows = [fast_row(probe_nats_per_value=0.5, rollout_rmse=0.1, rollout_repaired=0.25)]
    _, text = written(tmp_path, rows, options=SweepOptions(max_tokens=30, probe=200))
    for words in ("30 on 99 of 100 chunks", "200 training steps", ">rollout<", ">25%<", "<svg"):
        assert words in text, words


def test_the_worst_names_stay_text(tmp_path):
    rows = [fast_row(worst_dimension=HOSTILE, worst_unit=HOSTILE), refused_row(error=HOSTILE)]
    rows.append(dataclasses.replace(fast_row(), method="published", path=HOSTILE, order=None))
    _, text = written(tmp_path, rows, data=HOSTILE, names=(HOSTILE, "b"), unit=HOSTILE)
    assert text.count("<script") == text.count("</script") == 1
    assert "<img" not in text
