"""Knowledge insulation, of record: no gradient of the flow's loss reaches the backbone, and no FAST token the flow.

"Exactly" means equal to 0.0, in every number of every leaf.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flax")

import jax
import jax.numpy as jnp
from model_batches import REAL_DIMS, micro_config, random_batch, random_draw, random_model
from quick import compile_quickly, run_quickly

from fastki.model import gemma
from fastki.model.attention import KeysValues, Numerics, attend, insulate
from fastki.model.config import MODES, LoraConfig
from fastki.model.losses import compute_losses, flow_loss, token_sums
from fastki.model.params import flatten, nest
from fastki.model.vla import VLA, Prefix
from fastki.sequence.layout import PRESETS

LENGTHS = ((5, 6), (3, 9))
"""Tokens of prompt and FAST of two examples."""
SUMMED = 1e-6
"""Of a gradient's largest number: sums in another order."""
LORAS = {"backbone_lora": LoraConfig(2, 4.0), "expert_lora": LoraConfig(3, 6.0)}


def of_expert(name: str) -> bool:
    """Whether a parameter is the action expert's: all the rest is backbone, embedder and image tower."""
    if name.startswith(("PaliGemma/img", "state_token_proj")):
        return False
    return not name.startswith("PaliGemma") or any(part.endswith("_1") for part in name.split("/"))


def part_gradients(config, *, insulated: bool):
    """Of the flow's loss and of the cross-entropy in one pass of both: ``{name: leaf}`` twice."""
    layout = PRESETS["images-prompt-state-token-fast" if config.state_token else "images-prompt-fast"]
    lengths = [(prompt, 1, fast) if config.state_token else (prompt, fast) for prompt, fast in LENGTHS]
    definition, params = random_model(config, layout=layout)
    batch = random_batch(config, lengths, layout=layout)

    def losses(params, draw):
        model = definition.merge(params)
        time, actions = draw.time[:, None, None], jnp.asarray(batch.actions)
        noisy = time * draw.noise + (1 - time) * actions
        out = model.joint(batch.observation, noisy, draw.time, insulated=insulated)
        sums = token_sums(model, out, batch.observation)
        return flow_loss(out.velocity, draw.noise - actions, batch.actions_mask), jnp.mean(sums.nll / sums.tokens)

    def both(params, draw):
        _, pull = jax.vjp(lambda params: losses(params, draw), params)
        return pull((jnp.ones(()), jnp.zeros(())))[0], pull((jnp.zeros(()), jnp.ones(())))[0]

    flow, fast = jax.device_get(run_quickly(both, params, random_draw(batch)))
    return flatten(flow), flatten(fast)


@pytest.fixture(scope="module")
def insulated():
    return part_gradients(micro_config(), insulated=True)


@pytest.fixture(scope="module")
def open_ways():
    """The same without the stop-gradient."""
    return part_gradients(micro_config(), insulated=False)


def assert_insulated(flow, fast):
    """The claim itself, of every leaf."""
    leaks = {name for name, leaf in flow.items() if not of_expert(name) and np.any(leaf)}
    assert not leaks, "the flow's loss reaches the backbone"
    assert not {name for name, leaf in fast.items() if of_expert(name) and np.any(leaf)}
    assert not {name for name, leaf in flow.items() if of_expert(name) and not np.any(leaf)}
    assert not {name for name, leaf in fast.items() if not of_expert(name) and not np.any(leaf)}


def test_the_parts_of_the_model_are_told_apart():
    names = set(flatten(random_model(micro_config())[1]))
    backbone = {name for name in names if not of_expert(name)}
    assert len(names) == 51
    assert len(backbone) == 23 + 1 + 7 + 1  # The tower's, the embedder's, the layers', the last norm's.
    assert not [name for name in backbone if name.startswith("PaliGemma/llm") and "_1" in name]
    assert "PaliGemma/llm/final_norm_1/Dense_0/kernel" in names - backbone


def test_the_flows_gradient_is_exactly_zero_on_the_backbone_and_the_cross_entropys_on_the_expert(insulated):
    """And neither is zero on any leaf of its own side."""
    assert_insulated(*insulated)


