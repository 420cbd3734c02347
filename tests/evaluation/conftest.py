"""Policies with random parameters, and frames of their data."""

from __future__ import annotations

import pytest

pytest.importorskip("flax")

from dummy_run import dummy_setup, quick_compiler, random_policy

from fastki.evaluation.fitting import fit_of


@pytest.fixture(scope="session", autouse=True)
def _quick():
    with quick_compiler():
        yield


@pytest.fixture(scope="session")
def setup():
    return dummy_setup()


@pytest.fixture(scope="session")
def policy(setup, tmp_path_factory):
    return random_policy(setup, tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="session")
def fit(policy, setup):
    return fit_of(policy, setup.dataset)


@pytest.fixture(scope="session")
def delta_setup():
    """Four of the dimensions, two of them differences from the state; the tokenizer looks at the action before."""
    return dummy_setup(
        "tokenizer.fit.dims=1,0,7,3", "tokenizer.fit.delta=0,3", "tokenizer.fit.tokenizer.reference=previous"
    )


@pytest.fixture(scope="session")
def delta_policy(delta_setup, tmp_path_factory):
    return random_policy(delta_setup, tmp_path_factory.mktemp("delta"))
