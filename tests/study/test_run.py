"""The runner: rows in order, each computed once, whatever dies on the way."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import launch, wait_until
from row_files import finished
from toy_study import computed, shards_made, toy

from fastki.study.cells import Study, StudyError, tasks_of
from fastki.study.local import LocalEngine
from fastki.study.run import run_study
from fastki.study.store import RowStore

NUMBERS = (1, 2, 3, 4, 5)
PRODUCTS = [10, 20, 30, 40, 50]


def run(study: Study, store: Path | None = None, **options) -> list:
    rows = run_study(study, LocalEngine(2), store=None if store is None else RowStore(store), **options)
    assert multiprocessing.active_children() == []
    return [row.get("product") for row in rows]


def test_rows_come_in_the_cells_order_and_the_shard_is_made_once(tmp_path):
    heard = {}
    rows = run(toy(tmp_path, NUMBERS), on_row=lambda index, row, stored: heard.update({index: (row, stored)}))
    assert rows == PRODUCTS
    assert {index: (row["product"], stored) for index, (row, stored) in heard.items()} == {
        index: (product, False) for index, product in enumerate(PRODUCTS)
    }
    assert computed(tmp_path) == list(NUMBERS)
    assert shards_made(tmp_path) == 1


def test_cells_of_a_group_are_one_task(tmp_path):
    study = toy(tmp_path, NUMBERS, groups=2)
    assert [task.cells for task in tasks_of(study, [0, 1, 2, 4])] == [(0, 2, 4), (1,)]


def test_what_is_stored_is_not_computed_again(tmp_path):
    store, log = tmp_path / "rows", tmp_path
    assert run(toy(log, NUMBERS[:3]), store) == PRODUCTS[:3]
    flags = []
    assert run(toy(log, NUMBERS), store, on_row=lambda *said: flags.append(said[2])) == PRODUCTS
    assert computed(log) == list(NUMBERS)
    assert sorted(flags) == [False, False, True, True, True]
    assert run(toy(log, NUMBERS), store) == PRODUCTS
    assert computed(log) == list(NUMBERS)
    assert shards_made(log) == 2  # No row was missing the third time, so nothing was read.


@pytest.mark.parametrize("change", [{"factor": 11}, {"seed": 1}])
def test_a_changed_setting_is_a_new_study(tmp_path, change):
    store = tmp_path / "rows"
    run(toy(tmp_path, NUMBERS), store)
    assert run(toy(tmp_path, NUMBERS, **change), store) == [change.get("factor", 10) * number for number in NUMBERS]
    assert computed(tmp_path) == sorted([*NUMBERS, *NUMBERS])


def test_keys_depend_on_the_cell_not_on_its_place(tmp_path):
    forward, backward = toy(tmp_path, NUMBERS), toy(tmp_path, NUMBERS[::-1], groups=1)
    assert [forward.key(index) for index in range(5)] == [backward.key(index) for index in reversed(range(5))]
    assert len({forward.key(index) for index in range(5)}) == 5


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"row": 3}'])
def test_a_damaged_row_is_computed_again(tmp_path, damage):
    store = tmp_path / "rows"
    study = toy(tmp_path, NUMBERS)
    run(study, store)
    (store / f"{study.key(2)}.json").write_text(damage)
    assert run(study, store) == PRODUCTS
    assert computed(tmp_path) == sorted([*NUMBERS, 3])


def test_a_killed_worker_is_replaced_and_only_its_unfinished_cells_are_tried_again(tmp_path):
    study = toy(tmp_path, [1, 2, (3, "die once"), 4, 5])
    assert run(study, tmp_path / "rows") == PRODUCTS
    assert computed(tmp_path) == sorted([*NUMBERS, 3])


def test_a_cell_that_kills_every_worker_says_so_and_is_not_stored(tmp_path):
    study = toy(tmp_path, [1, 2, (3, "die"), 4, 5], groups=5)
    rows = run_study(study, LocalEngine(2), store=RowStore(tmp_path / "rows"))
    assert [row.get("product") for row in rows] == [10, 20, None, 40, 50]
    assert rows[2]["error"] == "its worker was lost 3 times, last by signal SIGKILL (out of memory?)"
    assert len(list((tmp_path / "rows").iterdir())) == 4
    assert computed(tmp_path) == sorted([*NUMBERS, 3, 3])


def test_a_mistake_in_the_function_ends_the_study_with_its_traceback(tmp_path):
    with pytest.raises(StudyError, match=r"(?s)'toy' failed.*number 3 is cursed"):
        run(toy(tmp_path, [1, 2, (3, "raise"), 4]))
    assert multiprocessing.active_children() == []


def test_an_interrupt_keeps_what_is_finished(tmp_path):
    study = toy(tmp_path, [1, 2, (3, "wait"), (4, "wait"), 5], groups=1)

    def interrupt(index, row, stored):
        if index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "rows", on_row=interrupt)
    assert multiprocessing.active_children() == []
    assert len(list((tmp_path / "rows").iterdir())) == 2
    assert run(study, tmp_path / "rows") == PRODUCTS
    assert [computed(tmp_path).count(number) for number in (1, 2, 5)] == [1, 1, 1]


def in_another_process(log: Path, numbers: list[tuple[int, str]]) -> subprocess.Popen[bytes]:
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from toy_study import toy\n"
        "from fastki.study.local import LocalEngine\n"
        "from fastki.study.run import run_study\n"
        "from fastki.study.store import RowStore\n"
        f"log = Path({str(log)!r})\n"
        f"run_study(toy(log, {numbers}, groups=1), LocalEngine(1), store=RowStore(log / 'rows'))\n"
    )
    return launch([sys.executable, "-c", code])


def settled(count: Callable[[], int]) -> bool:
    """Whether nothing is added for a second."""
    before = count()
    time.sleep(1)
    return count() == before


def test_a_worker_in_the_middle_of_a_cell_ends_with_a_study_that_is_killed(tmp_path):
    process, beats = in_another_process(tmp_path, [(1, "beat")]), tmp_path / "beats"
    wait_until(beats.exists, process)
    process.kill()
    process.wait()
    wait_until(lambda: settled(lambda: beats.stat().st_size))


def test_a_killed_study_leaves_whole_rows_and_goes_on(tmp_path):
    process = in_another_process(tmp_path, [(number, "wait") for number in range(1, 6)])
    rows = tmp_path / "rows"
    wait_until(lambda: len(finished(rows)) >= 2, process)
    process.kill()
    process.wait()
    kept = finished(rows)
    assert 2 <= len(kept) < 5
    assert all(json.loads(path.read_text())["row"]["product"] > 0 for path in kept)
    wait_until(lambda: settled(lambda: len(computed(tmp_path))))  # The orphaned worker goes.
    before = computed(tmp_path)
    study = toy(tmp_path, [(number, "wait") for number in range(1, 6)], groups=1)
    assert run(study, rows) == PRODUCTS
    assert len(computed(tmp_path)) - len(before) == 5 - len(kept)


def test_one_row_too_few_is_an_error(tmp_path):
    class Lazy:
        def run(self, study, tasks):
            yield 0, {"product": 10}

    with pytest.raises(StudyError, match="no row for cell"):
        run_study(toy(tmp_path, NUMBERS), Lazy())
