"""HTML pages and tables: one style, everything inside, nothing of a name is markup."""

import re

import pytest

from asl_exp.config.documents import (
    html_document,
    html_image,
    html_table,
    markdown_table,
    markdown_text,
)


def test_a_page_needs_nothing_but_itself() -> None:
    page = html_document("a < b", "<p>body</p>" + html_image(b"png", alt="x'y"), script="let a;")
    assert page.count("<h1>a &lt; b</h1>") == 1
    assert "<script>let a;</script>" in page
    assert not re.findall(r"(?:src|href)='(?!data:)", page)


def test_cells_are_text_and_intervals_stand_below() -> None:
    table = html_table(["name", "score"], [["<b>", "0.81 [0.75, 0.86]"], ["runs [old]", 3]])
    assert "<td data-name='name'>&lt;b&gt;</td>" in table
    assert "<td data-name='score' class='number'>0.81<small>[0.75, 0.86]</small></td>" in table
    assert (
        "<td data-name='name'>runs [old]</td><td data-name='score' class='number'>3</td>" in table
    )
    both = html_table(["test"], [["0.96 ± 0.01 / 0.95"]])
    assert "class='number'>0.96<small>± 0.01 / 0.95</small></td>" in both
    assert "class='scroll'" in table
    assert "class='scroll long'" in html_table(["n"], [[n] for n in range(31)])


def test_a_table_in_markdown_keeps_its_columns() -> None:
    table = markdown_table(["run", "score"], [["a|b\nc", 0.5]])
    assert table.splitlines() == ["| run | score |", "| --- | ---: |", "| a\\|b c | 0.5 |"]


@pytest.mark.parametrize(
    "name",
    ["\x1b[31mC", "a\x07b", "\u202eD", "\u2066s", "x\x9by", "<script>alert(1)</script>", "</p>",
     "<!--", "a\r\nb", "z\u200by"],
)  # fmt: skip
def test_a_name_is_neither_markup_nor_control(name: str) -> None:
    texts = [
        html_document(name, html_table([name], [[name]])),
        markdown_table([name, "n"], [[name, 1]]),
        markdown_text(name),
    ]
    for text in texts:
        assert all(one.isprintable() or one == "\n" for one in text)
        assert name not in text