@pytest.mark.parametrize(
    ("remat", "loras"), [("dots", LORAS), ("full", {}), ("full", LORAS)], ids=["dots-lora", "full", "full-lora"]
)
def test_so_it_is_with_recomputed_activations_and_low_rank_additions(insulated, remat, loras):
    """With ``dots`` the state comes in as a continuous token too, whose projection is the backbone's."""
    config = micro_config(remat=remat, state_token=remat == "dots", **loras)
    flow, fast = part_gradients(config, insulated=True)
    assert ("state_token_proj/kernel" in fast) == config.state_token
    assert sum("lora" in name for name in flow) == (2 * 2 * 5 if loras else 0)
    assert_insulated(flow, fast)
    if not loras:  # Recomputing changes nothing but time and memory.
        for ours, theirs in zip((flow, fast), insulated, strict=True):
            assert_same(ours, theirs)


def test_keys_biases_alone_are_zero_but_for_rounding(insulated):
    """Softmax does not see what is added to all of a query's scores; every other leaf of the backbone really learns."""
    _, fast = insulated
    sizes = {name: float(np.abs(leaf).max()) for name, leaf in fast.items() if not of_expert(name)}
    tiny = {name for name, size in sizes.items() if size < 1e-6}
    assert tiny == {"PaliGemma/img/Transformer/encoderblock/MultiHeadDotProductAttention_0/key/bias"}


def test_without_insulation_the_flow_reaches_every_weight_but_the_last_norm(open_ways):
    flow, fast = open_ways
    untouched = {name for name, leaf in flow.items() if not np.any(leaf)}
    assert untouched == {"PaliGemma/llm/final_norm/scale"}  # The expert reads keys and values, before that norm.
    assert not {name for name, leaf in fast.items() if of_expert(name) and np.any(leaf)}


def test_insulation_changes_no_gradient_of_the_expert_and_none_of_the_cross_entropy(insulated, open_ways):
    for ours, theirs, mine in zip(insulated, open_ways, (True, False), strict=True):
        assert_same(
            {name: leaf for name, leaf in ours.items() if of_expert(name) == mine},
            {name: leaf for name, leaf in theirs.items() if of_expert(name) == mine},
        )


def test_the_whole_gradient_is_the_sum_of_its_parts(insulated):
    """Of mode ``ki``, with the cross-entropy weighted; the backbone's is what FAST alone would give it."""
    config = micro_config(ki_fast_loss_weight=0.3)
    definition, params = random_model(config)
    batch = random_batch(config, LENGTHS)

    def loss(params, mode):
        return compute_losses(definition.merge(params), batch, random_draw(batch), mode).total

    def gradients(params):
        return jax.grad(loss)(params, MODES["ki"]), jax.grad(loss)(params, MODES["fast"])

    whole, fast = (flatten(tree) for tree in jax.device_get(run_quickly(gradients, params)))
    flow, cross_entropy = insulated
    assert_same(whole, {name: flow[name] + 0.3 * cross_entropy[name] for name in flow})
    assert_same(fast, {name: 0.3 * leaf for name, leaf in cross_entropy.items()})


def test_detaching_embeddings_is_not_insulation(monkeypatch, insulated, open_ways):
    """The expert's gradient still reaches every weight that makes keys and values of the embeddings."""
    original = VLA.embed_prefix

    def embed_prefix(model, observation):
        prefix = original(model, observation)
        return Prefix(jax.lax.stop_gradient(prefix.tokens), prefix.image_valid)

    monkeypatch.setattr(VLA, "embed_prefix", embed_prefix)
    monkeypatch.setattr(gemma, "insulate", lambda prefix: prefix)
    flow, fast = part_gradients(micro_config(), insulated=True)
    with pytest.raises(AssertionError, match="the flow's loss reaches the backbone"):
        assert_insulated(flow, fast)
    layers = [name for name in flow if name.startswith("PaliGemma/llm/layers") and not of_expert(name)]
    assert len(layers) == 7
    for name in layers:  # No weaker than without anything: the detour through the embeddings was never theirs.
        assert np.any(flow[name]), name
    assert_same({name: flow[name] for name in layers}, {name: open_ways[0][name] for name in layers})
    kv = "PaliGemma/llm/layers/attn/kv_einsum/w"
    assert np.linalg.norm(flow[kv]) > 0.1 * np.linalg.norm(fast[kv])


