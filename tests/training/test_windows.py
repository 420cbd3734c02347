"""Windows by number, and examples of them whatever is kept."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from fastki.data import ChunkSpec, IdleFilter, open_dataset
from fastki.data.episode import held_bytes
from fastki.errors import DataError, UsageError
from fastki.sequence.assemble import Assembler, BatchShape
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS
from fastki.sequence.text import ByteTokenizer
from fastki.sequence.wording import Wording
from fastki.training.source import open_windows
from fastki.training.windows import find_windows

SPECS = [
    ChunkSpec(16),
    ChunkSpec(16, stride=5),
    ChunkSpec(100, stride=2, pad_end="repeat"),
    ChunkSpec(8, idle=IdleFilter(0.02, 2, 4, 1)),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("chosen", [None, [3, 1]])
def test_numbers_go_through_all_windows_episode_by_episode(dataset, spec, chosen):
    windows = find_windows(dataset, spec, episodes=chosen)
    episodes = range(len(dataset)) if chosen is None else chosen
    expected = [(index, start) for index in episodes for start in spec.starts(dataset[index]).tolist()]
    given = windows.at(np.arange(len(windows)))
    assert list(zip(*(array.tolist() for array in given), strict=True)) == expected
    back = windows.at(np.arange(len(windows))[::-1])
    np.testing.assert_array_equal(back, np.array(given)[:, ::-1])


def test_idle_windows_are_left_out_and_reading_them_is_told(dataset):
    told = []
    windows = find_windows(dataset, SPECS[3], progress=lambda done, total: told.append((done, total)))
    assert 0 < len(windows) < len(find_windows(dataset, ChunkSpec(8)))
    assert told == [(done, 5) for done in range(1, 6)]


def test_episodes_too_short_have_no_window(dataset):
    longest = int(dataset.info.lengths.max())
    windows = find_windows(dataset, ChunkSpec(longest))
    assert dataset.info.lengths[windows.episodes].tolist() == [longest] * len(windows.episodes)
    with pytest.raises(DataError, match=f"shorter than the horizon of {longest + 1}"):
        find_windows(dataset, ChunkSpec(longest + 1))
    with pytest.raises(DataError, match="every chunk starts where the action hardly moves"):
        find_windows(dataset, ChunkSpec(16, idle=IdleFilter(1e6)))


def fields(given):
    seen = given.batch.observation
    return [
        given.batch.actions,
        seen.state,
        seen.tokenized_prompt,
        seen.token_loss_mask,
        *(seen.images[slot] for slot in sorted(seen.images)),
        given.episodes,
        given.starts,
    ]


@pytest.mark.parametrize("cache_bytes", [0, 60_000, 10**9])
def test_examples_are_the_assemblers_whatever_is_kept(dataset, make, cache_bytes):
    assembler = make()
    source = open_windows(dataset, assembler, cache_bytes=cache_bytes)
    assert (source.examples is not None) == (cache_bytes == 10**9)
    places = np.array([200, 5, 7, 120, 6, 150])
    for _ in range(2):
        given = source.read(places)
        for row in range(len(places)):
            episode = dataset[int(given.episodes[row])]
            batch, _ = assembler.batch(assembler.examples(episode, given.starts[row : row + 1]))
            alone = dataclasses.replace(given, batch=batch, episodes=given.episodes[row : row + 1])
            alone = dataclasses.replace(alone, starts=given.starts[row : row + 1])
            for whole, one in zip(fields(given), fields(alone), strict=True):
                np.testing.assert_array_equal(whole[row], one[0])
    assert given.has_actions.all()
    assert source.pictures.held <= cache_bytes // 2


def test_only_the_frames_asked_for_are_decoded(dataset, make, monkeypatch):
    from fastki.data.synthetic import RenderedFrames

    asked, original = [], RenderedFrames.__getitem__

    def watched(self, frame, /):
        asked.append(frame)
        return original(self, frame)

    monkeypatch.setattr(RenderedFrames, "__getitem__", watched)
    source = open_windows(dataset, make())
    given = source.read(np.array([3, 199, 90]))
    assert sorted(asked) == sorted(given.starts.tolist() * 2)
    source.read(np.array([90, 3]))
    assert len(asked) == 6


def test_a_source_goes_to_another_process_without_what_it_keeps(dataset, make):
    source = open_windows(dataset, make())
    first = source.read(np.array([3, 199]))
    assert source.pictures.held > 0
    copy = pickle.loads(pickle.dumps(source))
    assert copy.pictures.held == 0
    for one, other in zip(fields(first), fields(copy.read(np.array([3, 199]))), strict=True):
        np.testing.assert_array_equal(one, other)


def test_data_without_pictures_or_state_work_where_neither_is_wanted(tokenizer, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(40, 8)))
    bare, text = open_dataset(tmp_path / "a.npy"), ByteTokenizer()
    wording = Wording(PRESETS["images-fast"], text, FastIds.onto(text, tokenizer.vocab_size))
    assembler = Assembler(tokenizer, ChunkSpec(16), wording, BatchShape(300))
    given = open_windows(bare, assembler, images=False).read(np.array([0, 3]))
    assert (given.batch.observation.images, given.batch.observation.state.any()) == ({}, np.False_)
    with pytest.raises(UsageError, match="no camera for any of openpi's slots"):
        open_windows(bare, assembler)


def test_lost_text_is_told_example_by_example(dataset, make):
    places = np.arange(0, 200, 13)
    whole = open_windows(dataset, make(), images=False).read(places)
    cut = open_windows(dataset, make(max_token_len=85, truncate=True), images=False).read(places)
    wanted, kept = (given.batch.observation.token_loss_mask.sum(axis=1) for given in (whole, cut))
    np.testing.assert_array_equal(cut.fast_lost, wanted - kept)
    assert cut.fast_lost.any()
    assert not whole.fast_lost.any()


def test_episodes_whose_pictures_take_memory_are_let_go(dataset, make, monkeypatch):
    from fastki.data.synthetic import RenderedFrames

    monkeypatch.setattr(RenderedFrames, "held_bytes", 100_000, raising=False)
    source = open_windows(dataset, make(), cache_bytes=2_500_000)
    assert source.examples is not None
    for place in range(0, 204, 10):
        source.read(np.array([place]))
    assert 400_000 < source.opened.held <= 625_000
    assert len(source.opened) == 2
    assert len(source.examples) == 5
    assert all(held_bytes(frames) == 0 for frames in source.examples.get(0, dict).episodes[0].images.values())


def test_a_fingerprint_tells_data_and_windows(dataset, make):
    def of(**options):
        return open_windows(dataset, make(), images=False, **options).fingerprint

    assert of() == of(cache_bytes=0) == of(episodes=range(5))
    assert len({of(), of(episodes=[0, 1]), of(episodes=[1, 2]), of(episodes=[1, 0])}) == 4
