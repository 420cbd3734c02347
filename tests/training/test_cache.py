"""What is kept: never more than the limit, what was used last, and never across processes."""

from __future__ import annotations

import pickle
import threading
import time

import pytest

from fastki.errors import UsageError
from fastki.training.cache import ByteCache


def made(cache, key, size=10):
    calls = []
    thing = cache.get(key, lambda: calls.append(key) or b"x" * size)
    assert len(thing) == size
    return bool(calls)


def test_a_thing_is_made_once_while_there_is_room():
    cache = ByteCache(30, len)
    assert [made(cache, key) for key in (1, 2, 1, 3, 2)] == [True, True, False, True, False]
    assert (cache.held, len(cache)) == (30, 3)


def test_what_was_used_longest_ago_goes_first():
    cache = ByteCache(20, len)
    made(cache, 1), made(cache, 2), made(cache, 1)
    assert made(cache, 3)
    assert not made(cache, 1)
    assert made(cache, 2)
    assert cache.held == 20


@pytest.mark.parametrize("limit", [0, 9])
def test_a_thing_larger_than_the_limit_is_not_kept_and_drives_nothing_out(limit):
    cache = ByteCache(limit, len)
    assert made(cache, "small", 5)
    held = cache.held
    assert all(made(cache, "large", 10) for _ in range(2))
    assert cache.held == held <= limit


def test_a_pickled_cache_is_empty_and_works():
    cache = ByteCache(50, len, serial=True)
    made(cache, 1)
    other = pickle.loads(pickle.dumps(cache))
    assert (other.held, made(other, 1), made(other, 1), other.held) == (0, True, False, 10)


@pytest.mark.parametrize(("serial", "most"), [(True, 1), (False, 2)])
def test_a_serial_cache_makes_one_thing_at_a_time(serial, most):
    cache = ByteCache(100, len, serial=serial)
    busy, peak, lock = 0, 0, threading.Lock()

    def make():
        nonlocal busy, peak
        with lock:
            busy += 1
            peak = max(peak, busy)
        time.sleep(0.1)
        with lock:
            busy -= 1
        return b"x"

    threads = [threading.Thread(target=cache.get, args=(key, make)) for key in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak == most


def test_threads_that_want_the_same_thing_get_one_and_its_size_counts_once():
    cache, got = ByteCache(100, len), []

    def slowly():
        time.sleep(0.05)
        return b"x" * 10

    threads = [threading.Thread(target=lambda: got.append(cache.get(1, slowly))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(thing) for thing in got}) == 1
    assert cache.held == 10


def test_a_negative_limit_is_refused():
    with pytest.raises(UsageError, match="-1 bytes"):
        ByteCache(-1, len)
