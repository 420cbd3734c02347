"""Action tokenizers: FAST over integers, published FAST folders, and how to measure them."""

from fastki.tokenizer.base import ActionTokenizer, Decoded
from fastki.tokenizer.codec import Codec
from fastki.tokenizer.corruption import CorruptionRow, corruption_study
from fastki.tokenizer.fast import FastTokenizer
from fastki.tokenizer.fit import FitSettings
from fastki.tokenizer.grammar import TokenGrammar
from fastki.tokenizer.members import MemberFit, MixtureFit, fit_on_mixture
from fastki.tokenizer.pipeline import FitOptions, Fitted, fit_on_dataset
from fastki.tokenizer.published import PublishedFast
from fastki.tokenizer.replay import (
    Measured,
    Part,
    RoundTripOptions,
    corruption_on_dataset,
    open_source,
    parts_of,
    roundtrip_on_dataset,
)
from fastki.tokenizer.roundtrip import RoundTrip, roundtrip
from fastki.tokenizer.store import load_tokenizer, save_tokenizer

__all__ = [
    "ActionTokenizer",
    "Codec",
    "CorruptionRow",
    "Decoded",
    "FastTokenizer",
    "FitOptions",
    "FitSettings",
    "Fitted",
    "Measured",
    "MemberFit",
    "MixtureFit",
    "Part",
    "PublishedFast",
    "RoundTrip",
    "RoundTripOptions",
    "TokenGrammar",
    "corruption_on_dataset",
    "corruption_study",
    "fit_on_dataset",
    "fit_on_mixture",
    "load_tokenizer",
    "open_source",
    "parts_of",
    "roundtrip",
    "roundtrip_on_dataset",
    "save_tokenizer",
]
