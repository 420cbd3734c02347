"""One page of several results: what it holds, and what it refuses."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium
from sweep_results import HOSTILE, grid_of, refused_row, result_of

from fastki.errors import DataError, FastkiError
from fastki.report.bundle import bundle, find_results
from fastki.report.sweep_files import sweep_payload, write_sweep
from fastki.study.grid import SweepOptions
from fastki.tokenizer import FitOptions, FitSettings

ROWS = [*grid_of((256, 1024), (20.0, 64.0)), refused_row(error=HOSTILE)]


def write_a_sweep(folder: Path, rows=ROWS, data: str = "some data") -> Path:
    result = result_of(rows, names=(HOSTILE, "b", "c"))
    write_sweep(sweep_payload(result, SweepOptions(), data, (HOSTILE,)), result, f"fastki sweep '{data}'", folder)
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A folder of a tokenizer, a round trip and two sweeps, made by the commands themselves where they are quick."""
    from fastki.cli.main import run

    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in (
            ["fit", "synthetic:droid?episodes=8", "--bins", "40", "--vocab", "256", "--out", "out/tok", "--quiet"],
            ["roundtrip", "out/tok", "--corrupt", "0.1", "--atol", "1", "--out", "out/trip", "--quiet"],
        ):
            with pytest.raises(SystemExit) as stop:
                run(words)
            assert not stop.value.code
    write_a_sweep(folder / "out" / "one", data=HOSTILE)
    write_a_sweep(folder / "out" / "two")
    return folder / "out"


def page_of(*folders: Path, scratch: Path) -> str:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return bundle(find_results(folders), scratch)


def test_a_folder_above_stands_for_the_results_in_it(results):
    found = find_results([results])
    assert [(one.folder.name, one.kind.made_by) for one in found] == [
        ("tok", "fastki fit"),
        ("trip", "fastki roundtrip"),
        ("one", "fastki sweep"),
        ("two", "fastki sweep"),
    ]
    assert find_results([results / "two", results / "tok", results / "two"]) == [found[3], found[0]]


def test_it_holds_figures_tables_commands_and_versions(results, tmp_path):
    text = page_of(results, scratch=tmp_path / "s")
    words = html.unescape(text)
    for said in (
        "fastki fit 'synthetic:droid?episodes=8' --vocab 256 --bins 40 --out out/tok",
        "fastki roundtrip out/tok --atol 1 --corrupt 0.1 --out out/trip",
        "fastki sweep 'some data'",
        "Passed: every value is within 1",
        "joint_1 velocity",
        "Longest tokens",
        "Damaged tokens",
        "vocabulary in use",
        "no row keeps every value",
    ):
        assert said in words, said
    assert text.count("<svg") == 2 * 5
    assert text.count("<img") == text.count("data:image/png;base64,") == 5
    assert words.count("libraries</dt><dd>numpy") == 4 + 1


def test_the_same_results_give_the_same_bytes_and_need_no_figures_of_before(results, tmp_path):
    copy = Path(shutil.copytree(results / "two", tmp_path / "two"))
    assert [path.name for path in copy.glob("*.png")] == []
    assert page_of(copy, scratch=tmp_path / "s") == page_of(copy, scratch=tmp_path / "t")


def test_one_result_gives_its_name_to_the_page(results, tmp_path):
    assert "<title>Tokenizer sweep: some data</title>" in page_of(results / "two", scratch=tmp_path / "s")


def test_the_worst_names_stay_text(results, tmp_path):
    text = page_of(results / "one", scratch=tmp_path / "s")
    assert text.count("<script") == text.count("</script") == 1
    assert "<img" not in text