def test_one_query_by_hand():
    """One number for each: the expert asks with q, the backbone holds (k, v) = (a·x, b·x), the expert (c, d).

    It reads o = p·b·x + (1 − p)·d with p = σ(q·(a·x − c)), so ∂o/∂a = p(1 − p)·q·x·(b·x − d) and ∂o/∂b = p·x, which are
    what the stop-gradient takes away; ∂o/∂q = p(1 − p)(a·x − c)(b·x − d), ∂o/∂c = −p(1 − p)·q·(b·x − d) and
    ∂o/∂d = 1 − p stay as they are.
    """
    x, numbers = 1.7, {"a": 0.6, "b": -0.8, "q": 0.9, "c": 0.25, "d": 1.1}

    def read(n, protect):
        def number(value):
            return jnp.reshape(value, (1, 1, 1, 1))

        backbone = KeysValues(number(n["a"] * x), number(n["b"] * x))
        context = protect(backbone).then(KeysValues(number(n["c"]), number(n["d"])))
        return attend(number(n["q"]), context, jnp.ones((1, 1, 2), bool), Numerics("xla"))[0, 0, 0, 0]

    a, b, q, c, d = numbers.values()
    p = 1 / (1 + np.exp(-q * (a * x - c)))
    of_backbone = {"a": p * (1 - p) * q * x * (b * x - d), "b": p * x}
    own = {"q": p * (1 - p) * (a * x - c) * (b * x - d), "c": -p * (1 - p) * q * (b * x - d), "d": 1 - p}
    assert read(numbers, insulate) == read(numbers, lambda same: same) == pytest.approx(p * b * x + (1 - p) * d)
    assert jax.grad(read)(numbers, lambda same: same) == pytest.approx({**of_backbone, **own}, rel=1e-5)
    assert jax.grad(read)(numbers, insulate) == pytest.approx({"a": 0.0, "b": 0.0, **own}, rel=1e-5, abs=0.0)


def test_padded_action_dimensions_carry_no_flow_loss_and_get_no_gradient(insulated):
    flow, _ = insulated
    for name, leaf in (("kernel", flow["action_out_proj/kernel"]), ("bias", flow["action_out_proj/bias"])):
        assert not np.any(leaf[..., REAL_DIMS:]), name
        assert np.all(np.any(leaf.reshape(-1, leaf.shape[-1])[:, :REAL_DIMS], axis=0)), name
    velocity, target = np.random.default_rng(0).normal(size=(2, 2, 3, 6)).astype(np.float32)
    mask = np.broadcast_to(np.arange(6) < REAL_DIMS, velocity.shape)
    assert flow_loss(velocity, target, mask) == flow_loss(np.where(mask, velocity, 99), target, mask)


def test_the_expert_moves_no_fast_logit():
    config = micro_config()
    definition, params = random_model(config)
    batch = random_batch(config, LENGTHS)
    draw = random_draw(batch)

    def run(params):
        out = definition.merge(params).joint(batch.observation, draw.noise, draw.time, insulated=True)
        return out.prefix, out.velocity

    compiled = compile_quickly(run, params)
    other = flatten(random_model(config, seed=1)[1])
    moved = nest({name: other[name] if of_expert(name) else leaf for name, leaf in flatten(params).items()})
    (prefix, velocity), (moved_prefix, moved_velocity) = compiled(params), compiled(moved)
    np.testing.assert_array_equal(prefix, moved_prefix)
    assert not np.allclose(velocity, moved_velocity)


def assert_same(ours, theirs):
    """Every leaf, but for the order of sums."""
    assert set(ours) == set(theirs)
    for name, leaf in ours.items():
        np.testing.assert_allclose(leaf, theirs[name], rtol=0, atol=SUMMED * np.abs(theirs[name]).max() + 1e-9)
