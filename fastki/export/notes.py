"""What of a run the other system can't do, or has to be told: sentences for the export's README and the command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastki.export.lora import kept_by_openpi
from fastki.export.source import Source
from fastki.export.stats import is_native
from fastki.sequence.layout import DEFAULT, Layout, Segment, open_layout
from fastki.sequence.options import SKIP
from fastki.sequence.sizes import SIZES

if TYPE_CHECKING:
    from fastki.training.card import PolicyCard

_PI05 = SIZES["pi05"]


def openpi_notes(source: Source) -> tuple[str, ...]:
    """For openpi."""
    return (*_tokenizer(source, "openpi"), *_formula(source), *(() if source.card is None else _openpi(source.card)))


def lerobot_notes(source: Source) -> tuple[str, ...]:
    """For LeRobot."""
    return (*_tokenizer(source, "LeRobot"), *_lerobot(source))


def fits_pi05(card: PolicyCard) -> bool:
    """Whether the π0.5 of openpi and LeRobot, which is of one size, has a place for every weight and no others."""
    model = card.model
    same = (model.size.vision, model.size.backbone) == (_PI05.vision, _PI05.backbone)
    expert = model.kind == "pi0_fast" or model.size.expert == _PI05.expert
    return same and expert and model.vocab == _PI05.vocab and not model.state_token


def _openpi(card: PolicyCard) -> Iterator[str]:
    yield from _size(card, "openpi")
    yield from _acting(card, "openpi")
    if card.mode in ("ki", "joint"):
        yield (
            "openpi's published trainer has no FAST loss beside the flow and no knowledge insulation for "
            f"{card.model.kind}: it serves these weights as they are, and going on training there is --mode flow"
        )
    model, kept = card.model, kept_by_openpi(card.model)
    for name, lora, keep in zip(("backbone", "expert"), model.loras, kept, strict=False):
        if lora is not None:
            words = "kept: they are those of openpi's LoRA variant" if keep else "merged into the weights"
            yield f"the {name}'s low-rank additions (rank {lora.rank}, alpha {lora.alpha:g}) are {words}"


def _formula(source: Source) -> Iterator[str]:
    """Statistics that are not the data's own."""
    for found in source.normalizers.values():
        for key, one in found.items():
            if not is_native(one, by_std=source.by_std):
                theirs = "mean and standard deviation" if source.by_std else "quantiles"
                yield (
                    f"openpi normalises {key} by {theirs}, and this is by {one.method}: the statistics are such that "
                    "its formula gives the same"
                )


def _lerobot(source: Source) -> Iterator[str]:
    card = source.card
    methods = {one.method for found in source.normalizers.values() for one in found.values()}
    if methods - {"minmax"}:
        yield (
            "stats.json has no min and max where actions or state are not normalised by them: the normaliser keeps none"
        )
    if card is None:
        return
    yield from _size(card, "LeRobot")
    yield from _acting(card, "LeRobot")
    if card.model.kind != "pi05":
        yield f"the weights are of kind {card.model.kind}, not pi05: config.json and the processors are left out"
    elif not fits_pi05(card):
        yield "config.json and the processors are left out: LeRobot's pi05 can't be made in this size"
    if any(lora is not None for lora in card.model.loras):
        yield "low-rank additions are merged into the weights"
    if card.mode in ("ki", "joint"):
        yield "LeRobot's pi05 trains the flow alone: no FAST loss beside it and no knowledge insulation"


def _size(card: PolicyCard, system: str) -> Iterator[str]:
    model = card.model
    if fits_pi05(card):
        return
    if (model.size.vision, model.size.backbone, model.size.expert) != (_PI05.vision, _PI05.backbone, _PI05.expert):
        yield (
            f"{system} makes its models of SigLIP So400m/14, Gemma 2B and a 300M expert alone: a {model.size.name} "
            "model is written under the same names, and can be read, but not run there"
        )
    if model.vocab != _PI05.vocab:
        yield f"the table of text has {model.vocab:,} rows, and {system}'s PaliGemma {_PI05.vocab:,}"
    if model.state_token:
        yield f"the state goes in as one continuous token through state_token_proj, which {system} does not know"


def _acting(card: PolicyCard, system: str) -> Iterator[str]:
    """What makes a policy act otherwise there, weights or no."""
    if "paligemma" not in card.text.lower():
        yield f"it was trained on the text tokenizer {card.text}, and {system} gives the model PaliGemma's ids"
    if card.model.kind == "pi0":
        if _prompt(card.layout) != (Segment("images"), Segment("prompt"), Segment("actions", loss="flow")):
            yield f"its layout is {card.layout.name}, and {system} builds π0's: pictures, then the prompt alone"
    elif _prompt(card.layout) != _prompt(open_layout(DEFAULT)):
        yield f"its layout is {card.layout.name}, and {system} builds π0.5's: pictures, then the prompt with the state"
    if card.mode == "fast" and card.model.kind != "pi0_fast":
        yield f"it was trained with --mode fast: its action expert knows nothing, and {system} acts by that"
    if card.skip != SKIP and "fast" in card.layout.kinds:
        yield f"FAST's ids leave {card.skip} ids of the text alone, and {system} leaves {SKIP}"
    if not any(slot.camera is not None for slot in card.slots):
        yield f"it was trained without pictures, and {system} gives it three"


def _prompt(layout: Layout) -> tuple[object, ...]:
    return layout.for_flow().segments if "actions" in layout.kinds else layout.segments


def _tokenizer(source: Source, system: str) -> Iterator[str]:
    tokenizer = source.tokenizer
    if tokenizer is None:
        yield f"its tokenizer is the published {source.published}, which {system} loads by that name: it is not copied"
        return
    if tokenizer.codec.reference == "previous":
        yield f"its tokens are relative to the action before a chunk (--reference previous): {system} gives none"
    if tokenizer.normalizer is not None and tokenizer.normalizer.clip:
        yield f"normalised values were clipped to [-1, 1], which {system} does not do"
    spec = None if tokenizer.source is None else tokenizer.source.spec
    if spec is not None and spec.delta:
        dims = ", ".join(str(dim) for dim in spec.delta)
        yield f"dimensions {dims} are relative to the {spec.delta_from}: do the same to actions in {system}"
    if spec is not None and spec.dims is not None:
        dims = ", ".join(str(dim) for dim in spec.dims)
        yield f"it has dimensions {dims} of the data's alone: choose the same in {system}"
