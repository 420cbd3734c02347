"""``fastki report``."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_without_arguments_it_is_of_the_sample_and_then_of_what_is_there(run_json, cli, tokenizer):
    code, said = run_json("report")
    assert code == 0
    assert said == {
        "report": "fastki-out/report.html",
        "results": [{"folder": "fastki-out/tokenizer", "kind": "Tokenizer"}],
    }
    text = Path("fastki-out/report.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert cli("roundtrip", str(tokenizer), "--atol", "1", "--quiet")[0] == 0
    assert [one["kind"] for one in run_json("report")[1]["results"]] == ["Tokenizer", "Round trip"]


def test_folders_and_a_place_of_ones_own(cli, tokenizer):
    code, out, _ = cli("report", str(tokenizer), "--out", "mine/page.html")
    assert code == 0
    assert "1 result on one page" in out
    assert "wrote mine/page.html" in out
    assert Path("mine/page.html").is_file()


def test_a_folder_of_something_else_names_what_is_accepted(refused):
    Path("photos").mkdir()
    line = refused("report", "photos")
    assert "photos holds no result" in line
    assert "fastki sweep" in line
    assert not Path("fastki-out").exists()


def test_a_place_that_cannot_be_written_is_known_first(refused, tokenizer):
    Path("file").write_text("in the way")
    assert "choose another --out" in refused("report", str(tokenizer), "--out", "file/page.html")


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (
            ["roundtrip", "{tok}", "synthetic:droid?episodes=3", "--atol", "2"],
            "fastki roundtrip {tok} 'synthetic:droid?episodes=3' --atol 2",
        ),
        (["roundtrip", "--atol", "2", "{tok}", "--json"], "fastki roundtrip {tok} --atol 2 --json"),
    ],
)
def test_the_command_is_kept_as_it_was_given(cli, tokenizer, words, kept):
    import json

    assert cli(*(word.format(tok=tokenizer) for word in words))[0] == 0
    run = json.loads(Path("fastki-out/roundtrip/run.json").read_text())
    assert run["command"] == kept.format(tok=tokenizer)
    assert "numpy" in run["environment"]["libraries"]
