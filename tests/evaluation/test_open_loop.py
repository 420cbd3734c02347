"""Open loop: fakes whose errors are known, and a real policy that is never malformed and the same for one seed."""

from __future__ import annotations

import numpy as np
import pytest
from dummy_run import with_card

from fastki.errors import DataError, UsageError
from fastki.evaluation.acting import Acted, Frame
from fastki.evaluation.fitting import fit_of
from fastki.evaluation.floors import FLOORS, HOLD, MEAN, ROUND_TRIP
from fastki.evaluation.frames import frames_of
from fastki.evaluation.heldout import HeldOut
from fastki.evaluation.latency import CALLS, measure_latency
from fastki.evaluation.open_loop import OpenLoopOptions, measure_open_loop
from fastki.evaluation.policy import Policy, Sampling


class Fake(Policy):
    """Chooses normalised actions by a function of a frame; its error is that function's."""

    def __init__(self, policy: Policy, choose) -> None:
        super().__init__(policy.assets, {})
        self.choose, self.sizes = choose, set()

    def act(self, frames, head="flow", *, draw=0) -> Acted:
        self.sizes.add(len(frames))
        normalized = np.stack([self.choose(frame, head) for frame in frames])
        normalizer = self.assets.tokenizer.normalizer
        actions = normalizer.unnormalize(normalized) + self.reference(frames)[:, None]
        tokens = np.full(len(frames), 7) if head == "fast" else None
        return Acted(actions, normalized, tokens, np.zeros(len(frames), bool), 0.0)


def truth(policy, fit):
    """The recorded chunk of a frame, normalised."""

    def choose(frame: Frame, head: str) -> np.ndarray:
        there = frames_of(frame.images.episode, fit, starts=np.array([frame.images.frame]))
        return policy.assets.tokenizer.normalizer.normalize(there.actions, clip=False)[0]

    return choose


def test_a_perfect_policy_has_no_error(policy, setup, fit):
    perfect = Fake(policy, truth(policy, fit))
    found = measure_open_loop(perfect, setup.dataset, setup.heldout, OpenLoopOptions(most=50, batch_size=8))
    assert [row.name for row in found.rows] == ["flow", "fast", *FLOORS]
    for row in found.heads:
        assert (row.mae, row.rmse, row.of_mean) == (0, 0, 0)
        assert not row.mae_native.any()
        assert not row.by_step.any()
    assert (found.row("fast").tokens, found.row("fast").malformed, found.row("flow").tokens) == (7, 0, None)
    assert perfect.sizes == {8}  # Nothing is compiled anew for a last batch, nor for the trace.
    assert (found.frames, found.episodes) == (50, len(setup.heldout))
    done = ~np.isnan(found.trace.predicted["flow"][:, 0])
    np.testing.assert_allclose(found.trace.predicted["flow"][done], found.trace.true[done], atol=1e-6)
    assert done.sum() == len(done) // 16 * 16


def test_errors_are_those_of_an_independent_count(policy, setup, fit):
    still = Fake(policy, lambda frame, head: np.full((16, 8), 0.25 if head == "flow" else -0.5))
    options = OpenLoopOptions(stride=20, most=None, batch_size=8)
    found = measure_open_loop(still, setup.dataset, setup.heldout, options)
    normalizer = setup.tokenizer.normalizer
    chunks, held = [], []
    for index in setup.heldout.tolist():
        actions = setup.dataset[index].actions.astype(np.float64)
        for start in range(0, len(actions) - 15, 20):
            chunks.append(actions[start : start + 16])
            held.append(np.broadcast_to(actions[max(start - 1, 0)], (16, 8)))
    true = normalizer.normalize(np.stack(chunks))
    assert found.row("flow").mae == pytest.approx(np.abs(true - 0.25).mean())
    assert found.row("fast").rmse == pytest.approx(np.sqrt(np.square(true + 0.5).mean()))
    native = np.abs(normalizer.unnormalize(np.full((16, 8), 0.25)) - np.stack(chunks)).mean(axis=(0, 1))
    np.testing.assert_allclose(found.row("flow").mae_native, native)
    np.testing.assert_allclose(found.row("flow").by_step, np.abs(true - 0.25).mean(axis=(0, 2)))
    wanted = np.abs(normalizer.normalize(np.stack(held)) - true).mean()
    assert found.row(HOLD).mae == pytest.approx(wanted)
    assert found.row(MEAN).of_mean == 1
    assert found.row(ROUND_TRIP).mae < 0.1 * found.row(MEAN).mae
    assert found.frames == len(chunks)


def test_shuffling_shows_what_a_policy_looks_at(policy, setup, fit):
    tell = truth(policy, fit)

    def by_state(frame: Frame, head: str) -> np.ndarray:
        """Of the flow: right where the state is the frame's own; FAST looks at nothing."""
        own = frame.images.episode.state[frame.images.frame]
        wrong = 0.0 if head == "fast" or np.array_equal(own, frame.state) else 1.0
        return tell(frame, head) + 0.5 + wrong

    options = OpenLoopOptions(most=40, batch_size=8, ablate=("prompt", "state"))
    found = measure_open_loop(Fake(policy, by_state), setup.dataset, setup.heldout, options)
    rises = {(row.head, row.what): row.rise for row in found.ablations}
    assert rises == pytest.approx(
        {("flow", "prompt"): 0, ("flow", "state"): 2, ("fast", "prompt"): 0, ("fast", "state"): 0}, abs=1e-9
    )


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_tokens_are_never_malformed_whatever_the_parameters(policy, setup, temperature):
    drawn = Policy(policy.assets, policy.params, Sampling(temperature=temperature))
    options = OpenLoopOptions(most=16, batch_size=8, heads=("fast",))
    found = measure_open_loop(drawn, setup.dataset, setup.heldout, options)
    assert found.row("fast").malformed == 0
    assert 0 < found.row("fast").tokens <= policy.card.fast_tokens
    assert np.isfinite(found.row("fast").mae)
    assert [row.name for row in found.heads] == ["fast"]


