"""Arrays through a pipe: the same values, types and shapes, and their own memory."""

from __future__ import annotations

import multiprocessing
import threading

import numpy as np
import pytest

from fastki.training.pipes import receive, send

THINGS = [
    np.arange(12, dtype=np.int32).reshape(3, 4),
    np.zeros((0, 3), np.uint8),
    np.arange(20, dtype=np.float32)[::2],
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(True),
    np.random.default_rng(0).integers(0, 256, (40, 100, 100, 3), np.uint8),
]


def through(thing):
    one, other = multiprocessing.Pipe()
    thread = threading.Thread(target=send, args=(one, thing))
    thread.start()
    arrived = receive(other)
    thread.join()
    return arrived


def test_what_arrives_is_what_was_sent():
    arrived = through({"arrays": THINGS, "word": "x", "nothing": None})
    assert (arrived["word"], arrived["nothing"]) == ("x", None)
    for there, here in zip(arrived["arrays"], THINGS, strict=True):
        assert (there.dtype, there.shape) == (here.dtype, here.shape)
        np.testing.assert_array_equal(there, here)
    arrived["arrays"][0][0, 0] = 99
    assert THINGS[0][0, 0] == 0


def test_a_sender_that_is_gone_in_the_middle_is_told():
    one, other = multiprocessing.Pipe()
    one.send((b"", [100]))
    one.close()
    with pytest.raises(EOFError):
        receive(other)
