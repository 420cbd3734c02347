"""The sweep benchmark runs and prints every cost; nothing here depends on a timing."""

from __future__ import annotations

from benchmarks.sweep import TARGET, main


def test_a_quick_run_prints_every_cost_and_its_verdict(capsys):
    code = main(["--quick", "--data", "synthetic:droid?episodes=6"])
    printed = capsys.readouterr().out
    for part in ("Machine: ", "tokenizers", "fits of their own", "rows", "command", "ratio"):
        assert part in printed
    worst = float(printed.split("cost at most ")[1].split("×")[0])
    assert code == int(worst > TARGET)
