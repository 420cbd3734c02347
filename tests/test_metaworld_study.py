"""The study of the examples, whole, on a task that no simulator is needed for; and what it makes of its numbers."""

from __future__ import annotations

import csv
import doctest
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("flax")

from dummy_run import quick_compiler
from toy_world import ToyWorld

from fastki.errors import UsageError
from fastki.sim.wilson import wilson
from fastki.study.cells import Row, Study, Task

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from examples.metaworld_study import __main__ as command  # noqa: E402
from examples.metaworld_study import plan, stages, summary  # noqa: E402
from examples.metaworld_study.figure import draw  # noqa: E402
from examples.metaworld_study.summary import Line  # noqa: E402

SETTINGS = ("network.size=dummy", "loader.batch_size=4", "loader.num_workers=0", "save.eval_examples=4")
WORDS = (
    *("--episodes", "12", "--steps", "2", "--bins", "8", "--vocab", "96", "--modes", "ki,flow", "--rollouts", "2"),
    *(f"--set={setting}" for setting in SETTINGS),
)


class Here:
    """An engine that computes in this process, and notes what."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def run(self, study: Study, tasks: Sequence[Task]) -> Iterator[tuple[int, Row]]:
        for task in tasks:
            cells = [study.cells[index] for index in task.cells]
            for place, row in study.work(study.shards[task.shard](), cells):
                self.done.append(study.name)
                yield task.cells[place], row


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """The folder of a finished study, and what was computed for it."""
    out, engine = tmp_path_factory.mktemp("study") / "out", Here()
    with quick_compiler():
        assert command.main([*WORDS, "--out", str(out)], engine=engine, opener=ToyWorld) == 0
    return out, engine.done


def lines_in(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("module", [plan, summary], ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_examples(module):
    outcome = doctest.testmod(module)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


def test_every_mode_is_measured_with_every_tokenizer_that_it_learns(studied):
    out, done = studied
    lines = lines_in(out)
    assert done == ["training"] * 2 + ["closed loop"] * 2
    assert [(line["mode"], line["bins"], line["head"]) for line in lines] == [
        ("ki", "8", "flow"),
        ("ki", "8", "fast"),
        ("flow", "", "flow"),
        ("floor", "", "random"),
        ("floor", "", "replay"),
    ]
    assert {line["episodes"] for line in lines} == {"2"}
    assert all(float(line["low"]) <= float(line["success"]) <= float(line["high"]) for line in lines)
    assert [bool(line["nats"]) for line in lines] == [True] * 2 + [False] * 3


def test_the_table_and_the_figure_are_written_and_say_how_large_the_study_was(studied):
    out, _ = studied
    page = (out / "results.md").read_text(encoding="utf-8")
    assert "12 demonstrations, network dummy, 2 steps, 1 seed, 2 episodes a head" in page
    assert "| ki | 8, 96 |" in page
    assert "flow head − FAST head, ki" in page
    assert json.loads((out / "results.json").read_text())["demonstrations"] == 12
    assert (out / "figure.png").stat().st_size > 10_000


def test_the_same_command_computes_nothing_and_writes_the_same(studied):
    out, _ = studied
    before, engine = (out / "results.csv").read_bytes(), Here()
    assert command.main([*WORDS, "--out", str(out)], engine=engine, opener=ToyWorld) == 0
    assert engine.done == []
    assert (out / "results.csv").read_bytes() == before


def test_more_episodes_train_nothing(studied):
    out, _ = studied
    engine = Here()
    with quick_compiler():
        assert command.main([*WORDS, "--rollouts", "3", "--out", str(out)], engine=engine, opener=ToyWorld) == 0
    assert engine.done == ["closed loop"] * 2
    assert {line["episodes"] for line in lines_in(out)} == {"3"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--modes", "ki,what"], "--modes what is none"),
        (["--bins", "8,8"], "something twice"),
        (["--task", "reach-v9"], "reach-v3"),
        (["--set", "network.sise=dummy"], "sise"),
        (["--rollouts", "-1"], "--rollouts -1"),
        (["--episodes", "1"], "--episodes 1"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_recorded(words, said, tmp_path, capsys):
    assert command.main([*words, "--out", str(tmp_path / "out")], engine=Here(), opener=ToyWorld) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_demonstrations_of_another_task_are_refused_before_anything_is_trained(studied, capsys):
    data, engine = studied[0] / "demonstrations", Here()
    words = [*WORDS, "--task", "push-v3", "--data", str(data), "--out", str(data.with_name("other"))]
    assert command.main(words, engine=engine, opener=ToyWorld) == 2
    assert "holds no push-v3, but reach-v3" in capsys.readouterr().err
    assert engine.done == []


def test_a_study_in_which_nothing_could_be_trained_says_why(studied, capsys):
    words = [*WORDS, "--set=sequence.layout=what", "--data", str(studied[0] / "demonstrations")]
    out = studied[0].with_name("nothing")
    assert command.main([*words, "--out", str(out)], engine=Here(), opener=ToyWorld) == 2
    assert "nothing could be trained: there is no layout 'what'" in capsys.readouterr().err
    assert not (out / "results.csv").exists()


def test_what_is_solved_alike_is_not_told_apart_and_what_differs_in_every_episode_is():
    def solved(mode: str, outcomes: list[bool]) -> Line:
        return Line(mode, 8, 128, 0, "flow", tokens=5.0, rounding=0.1, error=0.5, outcomes=tuple(outcomes))

    alike = summary.contrasts([solved("ki", [True] * 20), solved("joint", [True] * 20)], plan.Plan())
    apart = summary.contrasts([solved("ki", [True] * 20), solved("joint", [False] * 20)], plan.Plan())
    few = summary.contrasts([solved("ki", [True] * 2), solved("joint", [False] * 2)], plan.Plan())
    assert [one.words for one in alike] == ["ki − joint, flow head"]
    assert [(one[0].difference, one[0].told_apart) for one in (alike, apart, few)] == [
        (0, False),
        (1, True),
        (1, False),
    ]


def test_each_run_is_compared_with_its_own_seed_and_tokenizer_and_flow_with_all():
    yes, no = (True,) * 8, (False,) * 8
    lines = [
        Line("ki", 8, 128, 0, "flow", outcomes=yes),
        Line("ki", 32, 128, 0, "flow", outcomes=no),
        Line("ki", 8, 128, 1, "flow", outcomes=no),
        Line("joint", 8, 128, 0, "flow", outcomes=no),
        Line("flow", None, None, 0, "flow", outcomes=no),
    ]
    found = {one.words: one for one in summary.contrasts(lines, plan.Plan())}
    assert (found["ki − joint, flow head"].difference, found["ki − joint, flow head"].pairs) == (1, 1)
    assert (found["ki − flow, flow head"].difference, found["ki − flow, flow head"].pairs) == (0.5, 2)
    assert (found["32 − 8 bins, flow head"].difference, found["32 − 8 bins, flow head"].pairs) == (-1, 1)


def test_seeds_are_pooled():
    lines = [
        Line("ki", 8, 128, seed, "flow", error=error, outcomes=outcomes)
        for seed, error, outcomes in ((0, 0.5, (True, False)), (1, 0.7, (True, True)))
    ]
    [line] = summary.pooled(lines)
    assert (line.seed, line.error, line.solved) == (None, pytest.approx(0.6), 3)
    assert line.seeds == 2


def test_a_seed_that_solves_what_another_does_says_nothing_new():
    rng = np.random.default_rng(0)
    first = (rng.random(200) < 0.4).astype(float)
    other = rng.permutation(first)
    rate = first.mean()
    assert summary.rate_interval(np.stack([first, first])) == pytest.approx(wilson(first.sum(), 200))
    low, high = summary.rate_interval(np.stack([first, other]))
    assert (low, high) == pytest.approx(wilson(rate * 400, 400), abs=0.01)
    assert summary.rate_interval(np.stack([first, 1 - first])) == pytest.approx(wilson(200, 400))
    assert summary.rate_interval(np.zeros((2, 50))) == wilson(0, 50)


def test_finer_bins_take_more_tokens_and_lose_less(studied):
    wanted = plan.Plan(bins=(8, 32), vocab=(96,))
    found = stages.tokenizers(wanted, stages.base_config(wanted, studied[0] / "demonstrations"))
    assert found[8, 96]["tokens"] < found[32, 96]["tokens"]
    assert found[8, 96]["rounding"] > found[32, 96]["rounding"]


def test_a_failed_run_keeps_a_line_that_says_why_and_is_left_out_of_the_figure():
    run = {"mode": "ki", "bins": 8, "vocab": 128, "seed": 0, "name": "ki", "error": "no room"}
    [line] = summary.lines_of([run], {(8, 128): {"tokens": 5.0, "rounding": 0.1}}, {})
    assert (line.head, line.mistake) == ("none", "no room")
    assert summary.pooled([line]) == []
    assert draw([], "nothing").axes[0].get_lines() == []


def test_modes_are_checked():
    with pytest.raises(UsageError, match="--vocab  names nothing"):
        plan.Plan(vocab=())
