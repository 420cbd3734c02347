from __future__ import annotations

import json

import numpy as np
import pytest

from fastki.data import ChunkSpec, Normalizer, NormStats, fit_normalizer, iter_chunks, open_dataset
from fastki.data.stats import RunningStats
from fastki.errors import DataError, UsageError

TRANSFORMS = "golden/openpi/transforms"
VALUES = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 5.0, 0.1] + [0.0, 3.0, -2.0]


def array(value):
    return np.array(value["data"], dtype=value["dtype"]).reshape(value["shape"])


def test_openpi_cases(shared):
    golden = json.loads((shared / TRANSFORMS / "normalize.json").read_text())
    stats = {
        key: NormStats(**{name: array(value) for name, value in one.items()}) for key, one in golden["stats"].items()
    }
    checked = 0
    for case in golden["cases"]:
        method = "quantile" if case["use_quantiles"] else "zscore"
        for key in stats.keys() & case["in"].keys():
            normalizer = Normalizer(method, stats[key])
            apply = normalizer.normalize if case["transform"] == "Normalize" else normalizer.unnormalize
            result = apply(array(case["in"][key]))
            assert result.dtype == np.float64
            # from quantiles openpi unnormalises float32 partly in float32, this one all in float64
            rounds = method == "quantile" and case["transform"] == "Unnormalize"
            np.testing.assert_allclose(result, array(case["out"][key]), rtol=5e-7 if rounds else 1e-15)
            checked += 1
    assert checked == 18


def test_openpi_running_stats(shared):
    for case in json.loads((shared / TRANSFORMS / "running_stats.json").read_text()):
        stats = RunningStats()
        for batch in case["batches"]:
            stats.update(np.array(batch))
        summary = stats.summary()
        np.testing.assert_allclose(summary.mean, case["mean"], rtol=1e-12)
        np.testing.assert_allclose(summary.std, case["std"], rtol=1e-12)
        # openpi's quantiles come from a histogram; of 60 values both lie between the outermost two.
        values = np.sort(np.concatenate(case["batches"]), axis=0)
        slack = 1e-3 * (values[-1] - values[0])
        for quantile, low, high in (("q01", values[0], values[1]), ("q99", values[-2], values[-1])):
            for found in (getattr(summary, quantile), np.array(case[quantile])):
                assert ((low - slack <= found) & (found <= high + slack)).all()


