"""The errors that fastki raises: each message names the thing that is wrong and the mend.

The command line turns any :class:`FastkiError` into one line on standard error and exit code 2; a caller of
the library catches the child that it can do something about.
"""

from __future__ import annotations


class FastkiError(Exception):
    """Base of every error that a user's input or files can cause."""


class UsageError(FastkiError):
    """A parameter is out of its range, or two parameters contradict each other."""


class DataError(FastkiError):
    """A dataset is missing, damaged, or does not hold what was asked of it."""


class TokenizerError(FastkiError):
    """A tokenizer folder is missing or damaged, or an input cannot be tokenized."""


class DecodeError(TokenizerError):
    """A token stream is malformed and ``strict=True`` forbids repairing it."""


class CheckpointError(FastkiError):
    """A checkpoint is missing, damaged, or of another model or run than it is wanted for."""


class TrainingError(FastkiError):
    """Training can't go on: a loss or a gradient is not finite."""
