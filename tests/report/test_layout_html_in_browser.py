"""``report.html`` of layouts in a real browser, with the network off: it opens whole, sorts, and says nothing."""

from __future__ import annotations

import dataclasses

import pytest
from chromium import watched
from layout_results import BROKEN, COMPARISON, CUT, LATE, ROW, TOTALS
from sweep_results import HOSTILE

from fastki.report.layout_files import layouts_payload
from fastki.report.layout_html import write_report
from fastki.sequence.layout import PRESETS
from fastki.study.layouts import LayoutOptions

WORST = dataclasses.replace(PRESETS["images-prompt-state-fast"], name=HOSTILE)
CHEAP = dataclasses.replace(ROW, layout=HOSTILE, total_mean=9.5, train_flops=950_000)
SHOWN = dataclasses.replace(
    COMPARISON,
    rows=(dataclasses.replace(BROKEN, error=HOSTILE), ROW, CUT, LATE, CHEAP),
    layouts=(*PRESETS.values(), WORST),
    totals={row.layout: TOTALS for row in (ROW, CUT, LATE, CHEAP)},
    notes=(HOSTILE,),
)


@pytest.fixture
def opened(browser, tmp_path):
    payload = layouts_payload(SHOWN, LayoutOptions(layouts=SHOWN.layouts), "tok", HOSTILE)
    with watched(browser, write_report(payload, SHOWN, "fastki layouts", tmp_path)[0]) as page:
        yield page


def test_it_opens_whole(opened):
    assert opened.js("document.title").startswith("Sequence layouts on </script><img src=x")
    assert opened.js("document.querySelectorAll('figure svg').length") == 2
    assert opened.js("document.querySelectorAll('img').length") == 0
    assert opened.js("[...document.querySelectorAll('table')].map((table) => table.tBodies[0].rows.length)") == [
        5,
        5,
        7,
    ]
    ids = opened.js("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    widths = opened.js("[...document.querySelectorAll('figure svg')].map((svg) => svg.getBoundingClientRect().width)")
    assert all(width > 300 for width in widths)
    assert opened.js("document.documentElement.scrollWidth <= innerWidth")


def test_costs_sort_by_their_number_not_by_how_it_is_written(opened):
    costs = "[...document.querySelectorAll('table')][1]"
    place = opened.js(f"[...{costs}.tHead.rows[0].cells].findIndex((cell) => cell.innerText.startsWith('training'))")
    opened.click(f"section:nth-of-type(4) thead th:nth-child({place + 1}) button")
    column = f"[...{costs}.tBodies[0].rows].map((row) => row.cells[{place}]?.textContent ?? '')"
    *up, last = opened.js(column)
    assert up == ["950,000", "14.3 T", "14.3 T", "14.3 T"]
    assert last.startswith("not measured: ")


def test_long_verdicts_wrap(opened):
    box = "document.querySelector('td.wraps').getBoundingClientRect().width"
    assert 200 < opened.js(box) < 900
    assert opened.js("getComputedStyle(document.querySelector('td.wraps')).whiteSpace") == "normal"