@pytest.mark.parametrize("method", ["quantile", "minmax", "zscore", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_and_scale(method, dtype):
    normalizer = Normalizer.fit(VALUES.astype(dtype), method=method)
    x = normalizer.normalize(VALUES.reshape(5, 100, 3))
    assert (x.shape, x.dtype) == ((5, 100, 3), np.float64)
    np.testing.assert_allclose(normalizer.unnormalize(x), VALUES.reshape(5, 100, 3), atol=1e-12)
    step = normalizer.unnormalize(x + 1.0) - normalizer.unnormalize(x)
    np.testing.assert_allclose(step, np.broadcast_to(normalizer.scale, step.shape), atol=1e-9)
    assert not normalizer.constant.any()


def test_what_the_methods_mean():
    quantile = Normalizer.fit(VALUES).normalize(VALUES)
    assert (np.abs(quantile) <= 1).mean(axis=0) == pytest.approx(np.full(3, 0.98), abs=0.005)
    minmax = Normalizer.fit(VALUES, method="minmax").normalize(VALUES)
    np.testing.assert_allclose([minmax.min(axis=0), minmax.max(axis=0)], [[-1] * 3, [1] * 3], atol=1e-4)
    zscore = Normalizer.fit(VALUES, method="zscore").normalize(VALUES)
    np.testing.assert_allclose([zscore.mean(axis=0), zscore.std(axis=0)], [[0] * 3, [1] * 3], atol=1e-4)
    np.testing.assert_array_equal(Normalizer.fit(VALUES, method="none").normalize(VALUES), VALUES)


def test_clip():
    normalizer = Normalizer.fit(VALUES, clip=True)
    assert np.abs(normalizer.normalize(VALUES)).max() == 1.0
    assert np.abs(normalizer.normalize(VALUES, clip=False)).max() > 1.0
    np.testing.assert_array_equal(normalizer.normalize(VALUES, clip=False), Normalizer.fit(VALUES).normalize(VALUES))
    for method in ("zscore", "none"):
        with pytest.raises(UsageError, match=f"--clip has no effect with --norm {method}"):
            Normalizer.fit(VALUES, method=method, clip=True)
        with pytest.raises(UsageError, match="--clip has no effect"):
            Normalizer.fit(VALUES, method=method).normalize(VALUES, clip=True)


@pytest.mark.parametrize("method", ["quantile", "minmax", "zscore", "none"])
def test_constant_dimensions(method):
    values = VALUES.copy()
    values[:, 1] = 0.1
    normalizer = Normalizer.fit(values, method=method)
    assert normalizer.constant_dims == (1,)
    assert normalizer.constant.tolist() == [False, True, False]
    if method != "none":
        assert normalizer.normalize(values)[:, 1] == pytest.approx(0.0, abs=1e-6)
    assert normalizer.scale[1] == pytest.approx(1.0, abs=2e-6)
    np.testing.assert_allclose(normalizer.unnormalize(normalizer.normalize(values)), values, atol=1e-12)
    # whoever reads the statistics from the file computes the same map
    again = Normalizer(method, normalizer.stats)
    np.testing.assert_array_equal(again.normalize(values), normalizer.normalize(values))


def test_dimension_that_hardly_ever_moves_is_widened():
    values = VALUES.copy()
    values[:, 2] = 0.0
    values[7, 2] = 0.5
    normalizer = Normalizer.fit(values)
    assert (normalizer.widened_dims, normalizer.constant_dims) == ((2,), ())
    assert (normalizer.stats.q01[2], normalizer.stats.q99[2]) == (0.0, 0.5)
    assert np.abs(normalizer.normalize(values)[:, 2]).max() <= 1.0


def test_true_statistics_are_stored():
    stats = Normalizer.fit(VALUES).stats
    np.testing.assert_allclose(stats.mean, VALUES.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(stats.std, VALUES.std(axis=0), rtol=1e-12)
    np.testing.assert_array_equal([stats.q01, stats.q99], np.quantile(VALUES, [0.01, 0.99], axis=0))
    none = Normalizer.fit(VALUES, method="none").stats
    np.testing.assert_array_equal(none.q01, stats.q01)


def test_widths():
    normalizer = Normalizer.fit(VALUES)
    np.testing.assert_array_equal(normalizer.normalize(VALUES[:, :2]), normalizer.normalize(VALUES)[:, :2])
    wide = np.concatenate([VALUES, VALUES], axis=1)
    np.testing.assert_array_equal(normalizer.unnormalize(wide)[:, 3:], VALUES)
    with pytest.raises(UsageError, match=r"shape \(500, 6\) by statistics of 3 dimensions"):
        normalizer.normalize(wide)
    with pytest.raises(UsageError, match=r"shape \(500, 2\) by statistics of 3 dimensions"):
        normalizer.unnormalize(VALUES[:, :2])
    with pytest.raises(UsageError, match=r"shape \(\)"):
        normalizer.normalize(np.array(1.0))


def test_bad_parameters():
    with pytest.raises(UsageError, match="--norm 'quantiles' is unknown"):
        Normalizer.fit(VALUES, method="quantiles")
    with pytest.raises(UsageError, match="needs q01 and q99"):
        Normalizer("quantile", NormStats(np.zeros(2), np.ones(2)))
    with pytest.raises(UsageError, match=r"\[K, A\] is needed"):
        Normalizer.fit(np.zeros((0, 3)))
    for fields in ({"std": np.ones(3)}, {"mean": np.array([0.0, np.nan])}, {"q01": np.zeros(2)}):
        with pytest.raises(UsageError, match="normalisation statistics"):
            NormStats(**{"mean": np.zeros(2), "std": np.ones(2), **fields})


def test_fit_on_a_dataset_counts_each_frame_once(make_lerobot, some_episodes):
    dataset = open_dataset(make_lerobot(some_episodes))
    calls = []
    fitted = fit_normalizer(
        dataset,
        ChunkSpec(dims=(2, 0)),
        episodes=[0, 2],
        progress=lambda done, total: calls.append((done, total)),
    )
    frames = np.concatenate([some_episodes[i]["action"][:, [2, 0]] for i in (0, 2)]).astype(np.float64)
    expected = Normalizer.fit(frames)
    np.testing.assert_allclose(fitted.stats.q01, expected.stats.q01, rtol=1e-12)
    np.testing.assert_allclose(fitted.stats.std, expected.stats.std, rtol=1e-12)
    assert calls == [(1, 2), (2, 2)]


def test_fit_counts_chunk_values_in_delta_dimensions(make_lerobot, some_episodes):
    dataset = open_dataset(make_lerobot(some_episodes))
    spec = ChunkSpec(horizon=5, delta=(1,))
    fitted = fit_normalizer(dataset, spec)
    chunks = np.concatenate([part.actions for part in iter_chunks(dataset, spec)]).reshape(-1, 3)
    frames = np.concatenate([columns["action"] for columns in some_episodes])
    np.testing.assert_allclose(fitted.stats.q99[1], np.quantile(chunks[:, 1], 0.99), rtol=1e-12)
    np.testing.assert_allclose(fitted.stats.mean[1], chunks[:, 1].mean(), rtol=1e-9)
    np.testing.assert_allclose(fitted.stats.q99[0], np.quantile(frames[:, 0].astype(float), 0.99), rtol=1e-12)
    with pytest.raises(DataError, match="use --horizon N"):
        fit_normalizer(dataset, ChunkSpec(horizon=50, delta=(1,)))
