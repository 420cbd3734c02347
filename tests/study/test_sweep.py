"""The sweep: its rows are what separate fits and round trips give, whatever happens to its workers."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from fastki.data import open_dataset, split_episodes
from fastki.errors import DataError, UsageError
from fastki.study.local import LocalEngine
from fastki.study.rows import SweepRow
from fastki.study.sweep import SweepOptions, pick_tokenizer, plan_sweep, sweep
from fastki.study.sweep_data import SweepData, make_shard
from fastki.tokenizer import FitOptions, FitSettings, fit_on_dataset

SMALL = "synthetic:droid?episodes=12"
DATA = FitOptions(holdout=0.25, stride=2)
OPTIONS = SweepOptions(
    vocab=(128, 256, 1024),
    bins=(20.0, 200.0, "bound"),
    order=("freq", "dim"),
    method=("fast", "binning", "bspline:8", "reference"),
    atol=0.02,
    data=DATA,
)
TIMES = ("fit_s", "encode_per_s", "decode_per_s", "probe_s")


def untimed(row: SweepRow) -> SweepRow:
    return replace(row, **dict.fromkeys(TIMES))


@pytest.fixture(scope="module")
def dataset():
    return open_dataset(SMALL)


@pytest.fixture(scope="module")
def result(dataset):
    return sweep(dataset, OPTIONS, engine=LocalEngine(2))


def rows_of(result, method: str) -> list[SweepRow]:
    return [row for row in result.rows if row.method == method]


def test_there_is_a_row_for_every_cell_in_order(result, dataset):
    plan = plan_sweep(dataset, OPTIONS)
    assert len(result.rows) == len(plan.cells) == 3 * 3 * 2 + 2 + 2 + 2 * 3
    for row, cell in zip(result.rows, plan.cells, strict=True):
        assert (row.method, row.order, row.bound) == (cell.method, cell.order, cell.bound)
        assert cell.vocab_size in (None, row.vocab_size)
        assert cell.bins in (None, row.bins)


@pytest.mark.parametrize("precision", [{"bins": 20}, {"bins": 200}, {"atol": 0.02}], ids=str)
@pytest.mark.parametrize(("vocab_size", "order"), [(128, "freq"), (256, "dim"), (256, "freq"), (1024, "dim")])
def test_a_fast_row_is_what_a_fit_of_its_own_measures(result, dataset, vocab_size, order, precision):
    (row,) = (
        row
        for row in rows_of(result, "fast")
        if (row.vocab_size, row.order) == (vocab_size, order)
        and (row.bound == precision.get("atol") and (row.bound or row.bins == precision["bins"]))
    )
    settings = FitSettings(vocab_size, order=order, **precision)
    fitted = fit_on_dataset(dataset, replace(DATA, tokenizer=settings))
    alone = fitted.heldout
    assert row.bins == fitted.tokenizer.codec.bins
    assert row.vocab_actual == fitted.tokenizer.vocab_size
    for name in ("tokens_mean", "tokens_p50", "tokens_p99", "tokens_max", "compression", "rmse", "max_abs_error"):
        assert getattr(row, name) == getattr(alone, name), name
    assert (row.p99_abs_error, row.vocab_used) == (alone.p99_abs_error, alone.vocab_used)
    assert (row.chunks, row.episodes) == (alone.chunks, alone.episodes)
    worst = alone.worst_dimension
    assert (row.worst_dimension, row.worst_error_native) == (worst.name, worst.max_abs_error_native)
    assert row.worst_unit == worst.unit
    shares = alone.token_use[alone.token_use > 0] / alone.token_use.sum()
    assert row.entropy_bits == pytest.approx(-row.tokens_mean * (shares * np.log2(shares)).sum())
    assert row.bits_per_chunk == pytest.approx(row.tokens_mean * math.log2(row.vocab_actual))
    picked = pick_tokenizer(dataset, OPTIONS, row).tokenizer
    assert (picked.codec, picked.bpe, picked.source) == (
        fitted.tokenizer.codec,
        fitted.tokenizer.bpe,
        fitted.tokenizer.source,
    )


def test_figures_of_every_row_are_there_and_plausible(result):
    for row in result.rows:
        if row.error:
            continue
        assert row.tokens_low < row.tokens_high or row.method in ("binning", "bspline")
        assert row.tokens_low <= row.tokens_mean <= row.tokens_high
        assert 0 < row.entropy_bits <= row.bits_per_chunk
        assert 0 < row.vocab_use <= 1
        assert 0 < row.rmse <= row.max_abs_error
        assert 0 < row.p99_abs_error <= row.max_abs_error
        assert 0 < row.nats_per_value < math.log(row.vocab_actual) * row.tokens_mean
        assert min(row.encode_per_s, row.decode_per_s) > 100
        assert row.probe_nats_per_value is None


def test_binning_takes_a_token_a_value_and_a_spline_its_points(result):
    assert {(row.tokens_mean, row.compression) for row in rows_of(result, "binning")} == {(128.0, 1.0)}
    assert {(row.tokens_mean, row.vocab_size) for row in rows_of(result, "bspline")} == {(64.0, 20), (64.0, 200)}
    coarse, fine = rows_of(result, "binning")
    assert coarse.rmse > fine.rmse > 0


def test_the_reference_costs_more_and_fails_where_its_range_exceeds_the_vocabulary(result):
    reference = {(row.bins, row.vocab_size): row for row in rows_of(result, "reference")}
    ours = {(row.bins, row.vocab_size): row for row in rows_of(result, "fast") if row.order == "freq"}
    # Its rounding is ours, but held-out chunks with a coefficient that no fitted one had are read back as zeros.
    assert reference[20, 1024].max_abs_error > 5 * ours[20, 1024].max_abs_error
    assert reference[20, 1024].tokens_mean > ours[20, 1024].tokens_mean
    failed = reference[200, 256]
    assert failed.tokens_mean is None
    assert "exceed a vocabulary of 256: the algorithm has no id for each of them" in failed.error
    assert reference[200, 128].error.replace("128", "256") == failed.error


def test_bounded_rows_keep_the_bound(result):
    bounded = [row for row in result.rows if row.bound]
    assert len(bounded) == 6
    assert all(row.within_atol == 1 and row.max_abs_error <= 0.02 * (1 + 1e-9) for row in bounded)
    chosen = result.recommendations[0]
    assert (chosen.meets, result.recommended) == (True, chosen.row)
    assert result.rows[chosen.row].within_atol == 1


def test_details_hold_what_figures_need(result):
    for row, details in zip(result.rows, result.details, strict=True):
        if row.error:
            assert details == {}
            continue
        lengths = np.array(details["token_lengths"])
        assert lengths[:, 1].sum() == row.chunks
        assert (lengths[:, 0] * lengths[:, 1]).sum() / row.chunks == pytest.approx(row.tokens_mean)
        assert max(dim["max_abs_error"] for dim in details["per_dim"]) == row.max_abs_error


def test_a_worker_killed_in_the_middle_changes_no_row(result, dataset):
    killed = []

    def kill(index, row, stored):
        if len(killed) < 2:
            # Rows that were sent before the kill still arrive, so the first may not have been missed yet.
            worker = next(worker for worker in multiprocessing.active_children() if worker.pid not in killed)
            killed.append(worker.pid)
            worker.kill()

    again = sweep(dataset, OPTIONS, engine=LocalEngine(2), on_row=kill)
    assert len(set(killed)) == 2
    assert [untimed(row) for row in again.rows] == [untimed(row) for row in result.rows]
    assert (again.details, again.pareto) == (result.details, result.pareto)


def test_rows_are_stored_and_another_sweep_shares_none_that_differ(dataset, tmp_path):
    options = SweepOptions(vocab=(256,), bins=(20.0, 40.0), data=DATA)
    heard: list[bool] = []

    def count(what: SweepOptions, data=dataset) -> int:
        """Rows that had to be computed."""
        heard.clear()
        sweep(data, what, store=tmp_path, engine=LocalEngine(2), on_row=lambda *said: heard.append(said[2]))
        return heard.count(False)

    assert count(options) == 2
    assert count(options) == 0
    assert count(replace(options, vocab=(256, 512), max_tokens=50)) == 2  # What is only said at the end changes no row.
    assert count(replace(options, atol=0.02)) == 2
    assert count(replace(options, data=replace(DATA, dims="0:3"))) == 2
    assert count(options, open_dataset("synthetic:droid?episodes=13")) == 2


def test_published_tokenizers_are_measured_on_the_same_data(shared, dataset):
    path = shared / "golden" / "fast" / "h16_d8_scale10_vocab1024"
    options = SweepOptions(vocab=(1024,), bins=(20.0,), method=("fast", f"published:{path}"), data=DATA)
    ours, theirs = sweep(dataset, options, engine=LocalEngine(1)).rows
    assert (theirs.method, theirs.path, theirs.scale, theirs.bins) == ("published", str(path), 10, 20)
    assert (theirs.vocab_size, theirs.fit_s) == (1024, None)
    assert theirs.rmse > ours.rmse  # The same rounding, cut at its smallest coefficient.
    assert theirs.tokens_mean > ours.tokens_mean


def test_a_horizon_longer_than_every_episode_is_refused_before_any_work(dataset):
    with pytest.raises(DataError, match="every episode is shorter than the horizon of 9999"):
        sweep(dataset, SweepOptions(horizon=(16, 9999)))


def test_a_probe_without_jax_is_refused_before_any_work(dataset, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs JAX: `pip install .fastki\[probe\]"):
        plan_sweep(dataset, SweepOptions(probe=10))


def test_the_probe_has_its_columns_and_every_cell_its_task(dataset):
    options = SweepOptions(vocab=(256, 512), bins=(20.0,), probe=2, data=DATA)
    plan = plan_sweep(dataset, options)
    assert len({cell.group for cell in plan.study.cells}) == 2
    rows = sweep(dataset, options, engine=LocalEngine(1)).rows
    for row in rows:
        assert 0 < row.probe_nats_per_value < 100
        assert 0 < row.rollout_rmse <= row.rollout_max
        assert row.rollout_repaired == 0, "a grammar guides the sampling"
        assert row.probe_s > 0
    assert rows[0].probe_nats_per_value != rows[1].probe_nats_per_value


def test_the_probe_is_told_the_state_at_each_chunks_start(dataset):
    shard = make_shard(dataset, SweepOptions(probe=1, data=DATA), 16)
    data = SweepData.of(shard)
    for chunks, states in ((data.fitted, data.fitted_state), (data.heldout, data.heldout_state)):
        for place in (0, len(chunks) // 2, len(chunks) - 1):
            episode = dataset.read(int(chunks.episode[place]))
            np.testing.assert_array_equal(states[place], episode.state[chunks.start[place]])
    assert SweepData.of(make_shard(dataset, SweepOptions(data=DATA), 16)).fitted_state is None


def test_held_out_long_episodes_do_not_help_fitted_short_ones(tmp_path):
    lengths = [10, 10, 10, 40]
    path = tmp_path / "data.npz"
    np.savez(path, actions=np.random.default_rng(0).normal(size=(70, 2)), episode_ends=np.cumsum(lengths))
    seed = next(seed for seed in range(99) if split_episodes(4, holdout=0.1, seed=seed)[1].tolist() == [3])
    with pytest.raises(DataError, match="every episode is shorter than the horizon of 16 frames"):
        plan_sweep(open_dataset(str(path)), SweepOptions(data=FitOptions(seed=seed)))


def test_without_held_out_episodes_rows_are_of_the_fitted_ones_and_say_so(dataset):
    plan = plan_sweep(dataset, SweepOptions(data=replace(DATA, holdout=0.0)))
    assert plan.notes == ("horizon 16: no held-out episode is long enough, so its rows are of the fitted ones",)


def test_only_fast_can_be_saved(result, dataset):
    with pytest.raises(UsageError, match="of the method binning"):
        pick_tokenizer(dataset, OPTIONS, rows_of(result, "binning")[0])
    refused = next(row for row in result.rows if row.error)
    with pytest.raises(UsageError, match=r"was refused \(coefficients"):
        pick_tokenizer(dataset, OPTIONS, refused)


def test_every_field_of_a_row_is_explained():
    for field in dataclasses.fields(SweepRow):
        assert field.name in SweepRow.__doc__, field.name
