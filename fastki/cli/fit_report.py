"""What ``fastki fit`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastki.cli.options import OUT
from fastki.cli.terminal import Terminal

if TYPE_CHECKING:
    from fastki.data import DatasetInfo
    from fastki.data.mixture import Mixture
    from fastki.tokenizer import ActionTokenizer, FastTokenizer, Fitted, MixtureFit, RoundTrip


def dataset(terminal: Terminal, info: DatasetInfo, fitted: Fitted, out: Path) -> None:
    """The fit: the data, the precision, and what it costs and loses."""
    from fastki.report.payloads import fit_payload

    terminal.payload(fit_payload(fitted, str(out), info))
    _show(terminal, info, fitted)
    _end(terminal, out, fitted.tokenizer)


def mixture(terminal: Terminal, data: Mixture, fitted: MixtureFit, out: Path) -> None:
    """The fit on several datasets: the precision, and what it costs and loses in each."""
    from fastki.report.payloads import mixture_payload
    from fastki.report.tables import comparison, counted, key_values, members

    terminal.payload(mixture_payload(fitted, str(out), data.info))
    tokenizer = fitted.tokenizer
    chunk = f"{tokenizer.horizon} × {tokenizer.action_dim}"
    pairs = [
        ("data", f"{data.info.uri}: {counted(len(data.members), 'dataset')}, {data.info.num_frames:,} frames"),
        ("fitted on", f"{counted(fitted.fitted.chunks, 'chunk')} of {chunk}, each dataset normalised by its own"),
        *precision(tokenizer, clipped=False),
    ]
    terminal.show(key_values(pairs))
    for note in data.info.notes:
        terminal.note(f"note: {note}")
    for member in fitted.members:
        if member.drawn > len(member.sample.chunks):
            have, need = len(member.sample.chunks), member.drawn
            terminal.note(f"note: {member.name} has {have:,} chunks, {need:,} are its share: some count more than once")
    terminal.show("", members(fitted.members), "", comparison([("fitted, all together", fitted.fitted)]))
    _end(terminal, out, tokenizer)


def _end(terminal: Terminal, out: Path, tokenizer: FastTokenizer) -> None:
    terminal.files([out])
    bound = tokenizer.codec.atol
    words = [*([] if out == OUT / "tokenizer" else [str(out)]), *(["--atol", f"{bound:g}"] if bound else [])]
    terminal.next_command("fastki", "roundtrip", *words)


def precision(tokenizer: FastTokenizer, *, clipped: bool) -> list[tuple[str, str]]:
    """The lines that say how precise the tokenizer is, and what its vocabulary is made of."""
    from fastki.report.tables import number

    codec = tokenizer.codec
    value = "clipped value" if clipped else "value"
    chosen = f", which keep every {value} within {codec.atol:g} in the fewest tokens" if codec.atol else ""
    merges = tokenizer.vocab_size - codec.alphabet.size
    return [
        ("precision", f"{number(codec.bins)} bins{chosen}"),
        ("vocabulary", f"{tokenizer.vocab_size:,}: {codec.alphabet.size} base symbols and {merges:,} merges"),
    ]


def _show(terminal: Terminal, info: DatasetInfo, fitted: Fitted) -> None:
    from fastki.report.tables import comparison, counted, key_values

    tokenizer, sample = fitted.tokenizer, fitted.fit_sample
    normalizer = tokenizer.normalizer
    assert normalizer is not None
    rate = f", {info.fps:g} Hz" if info.fps else ""
    drawn = ""
    if len(sample.chunks) < sample.total_chunks:
        drawn = f", out of {sample.total_chunks:,} (--max-chunks)"
    pairs = [
        (
            "data",
            f"{info.uri} ({info.format}{rate}), {counted(info.num_episodes, 'episode')}, {info.num_frames:,} frames",
        ),
        (
            "fitted on",
            f"{counted(len(sample.chunks), 'chunk')} of {tokenizer.horizon} × {tokenizer.action_dim}"
            f"{drawn} from {counted(sample.episodes_used, 'episode')}; "
            f"{fitted.heldout_episodes} held out",
        ),
        *precision(tokenizer, clipped=normalizer.clip),
    ]
    terminal.show(key_values(pairs))
    for note in (*info.notes, *_remarks(info, fitted)):
        terminal.note(f"note: {note}")
    columns = [("held out", fitted.heldout)] if fitted.heldout else []
    terminal.show("", comparison([*columns, ("fitted", fitted.fitted)]))


def _remarks(info: DatasetInfo, fitted: Fitted) -> list[str]:
    from fastki.report.tables import counted

    tokenizer = fitted.tokenizer
    assert tokenizer.normalizer is not None
    remarks = []
    sample = fitted.fit_sample
    if sample.idle_chunks:
        share = sample.idle_chunks / (sample.idle_chunks + sample.total_chunks)
        dropped = counted(sample.idle_chunks, "chunk")
        remarks.append(f"--drop-idle left out {dropped} of the fitted episodes, {share:.1%}")
    short = sum(not sample.chunks.spec.count(int(length)) for length in info.lengths)
    if short:
        remarks.append(f"skipped {counted(short, 'episode')} shorter than the horizon {tokenizer.horizon}")
    if fitted.heldout is None:
        why = "every held-out episode is too short" if fitted.heldout_episodes else "no episode is held out"
        remarks.append(f"{why}, so these figures are of the fitted chunks themselves")
    still = [tokenizer.source.names[dim] for dim in tokenizer.normalizer.constant_dims] if tokenizer.source else []
    if still:
        remarks.append(f"never moving: {', '.join(still[:6])}{', …' if len(still) > 6 else ''}")
    if tokenizer.normalizer.clip:
        remarks += outside(tokenizer, fitted.fitted)
    return remarks


def outside(tokenizer: ActionTokenizer, result: RoundTrip) -> list[str]:
    """What becomes of the values outside [-1, 1], where the normaliser means to have them inside."""
    normalizer = tokenizer.normalizer
    if normalizer is None or normalizer.method not in ("quantile", "minmax") or not result.outside:
        return []
    effect = "clipping loses what lies beyond" if normalizer.clip else "they are kept: nothing is clipped"
    return [f"{result.outside:.2%} of the values lie outside [-1, 1] after normalising; {effect}"]
