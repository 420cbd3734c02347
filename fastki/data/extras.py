"""Libraries that only some formats need: imported where used, with a clear word where one is absent."""

from __future__ import annotations

import importlib
from typing import Any

from fastki.errors import DataError


def need(module: str, *, extra: str, what: str, doing: str = "reading") -> Any:
    """The module ``module``, which reading ``what`` (or ``doing`` else with it) needs and the extra ``extra`` installs.

    Raises:
        DataError: it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise DataError(f"{doing} {what} needs {library}: `pip install 'fastki[{extra}]'`") from error
