"""``report.html`` in a real browser: it opens with the network off, sorts, copies, and says nothing on the console."""

from __future__ import annotations

import pytest
from chromium import SAYS, watched
from sweep_results import HOSTILE, fast_row, grid_of, refused_row, result_of

from fastki.report.sweep_files import sweep_payload
from fastki.report.sweep_html import write_report
from fastki.study.grid import SweepOptions

ROWS = [
    refused_row(error=HOSTILE),
    *grid_of((256, 1024, 512), (64.0, 20.0), orders=("freq", "dim")),
    fast_row(126.0, 1024, bound=0.01, worst_dimension=HOSTILE),
    fast_row(20.0, 128, tokens_mean=9.5),
]
COMMAND = f"fastki sweep '{HOSTILE}'"


@pytest.fixture
def opened(browser, tmp_path):
    """The page, fresh; afterwards, nothing may have been said or asked for."""
    result = result_of(ROWS, names=(HOSTILE, "b"))
    payload = sweep_payload(result, SweepOptions(), HOSTILE, ())
    with watched(browser, write_report(payload, result, COMMAND, tmp_path)[0]) as page:
        yield page


TABLE = "[...document.querySelectorAll('tbody tr')]"


def head(browser, name: str) -> str:
    place = browser.js(
        f"[...document.querySelectorAll('thead th')].findIndex((th) => th.innerText.startsWith('{name}'))"
    )
    assert place >= 0
    return f"thead th:nth-child({place + 1})"


def numbers(browser, name: str) -> list[float | None]:
    """Of a column, top to bottom; None where a row has no such cell or no number in it."""
    place = int(head(browser, name).removeprefix("thead th:nth-child(").removesuffix(")")) - 1
    return browser.js(f"{TABLE}.map((row) => Number(row.cells[{place}]?.dataset.value ?? NaN) || null)")


def test_it_opens_whole(opened):
    assert opened.js("document.title").startswith("Tokenizer sweep on </script><img src=x")
    assert opened.js("document.compatMode") == "CSS1Compat"
    assert opened.js("document.querySelectorAll('figure svg').length") == 5
    assert opened.js("document.querySelectorAll('img').length") == 0
    assert opened.js(f"{TABLE}.length") == len(ROWS)
    assert (
        opened.js(
            "(all => all.length - new Set(all.map((one) => one.id)).size)([...document.querySelectorAll('[id]')])"
        )
        == 0
    )
    widths = opened.js("[...document.querySelectorAll('figure svg')].map((svg) => svg.getBoundingClientRect().width)")
    assert all(width > 300 for width in widths)
    assert opened.js("document.documentElement.scrollWidth <= innerWidth")  # The table scrolls, not the page.


def test_a_click_sorts_by_number_and_a_second_one_the_other_way(opened):
    column = head(opened, "tokens")
    refused = f"{TABLE}.at(-1).textContent.includes('refused: ')"
    opened.click(f"{column} button")
    up = numbers(opened, "tokens")
    assert up[:-1] == sorted(row.tokens_mean for row in ROWS if not row.error)
    assert opened.js(refused)
    assert opened.js(f"document.querySelector('{column}').getAttribute('aria-sort')") == "ascending"
    opened.click(f"{column} button")
    assert numbers(opened, "tokens")[:-1] == up[-2::-1]
    assert opened.js(refused)
    assert opened.js(f"document.querySelector('{column}').getAttribute('aria-sort')") == "descending"
    assert opened.js("document.querySelectorAll('[aria-sort]').length") == 1


def test_keys_sort_too(opened):
    column = head(opened, "V")
    opened.js(f"document.querySelector('{head(opened, 'bound')} button').focus()")
    opened.press("Tab", 9)
    assert opened.js("document.activeElement.innerText.trim()") == "V"
    opened.press("Enter", 13, "\r")
    assert numbers(opened, "V")[:-1] == sorted(row.vocab_size for row in ROWS if not row.error)
    opened.press(" ", 32, " ")
    assert numbers(opened, "V")[:-1] == sorted((row.vocab_size for row in ROWS if not row.error), reverse=True)
    assert opened.js(f"document.querySelector('{column}').getAttribute('aria-sort')") == "descending"


def test_words_sort_as_words_and_what_is_missing_comes_last(opened):
    opened.click(f"{head(opened, 'order')} button")
    assert opened.js(f"{TABLE}.map((row) => row.cells[3].textContent).join(' ')").split()[:7] == ["dim"] * 6 + ["freq"]
    for _ in range(2):
        opened.click(f"{head(opened, 'bound')} button")
        assert numbers(opened, "bound")[:2] == [0.01, None]


def test_the_command_is_selected_and_copied(opened):
    opened.click(".command button")
    shown = COMMAND.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    assert opened.js("document.querySelector('.command code').textContent") == shown
    assert opened.js("getSelection().toString()") == shown
    assert opened.js("document.querySelector('.command button').textContent") in ("Copied", "Selected")


def test_no_script_of_others_can_run(opened):
    """Even markup that got through would do nothing; the browser says so on its console, which is then emptied."""
    opened.js("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title = 1\">')")
    opened.js("new Promise((done) => setTimeout(done, 100))")
    assert opened.js("document.title").startswith("Tokenizer sweep")
    logged = [event["params"]["entry"]["text"] for event in opened.events if event["method"] == "Log.entryAdded"]
    assert any("Content Security Policy" in text for text in logged)
    opened.events[:] = [
        event
        for event in opened.events
        if event["method"] not in SAYS and not event["params"].get("request", {}).get("url", "").endswith("/x")
    ]


def test_it_prints_and_darkens_with_figures_on_white(opened):
    for media, scheme, paper in (("screen", "dark", "rgb(20, 25, 30)"), ("print", "light", "rgb(255, 255, 255)")):
        opened.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        assert opened.js("getComputedStyle(document.body).backgroundColor") == paper
        assert opened.js("getComputedStyle(document.querySelector('.sheet')).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.js("getComputedStyle(document.querySelector('.command button')).display") == "none"
    opened.call("Emulation.setEmulatedMedia", media="", features=[])
