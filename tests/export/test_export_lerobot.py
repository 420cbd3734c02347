"""LeRobot itself reads the exports: it acts as fastki does, and its π0-FAST writes and reads the same ids."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("flax")
pytest.importorskip("safetensors")

from dummy_run import dummy_setup, random_policy
from lerobot_driver import POLICY, TOKENIZER, lerobot_python, run_lerobot

from fastki.evaluation.policy import Frame, Policy
from fastki.export.lerobot_files import policy_config, postprocessor, preprocessor, rename_map
from fastki.export.source import Source
from fastki.export.write import write_lerobot
from fastki.model.flow_sampling import sample_actions
from fastki.model.params import flatten, nest
from fastki.tokenizer import FastTokenizer


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """Every parameter is random, norms and biases too."""
    lerobot_python()
    setup = dummy_setup("mode=flow", "sequence.layout=images-prompt-fast")
    policy = random_policy(setup, tmp_path_factory.mktemp("assets"))
    rng = np.random.default_rng(0)
    moved = {
        name: np.asarray(one) + rng.normal(scale=0.05, size=one.shape).astype(np.float32)
        for name, one in flatten(policy.params).items()
    }
    return Policy(policy.assets, nest(moved))


@pytest.fixture
def frames(policy):
    rng, size = np.random.default_rng(1), policy.card.model.size.vision.image_size
    slots = [slot.name for slot in policy.card.slots if slot.camera is not None]
    return [
        Frame({name: rng.integers(0, 256, (size, size, 3)).astype(np.uint8) for name in slots}, state, prompt)
        for state, prompt in zip(rng.normal(scale=0.5, size=(2, 8)), ("pick up the cup", "open_it"), strict=True)
    ]


def write_export(policy, folder):
    """With the files that are left out of an export of this size, as LeRobot has no such size."""
    card, own = policy.card, policy.assets.tokenizer
    normalizers = {"state": policy.assets.state_normalizer, "actions": own.normalizer}
    source = Source("run", own, None, {card.asset_id: normalizers}, card)
    write_lerobot(folder, source, dict(flatten(policy.params)), (), str(folder), lambda *_: None)
    files = {
        "config": policy_config(source, card),
        "policy_preprocessor": preprocessor(source, card),
        "policy_postprocessor": postprocessor(source, card),
    }
    for name, plain in files.items():
        (folder / f"{name}.json").write_text(json.dumps(plain))


def test_lerobots_policy_acts_as_ours(policy, frames, tmp_path):
    write_export(policy, tmp_path)
    card = policy.card
    seen = policy.observe(frames, "flow")
    noise = np.random.default_rng(2).normal(size=(2, card.model.action_horizon, card.model.action_dim))
    ours = np.asarray(sample_actions(policy.definition.merge(policy.params), seen, noise.astype(np.float32)))
    normalized = ours[..., : policy.action_dim]
    tokens, mask = np.asarray(seen.tokenized_prompt), np.asarray(seen.tokenized_prompt_mask)
    pictures = {
        name: np.stack([frame.images[picture.rpartition(".")[2]] for frame in frames])
        for name, picture in rename_map(card).items()
    }
    assert pictures.keys() & set(rename_map(card).values()) == set()
    states = np.stack([frame.state for frame in frames])
    kept = {"noise": noise.astype(np.float32), "tokens": tokens, "mask": mask, "state": states}
    np.savez(tmp_path / "case.npz", **kept, normalized=normalized, **pictures)
    case = {
        "size": dataclasses.asdict(card.model.size),
        "vocab": card.model.vocab,
        "prompts": [frame.prompt for frame in frames],
    }
    (tmp_path / "case.json").write_text(json.dumps(case))
    theirs = run_lerobot(POLICY, tmp_path)
    np.testing.assert_allclose(theirs["chunk"], ours, atol=1e-4)
    assert np.abs(ours - noise).max() > 1
    text = policy.wording("flow").text
    assert theirs["text"] == [text.decode(row[used].tolist()) for row, used in zip(tokens, mask, strict=True)]
    native = policy.assets.tokenizer.normalizer.unnormalize(normalized.astype(np.float64))
    np.testing.assert_allclose(theirs["native"], native, atol=1e-5)


@pytest.mark.parametrize("settings", [{"bins": 40}, {"atol": 0.005}, {"atol": 0.02, "order": "dim"}])
def test_lerobots_pi0_fast_reads_the_tokens_as_ours(settings, tmp_path):
    rng = np.random.default_rng(0)
    chunks = np.cumsum(rng.normal(size=(100, 16, 3)), axis=1)
    tokenizer = FastTokenizer.fit(chunks, vocab_size=300, **settings)
    normalized = tokenizer.normalizer.normalize(chunks)
    np.save(tmp_path / "chunks.npy", normalized)
    theirs = run_lerobot(TOKENIZER, tokenizer.save(tmp_path / "tokenizer"), tmp_path / "chunks.npy")
    ids = tokenizer.encode_normalized(normalized)
    assert theirs["ids"] == [row.tolist() for row in ids]
    np.testing.assert_allclose(theirs["actions"], tokenizer.decode_normalized(ids), atol=1e-12)
