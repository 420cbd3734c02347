"""A browser that tests of pages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Chromium, find_chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Chromium]:
    """A headless Chromium, where there is one."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on the path: apt-get install chromium")
    browser = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
