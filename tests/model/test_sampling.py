"""Actions and tokens out of a model: openpi's numbers, the cache against one pass, and no malformed output, ever."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_inputs import observe, random_model, tiny_config
from quick import compile_quickly, run_quickly

from fastki.model.fast_sampling import PADDING, TokenHead, write_tokens
from fastki.model.flow_sampling import draw_noise, sample_actions
from fastki.model.losses import token_sums
from fastki.sequence.ids import FastIds
from fastki.sequence.layout import PRESETS
from fastki.tokenizer import FastTokenizer
from fastki.tokenizer.rules import FixedLength, rules_of

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def model():
    return random_model(CONFIG)


def noise_for(batch: int, config=CONFIG) -> np.ndarray:
    shape = (batch, config.action_horizon, config.action_dim)
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def flow(model, observation, noise, **options) -> np.ndarray:
    definition, params = model
    sample = functools.partial(sample_actions, **options)
    return np.asarray(run_quickly(lambda p, o, n: sample(definition.merge(p), o, n), params, observation, noise))


def test_one_step_is_the_noise_less_its_velocity(model):
    definition, params = model
    observation, noise = observe(CONFIG, [[10, 0], [5, 0]]), noise_for(2)
    velocity = definition.merge(params).joint(observation, noise, jnp.ones(2), insulated=True).velocity
    np.testing.assert_allclose(flow(model, observation, noise, num_steps=1), noise - velocity, atol=2e-6)


def test_the_cache_gives_what_whole_passes_give(model):
    definition, params = model
    observation, noise = observe(CONFIG, [[10, 0], [24, 0]]), noise_for(2)
    network, actions = definition.merge(params), jnp.asarray(noise)
    for place in range(4):
        time = jnp.full(2, 1 - place / 4)
        actions -= network.joint(observation, actions, time, insulated=False).velocity / 4
    np.testing.assert_allclose(flow(model, observation, noise, num_steps=4), actions, atol=5e-6)


@pytest.mark.parametrize("layout", PRESETS)
def test_fast_tokens_do_not_move_the_actions(layout):
    config = tiny_config(state_token="token" in layout)
    model = random_model(config, layout=PRESETS[layout])
    counts = [[4] * len(PRESETS[layout].text)] * 2
    place = [segment.kind for segment in PRESETS[layout].text].index("fast")
    observation = observe(config, counts, layout=layout)
    learnt = observation.token_loss_mask | (np.arange(24) // 4 == place)
    other = np.where(learnt, (observation.tokenized_prompt + 7) % config.vocab, observation.tokenized_prompt)
    assert (other != observation.tokenized_prompt).any()
    changed = dataclasses.replace(observation, tokenized_prompt=other.astype(np.int32))
    assert (flow(model, observation, noise_for(2)) == flow(model, changed, noise_for(2))).all()


def test_dimensions_that_the_robot_lacks_go_straight_to_zero(model):
    """As they did in training, where the expert saw time · noise there and had no loss."""
    definition, params = model
    observation, noise = observe(CONFIG, [[10, 0]]), noise_for(1)
    sampled = flow(model, observation, noise, num_steps=4, dims=3)
    np.testing.assert_allclose(sampled[..., 3:], 0, atol=1e-6)
    network, actions = definition.merge(params), jnp.asarray(noise)
    for place in range(4):
        time = jnp.full(1, 1 - place / 4)
        velocity = network.joint(observation, actions, time, insulated=False).velocity.at[..., 3:].set(noise[..., 3:])
        actions -= velocity / 4
    np.testing.assert_allclose(sampled, actions, atol=5e-6)


def test_noise_is_standard_normal_of_the_models_shape(model):
    definition, params = model
    noise = draw_noise(definition.merge(params), jax.random.key(0), 200)
    assert noise.shape == (200, CONFIG.action_horizon, CONFIG.action_dim)
    assert abs(float(noise.mean())) < 0.05
    assert float(noise.std()) == pytest.approx(1, abs=0.05)


def written(model, observation, head, **options):
    definition, params = model
    return run_quickly(
        lambda p, o, k: write_tokens(definition.merge(p), o, k, head, **options), params, observation, jax.random.key(0)
    )


def test_what_is_written_has_the_probability_that_one_pass_gives_it(model):
    definition, params = model
    observation = observe(CONFIG, [[10, 0], [3, 0]])
    tokens, lengths, log_prob = written(
        model, observation, TokenHead.any_text(CONFIG.vocab, 511), max_tokens=9, temperature=1.0
    )
    assert lengths.tolist() == [9, 9]
    fields = [np.array(getattr(observation, name)) for name in ("tokenized_prompt", "tokenized_prompt_mask")]
    causal, learnt = np.zeros((2, 24), np.int32), np.zeros((2, 24), bool)
    for row, start in enumerate((10, 3)):
        fields[0][row, start : start + 9], fields[1][row, start : start + 9] = tokens[row], True
        causal[row, start : start + 9], learnt[row, start : start + 9] = 1, True
    whole = dataclasses.replace(
        observation,
        tokenized_prompt=fields[0],
        tokenized_prompt_mask=fields[1],
        token_ar_mask=causal,
        token_loss_mask=learnt,
    )
    network = definition.merge(params)
    np.testing.assert_allclose(-token_sums(network, network.backbone(whole), whole).nll, log_prob, rtol=1e-5)


def test_each_sequence_ends_by_itself_and_as_if_it_were_alone(model):
    head = TokenHead(FixedLengths((2, 7, 5)), np.arange(100, 140, dtype=np.int32), 99)
    observation = observe(CONFIG, [[10, 0], [3, 0], [7, 0]])
    tokens, lengths, _ = written(model, observation, head, max_tokens=12)
    assert lengths.tolist() == [2, 7, 5]
    assert ((np.asarray(tokens) != PADDING).sum(axis=1) == lengths).all()
    for row in range(3):
        alone = jax.tree.map(lambda array, row=row: array[row : row + 1], observation)
        single = TokenHead(FixedLengths((lengths[row].item(),)), head.text_ids, 99)
        assert written(model, alone, single, max_tokens=12).tokens[0].tolist() == tokens[row].tolist()


class FixedLengths(FixedLength):
    """Another length for each sequence."""

    def __init__(self, lengths: tuple[int, ...]) -> None:
        super().__init__(40, 0)
        object.__setattr__(self, "lengths", lengths)

    def start(self, batch, *, xp=np):
        return xp.asarray(self.lengths, dtype=xp.int32)


def test_temperature_one_draws_as_often_as_the_model_says(model):
    definition, params = model
    observation = observe(CONFIG, [[6, 0]], cameras=0)
    many = jax.tree.map(lambda array: np.repeat(array, 2000, axis=0), observation)
    head = TokenHead(FixedLength(8, 1), np.arange(20, 28, dtype=np.int32), 3)
    tokens = np.asarray(written(model, many, head, max_tokens=1, temperature=1.0).tokens)[:, 0]
    network = definition.merge(params)
    last = network.last_text(observation, network.backbone(observation).prefix, 0)
    expected = np.asarray(jax.nn.softmax(network.llm.embedder.decode(last)[0, 20:28]))
    shares = np.bincount(tokens, minlength=8) / 2000
    assert np.abs(shares - expected).max() < 4 * np.sqrt(0.25 / 2000)
    assert set(np.asarray(written(model, many, head, max_tokens=1).tokens)[:, 0]) == {int(expected.argmax())}


@pytest.mark.parametrize(
    ("order", "vocab", "bins", "most"), [("freq", 256, 20, 60), ("freq", 64, 400, 12), ("dim", 96, 400, 9)]
)
def test_no_weights_write_anything_malformed(order, vocab, bins, most):
    """Ten thousand samples in all, by a model that knows nothing, where most numbers need escapes or tokens run out."""
    chunks = np.cumsum(np.random.default_rng(0).normal(size=(300, 8, 4)), axis=1)
    tokenizer = FastTokenizer.fit(chunks, vocab_size=vocab, bins=bins, order=order)
    ids = FastIds(CONFIG.vocab, tokenizer.vocab_size)
    head = TokenHead.of(rules_of(tokenizer), ids, end_id=1)
    observation = observe(CONFIG, [[4, 0]] * 250)
    definition, params = random_model(CONFIG, seed=vocab)
    write = compile_quickly(
        lambda p, o, k: write_tokens(definition.merge(p), o, k, head, max_tokens=most, temperature=2.0),
        params,
        observation,
        jax.random.key(0),
    )
    for draw in range(14):
        tokens, lengths, _ = write(params, observation, jax.random.key(draw))
        rows = [row[:length] for row, length in zip(np.asarray(tokens), lengths.tolist(), strict=True)]
        decoded = tokenizer.decode_normalized(rows, strict=True)
        assert decoded.shape == (250, 8, 4)
        assert np.isfinite(decoded).all()
    assert lengths.max() > min(4, most - 1)


def test_nothing_leaves_the_device_while_tokens_are_written(model):
    definition, params = model
    observation = jax.device_put(observe(CONFIG, [[10, 0]]))
    head = TokenHead.any_text(CONFIG.vocab, 1)
    write = jax.jit(lambda p, o, k: write_tokens(definition.merge(p), o, k, head, max_tokens=5))
    program = write.lower(params, observation, jax.random.key(0)).as_text()
    assert "while" in program
    assert "callback" not in program
    assert "infeed" not in program
