"""Pages that need nothing else: their parts, and that nothing in them is taken for markup."""

from __future__ import annotations

import html.parser
import re

import pytest
from sweep_results import HOSTILE

from fastki.report.html import (
    Cell,
    Column,
    Command,
    Facts,
    Picture,
    Row,
    Section,
    Table,
    Words,
    environment,
    escape,
    inline_svg,
    page,
)

TABLE = Table(
    HOSTILE,
    (Column("#"), Column("name", HOSTILE, words=True), Column("size"), Column("more")),
    (
        Row((Cell("0", 0), Cell(HOSTILE)), reason=HOSTILE),
        Row((Cell("1", 1), Cell("b"), Cell("1,000", 1000), Cell("")), best=True),
        Row((Cell("2", 2), Cell("a10"), Cell("20", 20), Cell("x"))),
    ),
)
VOID = {"meta", "link", "img", "br", "path", "use"}


class Outline(html.parser.HTMLParser):
    """Tags, attributes and text as a parser sees them; fails where an element is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open[-1:] != ["style"] else ""


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture
def picture(tmp_path) -> Picture:
    from matplotlib.figure import Figure

    from fastki.report.figures import save

    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([1, 2], [1, 3], label="a < b & c")
    axes.bar([1], [1], hatch="//")
    axes.legend()
    svg, png = (save(figure, tmp_path / f"drawn{suffix}") for suffix in (".svg", ".png"))
    return Picture(HOSTILE, HOSTILE, svg, png)


def every_part(picture: Picture) -> str:
    parts = (
        Words((HOSTILE,)),
        Words((HOSTILE, "two"), listed=True),
        Facts(((HOSTILE, HOSTILE),)),
        Command(HOSTILE),
        TABLE,
        picture,
        environment(),
    )
    return page(HOSTILE, [Section(HOSTILE, parts[:5]), Section("Figures", parts[5:])])


def test_a_page_is_whole_and_hostile_text_stays_text(picture):
    text = every_part(picture)
    assert text.encode().decode() == text  # No lone surrogate.
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)
    seen = outline(text)
    tags = [tag for tag, _ in seen.tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert seen.text.count("</script><img src=x onerror=\"document.title='owned'\"> & 'x' \u2028 $") == 13
    assert tags.count("svg") == 1


def test_nothing_is_loaded_from_anywhere(picture):
    text = every_part(picture)
    assert "//" not in re.sub(r"</?[a-z]|//\s", "", text).replace(HOSTILE, "")
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    policy = next(tag for tag in outline(text).tags if tag[1].get("http-equiv"))[1]["content"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy


def test_the_same_parts_give_the_same_bytes():
    section = Section("x", (TABLE, environment()))
    assert page("t", [section]) == page("t", [section])
    assert not re.search(r"\b20\d\d-\d\d", page("t", [section]))


def test_a_table_sorts_by_numbers_and_keeps_refused_rows_at_the_end():
    seen = outline(page("t", [Section("x", (TABLE,))]))
    heads = [attributes for tag, attributes in seen.tags if tag == "th" and attributes["scope"] == "col"]
    assert [head.get("aria-sort") for head in heads] == ["ascending", None, None, None]
    assert [tag for tag, _ in seen.tags].count("button") == 4
    rows = [attributes for tag, attributes in seen.tags if tag == "tr"][1:]
    assert rows == [{"class": "best"}, {}, {"class": "off", "data-last": None}]
    cells = [attributes for tag, attributes in seen.tags if tag == "td"]
    assert [cell.get("data-value") for cell in cells] == [None, "1000", None, None, "20", None, None, None]
    assert [("data-missing" in cell) for cell in cells] == [False, False, True, *[False] * 5]
    assert cells[-1] == {"colspan": "2"}


def test_a_figure_becomes_an_element_of_the_page(picture):
    svg = inline_svg(picture.svg.read_bytes(), prefix="p-", label='a "figure"')
    seen = outline(svg)
    names = [tag for tag, _ in seen.tags]
    assert names[0] == "svg"
    assert (seen.tags[0][1]["role"], seen.tags[0][1]["aria-label"]) == ("img", 'a "figure"')
    assert not {"style", "metadata", "script"} & set(names)
    assert "xmlns" not in svg
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert all(name.startswith("p-") for name in ids)
    values = [value or "" for _, attributes in seen.tags for name, value in attributes.items() if name != "d"]
    asked = {name for value in values for name in re.findall(r"#(p-[\w-]+)", value)}
    assert asked
    assert asked <= set(ids)
    assert "url(#p-h" in svg  # The hatch.
    assert "#1f77b4" in svg  # A colour is no reference.


def test_a_very_large_figure_goes_in_as_png(picture, monkeypatch):
    monkeypatch.setattr("fastki.report.html.LARGEST_SVG", 1000)
    seen = outline(page("t", [Section("x", (picture,))]))
    (image,) = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,iVBOR")
    assert image["alt"].startswith("</script><img src=x")


def test_what_a_page_can_not_hold_is_replaced():
    assert escape("a\x00\x1b\ud800\ufffeb\tc\n<&\"'>") == "a\ufffd\ufffd\ufffd\ufffdb\tc\n&lt;&amp;&quot;&#x27;&gt;"
