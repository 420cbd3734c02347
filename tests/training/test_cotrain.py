"""Co-training: what an example looks like, its share, and files that are not what they should be."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from fastki.data.robots import SLOTS
from fastki.errors import DataError, UsageError
from fastki.sequence.resize import resize_with_pad
from fastki.sequence.text import ByteTokenizer
from fastki.training.cotrain import CotrainSource, open_cotrain
from fastki.training.loader import open_loader
from fastki.training.loader_config import LoaderConfig

TEXT = ByteTokenizer()
GOOD = {"image": "a.png", "prompt": "What is it?", "answer": "a cup"}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "deep").mkdir()
    for name, shape in (("a.png", (20, 30, 3)), ("deep/b.png", (32, 32, 3))):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / name)
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


@pytest.fixture
def write(folder):
    def write(*lines):
        path = folder / "vqa.jsonl"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def source(write, make):
    def source(*lines, **sizes):
        return CotrainSource(open_cotrain(write(*lines)), make(**sizes), horizon=16)

    return source


def test_an_example_has_the_question_without_loss_and_the_answer_with(source, folder):
    lines = source(GOOD, "", {"image": ["deep/b.png", "a.png"], "prompt": "Where?", "answer": "there, on the left"})
    given = lines.read(np.array([1, 0]))
    seen = given.batch.observation
    question, answer = TEXT.encode("What is it?\n", add_bos=True), [*TEXT.encode("a cup"), TEXT.eos_id]
    count, length = len(question), len(question) + len(answer)
    assert seen.tokenized_prompt[1, :length].tolist() == question + answer
    assert seen.tokenized_prompt_mask[1].tolist() == [True] * length + [False] * (200 - length)
    assert seen.token_loss_mask[1].tolist() == [False] * count + [True] * len(answer) + [False] * (200 - length)
    assert seen.token_ar_mask[1].tolist() == [0] * count + [1] * len(answer) + [0] * (200 - length)
    a, b = (np.asarray(Image.open(folder / name)) for name in ("a.png", "deep/b.png"))
    for slot, row, picture in ((0, 0, b), (1, 0, a), (0, 1, a)):
        np.testing.assert_array_equal(seen.images[SLOTS[slot]][row], resize_with_pad(picture, 32, 32))
    assert [seen.image_masks[slot].tolist() for slot in SLOTS] == [[True, True], [True, False], [False, False]]
    assert not seen.images[SLOTS[2]].any()
    assert given.has_actions.tolist() == [False, False]
    assert given.batch.actions.shape == given.batch.actions_mask.shape == (2, 16, 10)
    assert not given.batch.actions.any()
    assert not given.batch.actions_mask.any()
    assert given.episodes.tolist() == [3, 1]
    assert given.origin(0) == "line 3 of the co-training file"


def test_text_that_is_too_long_names_its_line_or_is_cut_and_counted(source):
    lines = [GOOD, GOOD | {"answer": "x" * 40}]
    words = r"vqa.jsonl, line 2 takes 54 text tokens and max_token_len is 50: .*--max-token-len 54"
    with pytest.raises(DataError, match=words):
        source(*lines, max_token_len=50).read(np.array([0, 1]))
    given = source(*lines, max_token_len=50, truncate=True).read(np.array([0, 1]))
    assert given.fast_lost.tolist() == [0, 4]
    assert given.batch.observation.token_loss_mask[1].sum() == 37


@pytest.mark.parametrize("workers", [0, 1])
def test_examples_are_mixed_in_by_weight(write, dataset, make, workers):
    path = write(*[GOOD | {"answer": f"answer {number}"} for number in range(12)])
    config = LoaderConfig(16, cotrain=str(path), cotrain_weight=0.25, num_workers=workers)
    with open_loader(dataset, make(), config) as loader:
        batches = list(itertools.islice(loader, 64))
        state = loader.get_state()
    has_actions = np.concatenate([batch.has_actions for batch in batches])
    assert int((~has_actions).sum()) == 256 == loader.tally.cotrained
    assert len({int((~batch.has_actions).sum()) for batch in batches}) > 3
    lines = np.concatenate([batch.episodes[~batch.has_actions] for batch in batches])
    assert set(np.bincount(lines, minlength=13)[1:].tolist()) <= {21, 22}
    for batch in batches[:4]:
        robot = batch.has_actions
        np.testing.assert_array_equal(batch.batch.actions_mask.any(axis=(1, 2)), robot)
        np.testing.assert_array_equal(batch.batch.observation.state.any(axis=1), robot)
        assert batch.batch.observation.image_masks[SLOTS[0]].all()
    assert loader.steps_per_epoch == pytest.approx(204 / 12)
    with open_loader(dataset, make(), config) as again:
        again.set_state(state | {"examples": 32 * 16})
        np.testing.assert_array_equal(next(again).episodes, batches[32].episodes)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_either_may_be_all(write, dataset, make, weight):
    config = LoaderConfig(8, cotrain=str(write(GOOD)), cotrain_weight=weight)
    with open_loader(dataset, make(), config) as loader:
        assert next(loader).has_actions.tolist() == [weight == 0] * 8
        assert loader.steps_per_epoch == (204 / 8 if weight == 0 else float("inf"))


BAD = [
    ("{", "is no JSON"),
    ("[" * 100_000, "is no JSON"),
    ("[1]", "must have the fields image, prompt, answer and no others"),
    ({"image": "a.png", "prompt": "x"}, "must have the fields"),
    (GOOD | {"label": 1}, "must have the fields"),
    (GOOD | {"answer": " "}, r"answer must be text that is not empty, not \" \""),
    (GOOD | {"prompt": 3}, "prompt must be text that is not empty, not 3"),
    (GOOD | {"image": None}, "image must be text that is not empty, not null"),
    (GOOD | {"image": []}, "has 0 images: give 1 to 3"),
    (GOOD | {"image": ["a.png"] * 4}, "has 4 images: give 1 to 3"),
    (GOOD | {"answer": "x" * (1 << 20)}, "is longer than 1 MiB"),
]


@pytest.mark.parametrize(("line", "words"), BAD, ids=range(len(BAD)))
def test_a_bad_line_is_named_when_the_file_is_opened(write, line, words):
    path = write(GOOD, "", line)
    with pytest.raises(DataError, match=f"vqa.jsonl, line 3 {words}|vqa.jsonl, line 3: {words}") as caught:
        open_cotrain(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("../outside.png", "is outside"),
        ("/etc/hostname", "is outside"),
        ("link.png", "is outside"),
        ("deep/../../outside.png", "is outside"),
        ("absent.png", "is no file: paths start at the folder"),
        ("deep", "is no file"),
        ("a\0.png", "can't be read"),
        ("text.png", "is no picture of a known format"),
    ],
)
def test_a_path_that_does_not_do_names_line_and_mend(source, folder, image, words):
    outside = folder.parent / "outside.png"
    Image.new("RGB", (4, 4)).save(outside)
    (folder / "link.png").symlink_to(outside)
    lines = source(GOOD, GOOD | {"image": ["a.png", image]})
    with pytest.raises(DataError, match=f"(?s)vqa.jsonl, line 2: .*{words}"):
        lines.read(np.array([1]))


def test_pictures_are_not_looked_at_where_none_are_wanted(write, make):
    file = open_cotrain(write(GOOD | {"image": "absent.png"}))
    given = CotrainSource(file, make(), horizon=16, images=False).read(np.array([0]))
    assert given.batch.observation.images == {}


def test_a_file_without_lines_or_none_is_refused(write, folder):
    with pytest.raises(DataError, match=r"vqa.jsonl holds no line"):
        open_cotrain(write("", " "))
    with pytest.raises(DataError, match=r"absent.jsonl can't be read \(No such file"):
        open_cotrain(folder / "absent.jsonl")
    with pytest.raises(DataError, match="can't be read"):
        open_cotrain(folder)


def test_a_file_that_changed_meanwhile_is_told_not_read_askew(source, write):
    lines = source(GOOD, GOOD)
    write("x" * 200)
    with pytest.raises(DataError, match=r"vqa.jsonl, line 2 is no JSON"):
        lines.read(np.array([1]))


def test_a_run_does_not_go_on_with_another_file(write, dataset, make):
    def opened(*lines):
        config = LoaderConfig(8, images=False, cotrain=str(write(*lines)))
        return open_loader(dataset, make(), config)

    with opened(GOOD) as loader:
        state = json.loads(json.dumps(loader.get_state()))
    with opened(GOOD | {"answer": "a mug"}) as other, pytest.raises(UsageError, match=r"on cotrain [0-9a-f]{32} and"):
        other.set_state(state)
    with open_loader(dataset, make(), LoaderConfig(8)) as none, pytest.raises(UsageError, match="this one is on None"):
        none.set_state(state)
