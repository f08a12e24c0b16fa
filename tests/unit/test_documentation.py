"""The pages in docs/ and beside it: links lead somewhere, keys are described, the site builds."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from asl_exp.config.keys import key_facts
from asl_exp.config.reference import reference_page
from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.config.study_schema import Objective, SweepConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def text_of(page: Path) -> str:
    """Return a page without its blocks of code, in which nothing is a link or a heading."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4}.*$|`[^`\n]*`", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return what headings are called in addresses, on GitHub as on the site."""
    headings = re.findall(r"^#+ (.+?) *$", page.read_text("utf-8"), re.MULTILINE)
    words = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", one) for one in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(text_of(page)):
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name}: nothing at {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: no {target}#{anchor}"


def test_the_links_of_these_pages_are_seen() -> None:
    found = [link for page in PAGES for link in LINK.findall(text_of(page))]
    assert len(found) >= 5


def keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield each key with its description."""
    for name, field in model.model_fields.items():
        told, inner = key_facts(name, model), field.annotation
        if told is not None:
            yield f"{prefix}{name}", told.about
        elif isinstance(inner, type):
            yield from keys(inner, f"{prefix}{name}.")


EVERY_KEY = [
    *((key, about) for key, about in keys(Config, "") if key != "schedule"),
    *keys(PhaseConfig, "schedule.<phase>."),
    *keys(SweepConfig, "sweep."),
    *keys(Objective, ""),
]


def test_every_key_says_what_it_is_for() -> None:
    assert len(EVERY_KEY) > 120
    assert [key for key, about in EVERY_KEY if not about] == []


def test_every_key_is_in_the_reference() -> None:
    page = reference_page()
    assert [key for key, _ in EVERY_KEY if page.count(f"| `{key}`") != 1] == []


@pytest.mark.heavy
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    built = {page.stem for page in tmp_path.glob("*.html")}
    assert built >= {"index", "reference", "contributing", "changes"}
    assert built >= {page.stem for page in ROOT.glob("docs/*.md")}
    fetched = [p.name for p in tmp_path.glob("*.html")
               if re.search(r'(?:src|<link[^>]*href)="https?:', p.read_text("utf-8"))]  # fmt: skip
    assert fetched == [], "pages that fetch something from elsewhere"


def told_texts() -> str:
    """Return all texts of the code, a line each; what is put into one is written as an ellipsis."""
    texts: list[str] = []
    for file in (ROOT / "asl_exp").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                texts.append("".join(map(str, parts)))
    return "\n".join(re.sub(r"…+", "…", text) for text in texts)


def test_every_message_that_is_explained_is_one() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    quoted, told = re.findall(r"^- `(.+?)`:", page, re.MULTILINE), told_texts()
    assert len(quoted) > 40
    assert len(quoted) == page.count("\n- ")
    assert [message for message in quoted if message not in told] == []
