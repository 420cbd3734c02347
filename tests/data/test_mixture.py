"""Mixtures as datasets: what the file says, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.data import ChunkSpec, open_dataset
from fastki.data.mixture import Mixture
from fastki.errors import DataError, UsageError


@pytest.fixture
def mix(tmp_path):
    """Write ``mix.toml`` beside two recordings: ``a.npz`` of 4 dimensions at 10 Hz, ``b.npz`` of 3 at 20 Hz."""
    rng = np.random.default_rng(0)
    for name, dims, fps, ends in (("a", 4, 10.0, [30, 50]), ("b", 3, 20.0, [40])):
        actions = np.cumsum(rng.normal(size=(ends[-1], dims)), axis=0)
        np.savez(tmp_path / f"{name}.npz", actions=actions, state=actions + 1, episode_ends=ends, fps=fps)

    def write(text):
        (tmp_path / "mix.toml").write_text(text)
        return tmp_path / "mix.toml"

    return write


BOTH = """
[[dataset]]
data = "a.npz"
weight = 3
dims = "3,0:2"
delta = "0"

[[dataset]]
data = "b.npz"
name = "second"
fps = 10
hold = "2"
"""


def test_members_come_one_after_the_other_with_their_dimensions(mix):
    path = mix(BOTH)
    mixture = open_dataset(path)
    assert isinstance(mixture, Mixture)
    assert [(member.name, member.share) for member in mixture.members] == [("a.npz", 0.75), ("second", 0.25)]
    assert mixture.info.lengths.tolist() == [30, 20, 20]
    assert (mixture.info.action_dim, mixture.info.fps, mixture.info.format) == (3, 10.0, "mixture of 2")
    original = np.load(path.parent / "a.npz")["actions"]
    np.testing.assert_array_equal(mixture[1].actions, original[30:][:, [3, 0, 1]])
    np.testing.assert_array_equal(mixture[2].actions, open_dataset(path.parent / "b.npz", fps=10, hold="2")[0].actions)
    assert [episode.index for episode in mixture] == [0, 1, 2]
    spec = mixture.members[0].spec(ChunkSpec(horizon=5))
    assert (spec.dims, spec.delta) == ((3, 0, 1), (0,))


def test_the_fingerprint_knows_members_and_shares(mix):
    first = open_dataset(mix(BOTH)).info.fingerprint
    assert open_dataset(mix(BOTH)).info.fingerprint == first
    for old, new in (("weight = 3", "weight = 2"), ('dims = "3,0:2"', 'dims = "0:3"'), ("fps = 10", "fps = 5")):
        assert open_dataset(mix(BOTH.replace(old, new))).info.fingerprint != first


def test_names_are_unique_and_short(mix):
    text = "".join('[[dataset]]\ndata = "synthetic:droid?episodes=2"\n' for _ in range(2))
    assert [member.name for member in open_dataset(mix(text)).members] == ["synthetic_droid", "synthetic_droid_2"]


def test_bad_episodes_may_be_left_out_everywhere(mix, tmp_path):
    with np.load(tmp_path / "a.npz") as archive:
        arrays = dict(archive)
    arrays["actions"][35, 1] = np.nan
    np.savez(tmp_path / "a.npz", **arrays)
    mixture = open_dataset(mix(BOTH), skip_bad=True)
    assert mixture.info.lengths.tolist() == [30, 20]
    assert any(note.startswith("a.npz: --skip-bad left out 1 of 2") for note in mixture.info.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no dataset|lacks dataset"),
        ("[[dataset]]\nweight = 2", "lacks data"),
        ('[[dataset]]\ndata = "a.npz"\nwieght = 2', "did you mean 'weight'"),
        ('[[dataset]]\ndata = "a.npz"\nweight = 0', "weight 0.0 is out of range"),
        ('[[dataset]]\ndata = "a.npz"\nweight = "2"', "must be a float"),
        ('[[dataset]]\ndata = "a.npz"\nfps = -1', "--fps -1"),
        ('[[dataset]]\ndata = "nowhere.npz"', "nowhere.npz"),
        ('[[dataset]]\ndata = "a.npz"\ndims = "9"', "no dimension 9"),
        ('[[dataset]]\ndata = "a.npz"\n[[dataset]]\ndata = "b.npz"', "b.npz has 3 .* but a.npz has 4"),
        ('[[dataset]]\ndata = "mix.toml"', "mixture itself"),
        ("[[dataset]\n", "no TOML file"),
    ],
)
def test_bad_files(mix, text, message):
    with pytest.raises((DataError, UsageError), match=message):
        open_dataset(mix(text))


def test_options_that_belong_into_the_file(mix):
    with pytest.raises(UsageError, match=r"--fps is ambiguous for a mixture: write fps into .*mix.toml"):
        open_dataset(mix(BOTH), fps=5)
