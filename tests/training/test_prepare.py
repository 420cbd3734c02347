"""What a run is made of."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flax")

from dummy_run import dummy_setup

from fastki import open_dataset
from fastki.tokenizer import FitOptions, FitSettings, fit_on_mixture


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The folder of a tokenizer of two arms, and the tokenizer."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mix.toml").write_text(
        '[[dataset]]\ndata = "synthetic:droid?episodes=4&size=28"\nname = "one"\n'
        '[[dataset]]\ndata = "synthetic:droid?episodes=5&size=28&seed=7"\nname = "two"\n'
    )
    options = FitOptions(FitSettings(vocab_size=128, bins=20), holdout=0.3)
    tokenizer = fit_on_mixture(open_dataset(str(folder / "mix.toml")), options).tokenizer
    return tokenizer.save(folder / "tok"), tokenizer


@pytest.mark.parametrize(("name", "data"), [("one", "episodes=4"), ("two", "episodes=5")])
def test_a_mixture_s_tokenizer_brings_the_normaliser_of_the_dataset_that_is_trained_on(mixed, name, data):
    folder, tokenizer = mixed
    seed = "&seed=7" if name == "two" else ""
    setup = dummy_setup(f"data.uri=synthetic:droid?{data}&size=28{seed}", f"tokenizer.path={folder}")
    own = tokenizer.for_dataset(name)
    np.testing.assert_array_equal(setup.tokenizer.normalizer.stats.q01, own.normalizer.stats.q01)
    assert setup.tokenizer.source.fingerprint == setup.dataset.info.fingerprint
    chunks = np.stack([setup.dataset.read(0).actions[start : start + 16] for start in (0, 8)])
    assert [ids.tolist() for ids in setup.tokenizer.encode(chunks)] == [ids.tolist() for ids in own.encode(chunks)]


def test_settings_of_the_network_are_the_models():
    assert dummy_setup("network.patch_gain=12").model.patch_gain == 12
