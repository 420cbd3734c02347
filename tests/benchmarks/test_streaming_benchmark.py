from __future__ import annotations

from benchmarks.streaming import measure
from fastki.data import open_dataset, split_episodes


def test_a_fit_is_measured_in_a_process_of_its_own():
    peak = measure(3)
    lengths = open_dataset("synthetic:droid?episodes=3").info.lengths
    fitted, _ = split_episodes(3)
    assert peak.frames == lengths.sum()
    assert peak.chunks == (lengths[fitted] - 15).sum()
    assert 50 < peak.megabytes < 2000