def test_a_training_run_has_its_curves_its_configuration_and_its_command(trained_once, tmp_path):
    text = page_of(trained_once, scratch=tmp_path / "s")
    for words in ("How far it is", "Losses", "Gradient norms", "[network]", "Configuration"):
        assert words in text
    assert text.count("<svg") == 2
    assert "On held-out episodes" not in text


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_what_is_no_result_is_refused_and_said_what_would_be_one(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as error:
        find_results([tmp_path / name])
    for said in (
        name,
        "`fastki sweep` (sweep.json)",
        "`fastki roundtrip` (roundtrip.json)",
        "`fastki fit` (fastki.json)",
    ):
        assert said in str(error.value)


def edit(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def set_row(**fields):
    return lambda document: document["rows"][0].update(fields)


def set_detail(**fields):
    return lambda document: document["details"][0].update(fields)


SWEEP_DAMAGES = {
    "no rows": lambda document: document.update(rows=[]),
    "rows of another shape": lambda document: document.update(rows=[1]),
    "an unknown field": set_row(colour="red"),
    "a row without tokens": set_row(tokens_mean=None),
    "a row without a precision": set_row(bins=None, bound=None),
    "words for a number": set_row(rmse="low"),
    "no details": lambda document: document.update(details=[]),
    "a count below none": set_detail(token_lengths=[[5, -1]]),
    "an endless length": set_detail(token_lengths=[[10**30, 1]]),
    "a length without a count": set_detail(token_lengths=[[5]]),
    "half the dimensions": lambda document: document["details"][0]["per_dim"].pop(),
    "advice of a row that is not there": lambda document: document["recommendations"][0].update(row=99),
    "advice of a refused row": lambda document: document["recommendations"][0].update(row=len(ROWS) - 1),
    "a bound in words": lambda document: document.update(atol="small"),
    "no notes": lambda document: document.pop("notes"),
}


@pytest.mark.parametrize("damage", SWEEP_DAMAGES)
def test_a_damaged_sweep_is_one_line_with_the_mend(results, tmp_path, damage):
    copy = Path(shutil.copytree(results / "two", tmp_path / "two"))
    edit(copy / "sweep.json", SWEEP_DAMAGES[damage])
    with pytest.raises(DataError, match=r"sweep\.json can't be read .*: run `fastki sweep` again"):
        page_of(copy, scratch=tmp_path / "s")


@pytest.mark.parametrize("text", ["", "[]", '{"rows": NaN}', '{"rows": 1e999}', "{" * 100_000, '{"rows": '])
@pytest.mark.parametrize(("kind", "name"), [("two", "sweep.json"), ("trip", "roundtrip.json"), ("tok", "run.json")])
def test_a_file_that_is_no_result_is_said(results, tmp_path, kind, name, text):
    copy = Path(shutil.copytree(results / kind, tmp_path / kind))
    (copy / name).write_text(text)
    with pytest.raises(FastkiError, match=name):
        page_of(copy, scratch=tmp_path / "s")


def test_a_file_too_large_to_be_a_result_is_not_read(results, tmp_path, monkeypatch):
    monkeypatch.setattr("fastki.report.runs._LARGEST", 10)
    with pytest.raises(DataError, match=r"two/sweep\.json is larger"):
        page_of(results / "two", scratch=tmp_path / "s")


def test_a_round_trip_of_a_mixture_has_each_dataset_and_leaves_its_folder_for_none(results, tmp_path):
    copy = Path(shutil.copytree(results / "trip", tmp_path / "trip"))
    part = json.loads((copy / "roundtrip.json").read_text())
    mixture = {"tokenizer": "t", "passed": True, "max_abs_error": 0.1, "datasets": {"first": part, "second": part}}
    (copy / "roundtrip.json").write_text(json.dumps(mixture))
    (copy / "first").mkdir()
    (copy / "reconstruction.png").rename(copy / "first" / "reconstruction.png")
    text = page_of(copy, scratch=tmp_path / "s")
    assert "first: Errors by dimension" in text
    assert "second: Errors by dimension" in text
    assert text.count("<img") == 1
    (copy / "roundtrip.json").write_text(json.dumps({**mixture, "datasets": {"../trip": part}}))
    with pytest.raises(DataError, match="leads out"):
        page_of(copy, scratch=tmp_path / "s")


def test_what_only_calls_itself_a_picture_is_left_out(results, tmp_path):
    copy = Path(shutil.copytree(results / "trip", tmp_path / "trip"))
    for path in copy.glob("*.png"):
        path.write_text("<svg onload=alert(1)>")
    assert "<img" not in page_of(copy, scratch=tmp_path / "s")


def test_results_of_before_runs_were_recorded_are_read(results, tmp_path):
    for kind in ("tok", "trip"):
        copy = Path(shutil.copytree(results / kind, tmp_path / kind))
        (copy / "run.json").unlink()
        assert "not recorded" in page_of(copy, scratch=tmp_path / "s")
    copy = Path(shutil.copytree(results / "two", tmp_path / "two"))
    edit(copy / "sweep.json", lambda document: document.pop("environment"))
    assert "fastki sweep" in page_of(copy, scratch=tmp_path / "s")


def test_a_mixture_s_tokenizer_shows_each_dataset_s_statistics(tmp_path):
    from fastki.data.open import open_dataset
    from fastki.tokenizer import fit_on_mixture

    (tmp_path / "mix.toml").write_text(
        '[[dataset]]\ndata = "synthetic:droid?episodes=4"\nname = "one"\n'
        '[[dataset]]\ndata = "synthetic:droid?episodes=5"\nname = "two"\n'
    )
    mixed = fit_on_mixture(open_dataset(str(tmp_path / "mix.toml")), FitOptions(FitSettings(vocab_size=256, bins=20)))
    mixed.tokenizer.save(tmp_path / "tok")
    assert page_of(tmp_path / "tok", scratch=tmp_path / "s").count("How actions are normalised") == 2


def test_in_a_browser_it_opens_whole_with_no_id_twice(results, tmp_path):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    path = tmp_path / "report.html"
    path.write_text(page_of(results, scratch=tmp_path / "s"), encoding="utf-8")
    browser = Chromium(program, tmp_path / "profile")
    try:
        browser.open(path)
        ids = "[...document.querySelectorAll('[id]')].map((one) => one.id)"
        assert browser.js(f"(all => all.length - new Set(all).size)({ids})") == 0
        assert browser.js("document.querySelectorAll('figure svg').length") == 10
        assert browser.js("[...document.images].every((one) => one.naturalWidth > 300)")
        assert browser.js("document.documentElement.scrollWidth <= innerWidth")
        asked = [event["params"] for event in browser.events if event["method"] == "Network.requestWillBeSent"]
        urls = [one["request"]["url"] for one in asked]
        assert [url for url in urls if not url.startswith("data:")] == [path.as_uri()]
        assert [
            event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
        ] == []
    finally:
        browser.close()
