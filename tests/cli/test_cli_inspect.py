"""``fastki inspect``: datasets and tokenizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sentencepiece_maker as maker

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
    table = out.split("coefficients, in the order of the stream")[1].split("text ids")[0]
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


def table_of(out: str, *heads: str) -> list[list[str]]:
    """The cells of the table whose first heads are these, down to the next empty line."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()]
    start = next(place for place, cells in enumerate(lines) if cells[: len(heads)] == list(heads))
    return lines[start + 1 : lines.index([], start)]


def test_where_a_tokenizers_ids_stand_is_shown(cli, tokenizer):
    code, out, err = cli("inspect", str(tokenizer))
    assert (code, err) == (0, "")
    assert "FAST id i is text id 257,023 − i: 257,152 − 1 − 128 skipped − i" in out
    assert "beginning 2, end 1, padding 0; after FAST's come | (127) and the end" in out
    assert "256 ids: 256 that byte has not" in out
    assert table_of(out, "text ids", "FAST ids") == [
        ["257,024 – 257,151", "128", "skipped"],
        ["256,768 – 257,023", "255 – 0", "256", "FAST"],
        ["0 – 256,767", "256,768", "text"],
    ]
    ends = [row[:2] for row in table_of(out, "FAST id", "text id")][:7]
    assert ends == [
        ["0", "257,023"],
        ["1", "257,022"],
        ["2", "257,021"],
        ["…", "…"],
        ["253", "256,770"],
        ["254", "256,769"],
        ["255", "256,768"],
    ]
    assert "--text with the tokenizer that the model reads" in out


def test_where_a_tokenizers_ids_stand_for_machines(run_json, tokenizer):
    from fastki.sequence.ids import FastIds

    code, result = run_json("inspect", str(tokenizer), "--model", "tiny", "--skip", "7")
    ids = result["text_ids"]
    expected = FastIds(2560, 256, 7)
    assert (code, ids["text"], ids["model"], ids["refusal"]) == (0, "byte", "tiny", None)
    assert (ids["text_vocab"], ids["skip"], ids["fast_vocab"]) == (2560, 7, 256)
    assert (ids["highest"], ids["lowest"]) == (expected.highest, expected.lowest)
    assert [pair["text"] for pair in ids["ends"]] == expected.to_text([pair["fast"] for pair in ids["ends"]]).tolist()
    assert [(row["what"], row["first"], row["last"]) for row in ids["rows"]] == [
        ("skipped", 2553, 2559),
        ("FAST", 2297, 2552),
        ("text", 0, 2296),
    ]
    assert (ids["beyond"], ids["spare"], ids["ordinary"]) == (0, 256, 0)
    assert (ids["specials"], ids["closing"]) == ({"beginning": 2, "end": 1, "padding": 0}, [127, 1])


def test_the_markers_that_fast_takes_the_place_of_are_named(cli, run_json, tokenizer):
    Path("small.model").write_bytes(maker.with_pieces(maker.train(), maker.MARKERS, maker.USER_DEFINED))
    code, out, _ = cli("inspect", str(tokenizer), "--text", "small.model", "--model", "tiny")
    assert code == 0
    assert [row[2] for row in table_of(out, "FAST id", "text id") if row[0] != "…"] == [
        f"'<loc{index:04d}>'" for index in (1023, 1022, 1021, 770, 769, 768)
    ]
    assert "256 that its ordinary text does not use" in out
    assert "refused" not in out
    assert "--text with the tokenizer" not in out
    _, result = run_json("inspect", str(tokenizer), "--text", "small.model", "--model", "tiny")
    assert result["text_ids"]["ends"][0]["stands"] == "<loc1023>"


@pytest.mark.parametrize(
    ("text", "shown", "mend"),
    [
        ("byte:600", "FAST over ordinary text (43 ids)", "a FAST vocabulary of at most 213"),
        ("byte:300", None, "a text vocabulary of at least 643 (byte:643)"),
    ],
)
def test_ids_that_run_into_ordinary_text_are_shown_with_the_mend(cli, run_json, tokenizer, text, shown, mend):
    code, out, err = cli("inspect", str(tokenizer), "--model", "tiny", "--text", text)
    assert (code, err) == (0, "")
    (refusal,) = [line for line in out.splitlines() if line.startswith("refused: ")]
    assert mend in refusal
    assert (shown is None) == ("FAST id  text id" not in out)
    assert shown is None or shown in out
    assert out.splitlines()[-1] == f"next: fastki roundtrip {tokenizer}"
    _, result = run_json("inspect", str(tokenizer), "--model", "tiny", "--text", text)
    assert f"refused: {result['text_ids']['refusal']}" == refusal
    assert bool(result["text_ids"]["ordinary"]) == (shown is not None)
    mended = mend.rpartition("(")[2].rstrip(")") if "byte:" in mend else "byte:643"
    assert run_json("inspect", str(tokenizer), "--model", "tiny", "--text", mended)[1]["text_ids"]["refusal"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", "nowhere"], "'nowhere' is no text tokenizer"),
        (["--text", "byte:10"], "byte:259"),
        (["--model", "tinny"], "did you mean tiny?"),
        (["--skip", "-1"], "--skip"),
    ],
)
def test_a_mistake_about_the_text_is_one_line(refused, tokenizer, arguments, said):
    assert said in refused("inspect", str(tokenizer), *arguments)


def test_ids_are_of_tokenizers_alone(refused):
    said = refused("inspect", SMALL, "--skip", "4")
    assert "--skip 4 says where a tokenizer's ids stand" in said
    assert "is no tokenizer" in said


def test_layouts_next_command_shows_the_ids_that_they_used(cli, tokenizer, monkeypatch):
    monkeypatch.setattr("fastki.report.layout_html.layout_figures", lambda *_: [])
    words = ("--layouts", "images-fast", "--model", "tiny", "--text", "byte:900", "--skip", "5")
    _, out, _ = cli("layouts", str(tokenizer), *words)
    following = out.splitlines()[-1]
    assert following == f"next: fastki inspect {tokenizer} --model tiny --text byte:900 --skip 5"
    assert "FAST id i is text id 894 − i" in Path("fastki-out/layouts/report.html").read_text(encoding="utf-8")
    _, out, _ = cli(*following.split()[2:])
    assert "FAST id i is text id 894 − i" in out
