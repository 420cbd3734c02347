"""``fastki inspect``: datasets and tokenizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SMALL = "synthetic:droid?episodes=8"


def test_a_dataset_for_people(cli):
    code, out, err = cli("inspect", SMALL)
    assert (code, err) == (0, "")
    for shown in ("15 Hz", "8, 1,089 frames", "action [8]", "joint_1 velocity", "rad/s", "q01", "wrist_image_left"):
        assert shown in out, shown
    assert Path("fastki-out/inspect/dataset.png").read_bytes().startswith(b"\x89PNG")
    assert out.splitlines()[-1] == f"next: fastki fit '{SMALL}'"


def test_a_dataset_for_machines(run_json):
    code, result = run_json("inspect", SMALL)
    assert (code, result["episodes"], result["fps"], result["action_dim"]) == (0, 8, 15, 8)
    assert sum(result["lengths"]) == result["frames"]
    assert result["per_dim"][7]["name"] == "gripper position"
    assert result["per_dim"][0]["min"] <= result["per_dim"][0]["q01"] <= result["per_dim"][0]["q99"]


def test_a_dataset_without_prompts_rate_or_state_that_hardly_moves(cli, run_json, tmp_path):
    actions = np.zeros((200, 3))
    actions[100, 1] = 1
    actions[:, 2] = np.linspace(-1, 1, 200)
    np.save(tmp_path / "plain.npy", actions)
    code, out, err = cli("inspect", "plain.npy")
    assert (code, err) == (0, "")
    rows = {line.split()[1]: line for line in out.splitlines() if "action[" in line and "never" not in line[:9]}
    assert rows["action[0]"].rstrip().endswith("never moves")
    assert rows["action[1]"].rstrip().endswith("q01 = q99")
    _, result = run_json("inspect", "plain.npy")
    assert [dim["still"] for dim in result["per_dim"]] == [True, False, False]
    assert (result["prompts"], result["fps"], result["state_key"]) == ([], None, None)


def test_the_next_command_carries_the_keys(cli, tmp_path):
    frames = np.cumsum(np.random.default_rng(0).normal(size=(80, 2)), axis=0)
    np.savez(tmp_path / "two.npz", left=frames, right=frames)
    _, out, _ = cli("inspect", "two.npz", "--action-key", "right")
    assert out.splitlines()[-1] == "next: fastki fit two.npz --action-key right"


def test_a_tokenizer_for_people(cli, tokenizer):
    code, out, err = cli("inspect", str(tokenizer), "--tokens", "3")
    assert (code, err) == (0, "")
    for shown in ("16 × 8", "40 bins (scale 20)", "frequency-major", "quantile", SMALL, "coefficients, in"):
        assert shown in out, shown
    table = out.split("coefficients, in the order of the stream")[1].split("next:")[0]
    assert len([line for line in table.splitlines() if line.strip()]) == 3
    assert out.splitlines()[-1] == f"next: fastki roundtrip {tokenizer}"


def test_a_tokenizer_for_machines(run_json, tokenizer):
    code, result = run_json("inspect", str(tokenizer), "--tokens", "5")
    assert (code, result["method"], result["vocab_size"]) == (0, "fast", 256)
    assert result["codec"]["scale"] == 20
    assert result["source"]["data"] == SMALL
    lengths = [entry["length"] for entry in result["longest_tokens"]]
    assert (len(lengths), lengths) == (5, sorted(lengths, reverse=True))
    assert 0 < result["vocab_used"] <= 256


def test_a_tokenizer_whose_data_are_gone_is_still_shown(cli, run_json, recording):
    cli("fit", str(recording), "--vocab", "128", "--bins", "60")
    recording.unlink()
    code, out, err = cli("inspect", "fastki-out/tokenizer")
    assert code == 0
    assert "60 bins" in out
    assert err.startswith("note: vocabulary use was not counted: ")
    assert run_json("inspect", "fastki-out/tokenizer")[1]["vocab_used"] is None


def test_vocabulary_use_on_other_data(run_json, tokenizer):
    _, own = run_json("inspect", str(tokenizer))
    _, other = run_json("inspect", str(tokenizer), "--data", "synthetic:droid?episodes=2&seed=9")
    assert other["vocab_used"] < own["vocab_used"]
