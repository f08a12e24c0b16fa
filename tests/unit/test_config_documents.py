"""HTML pages and tables: one style, everything inside, nothing of a name is markup."""

import re

from asl_exp.config.documents import html_document, html_image, html_table, markdown_table


def test_a_page_needs_nothing_but_itself() -> None:
    page = html_document("a < b", "<p>body</p>" + html_image(b"png", alt="x'y"), script="let a;")
    assert page.count("<h1>a &lt; b</h1>") == 1
    assert "<script>let a;</script>" in page
    assert not re.findall(r"(?:src|href)='(?!data:)", page)


def test_cells_are_text_and_intervals_stand_below() -> None:
    table = html_table(["name", "score"], [["<b>", "0.81 [0.75, 0.86]"], ["runs [old]", 3]])
    assert "<td>&lt;b&gt;</td><td>0.81<small>[0.75, 0.86]</small></td>" in table
    assert "<td>runs [old]</td><td>3</td>" in table


def test_a_table_in_markdown_keeps_its_columns() -> None:
    table = markdown_table(["run", "score"], [["a|b\nc", 0.5]])
    assert table.splitlines() == ["| run | score |", "| --- | ---: |", "| a\\|b c | 0.5 |"]