def test_a_seed_gives_the_same_actions_and_another_draw_others(policy, setup, fit):
    frames = frames_of(setup.dataset[0], fit, starts=np.array([0, 10])).frames
    first = Policy(policy.assets, policy.params, Sampling(seed=5, num_steps=3))
    again = Policy(policy.assets, policy.params, Sampling(seed=5, num_steps=3)).act(frames).actions
    np.testing.assert_array_equal(first.act(frames).actions, again, strict=True)
    assert (first.act(frames, draw=1).actions != again).all()
    other = Policy(policy.assets, policy.params, Sampling(seed=6, num_steps=3)).act(frames).actions
    assert (other != again).all()


def test_differences_are_undone_in_what_the_robot_is_told(delta_policy, delta_setup):
    fit = fit_of(delta_policy, delta_setup.dataset)
    found = frames_of(delta_setup.dataset[3], fit, starts=np.array([8, 40]))
    normalizer = delta_policy.assets.tokenizer.normalizer
    for head in ("flow", "fast"):
        acted = delta_policy.act(found.frames, head)
        relative = normalizer.unnormalize(acted.normalized)
        state = delta_setup.dataset[3].state[[8, 40]].astype(np.float64)
        np.testing.assert_allclose(acted.actions[..., [0, 2]], relative[..., [0, 2]])
        np.testing.assert_allclose(acted.actions[..., 1], relative[..., 1] + state[:, None, 0])
        np.testing.assert_allclose(acted.actions[..., 3], relative[..., 3] + state[:, None, 3])


def test_native_errors_are_those_of_the_actions_themselves(delta_policy, delta_setup):
    fit = fit_of(delta_policy, delta_setup.dataset)
    guess = Fake(delta_policy, lambda frame, head: np.full((16, 4), 0.3))
    options = OpenLoopOptions(stride=25, most=None, batch_size=8, heads=("flow",))
    found = measure_open_loop(guess, delta_setup.dataset, delta_setup.heldout, options)
    errors = []
    for index in delta_setup.heldout.tolist():
        episode = delta_setup.dataset[index]
        there = frames_of(episode, fit, starts=np.arange(0, len(episode) - 15, 25))
        recorded = np.stack([episode.actions[start : start + 16, [1, 0, 7, 3]] for start in there.start.tolist()])
        errors.append(np.abs(guess.act(there.frames).actions - recorded))
    np.testing.assert_allclose(found.row("flow").mae_native, np.concatenate(errors).mean(axis=(0, 1)), rtol=1e-9)
    assert found.names == tuple(delta_setup.dataset.info.action_names[dim] for dim in (1, 0, 7, 3))


def test_a_head_that_was_not_trained_is_refused_and_left_out_by_default(policy, setup, fit):
    flow = with_card(policy, mode="flow")
    assert flow.heads == ("flow",)
    with pytest.raises(UsageError, match="--mode flow: it has no fast head, give --head flow"):
        measure_open_loop(flow, setup.dataset, setup.heldout, OpenLoopOptions(heads=("fast",)))
    with pytest.raises(UsageError, match="it has no fast head"):
        flow.act(frames_of(setup.dataset[0], fit, starts=np.array([0])).frames, "fast")


def test_a_prompt_longer_than_any_in_training_is_refused(policy, setup, fit):
    frame = frames_of(setup.dataset[0], fit, starts=np.array([0])).frames[0]
    long = Frame(frame.images, frame.state, "reach " * 200, frame.previous)
    with pytest.raises(DataError, match=rf"text tokens, and the policy has room for {policy.card.model.max_token_len}"):
        policy.act([long])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stride": 0}, "--stride 0"),
        ({"most": 0}, "--max-frames 0"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_options_out_of_range_are_named(options, said):
    with pytest.raises(UsageError, match=said):
        OpenLoopOptions(**options)


def test_losses_are_the_same_twice_and_of_whole_batches(policy, setup):
    held = HeldOut(setup, policy.definition, examples=70)
    told = []
    first = held(policy.params, progress=lambda done, total: told.append((done, total)))
    assert first == held(policy.params)
    assert len(held) == 64
    assert told == [(32, 64), (64, 64)]
    assert set(first) == {"flow_loss", "fast_loss", "nats_per_value", "token_accuracy"}
    assert first["nats_per_value"] > 0
    assert held.lost == 0


def test_latency_is_of_single_frames_after_compilation(policy, fit, setup):
    frames = frames_of(setup.dataset[0], fit).frames[:3]
    fake = Fake(policy, lambda frame, head: np.zeros((16, 8)))
    found = measure_latency(fake, frames, "flow")
    assert fake.sizes == {1}
    assert found.calls == CALLS
    assert 0 < found.median <= found.p90
