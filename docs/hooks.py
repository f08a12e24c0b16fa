"""Pages of the site that are kept elsewhere: README, CONTRIBUTING and CHANGELOG, and the reference.

The reference is made from the schema at every build. Links that lead from those files into docs/
are made to lead to the pages; those that lead to other files of the project become their names.
"""

import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from asl_exp.config.reference import reference_page

PAGES: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
_ROOT: Final = Path(__file__).resolve().parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; MkDocs calls this."""
    for name, page in PAGES.items():
        text = (_ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_with_links(text)))
    files.append(File.generated(config, "reference.md", content=reference_page()))
    return files


def _with_links(text: str) -> str:
    return re.sub(r"(!?)\[([^]]*)\]\(([^)#:]+)(#[^)]*)?\)", _link, text)


def _link(found: re.Match[str]) -> str:
    image, words, target, anchor = found.groups(default="")
    page = PAGES.get(target, target.removeprefix("docs/") if target.startswith("docs/") else "")
    return f"{image}[{words}]({page}{anchor})" if page else words
