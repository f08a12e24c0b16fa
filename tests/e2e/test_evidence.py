"""A kept run looked at from all sides: its report in a browser, disturbed, and taught anew.

Screenshots lie in the test's temporary folder; what they show is asserted in words.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from asl_exp.config.compose import compose_config
from asl_exp.config.documents import html_document, html_table
from asl_exp.evaluate import main as evaluate
from asl_exp.report import main as report
from asl_exp.training.run import run_experiment

pytestmark = pytest.mark.heavy

WORDS = (
    "data.synthetic.signers=10", "schedule.transfer.epochs=3", "schedule.finetune.epochs=2",
    "lr.transfer=3e-3",
)  # fmt: skip
DIFFERENT = {"one": ("seed=1",), "two": ("seed=2",), "other": ("head.hidden=[64]",)}


@pytest.fixture(scope="module")
def runs(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two seeds of one configuration and another one, of 10 signers."""
    folder = tmp_path_factory.mktemp("runs")
    for name, words in DIFFERENT.items():
        run_experiment(compose_config([*tiny, *WORDS, *words, f"runs_dir={folder}"]), folder / name)
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """Return a page of a headless browser that fails on any request."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1300, "height": 1000})
        opened.on("pageerror", lambda error: pytest.fail(f"the page raised {error}"))
        yield opened
        browser.close()


def test_the_report_of_an_experiment_opens_in_a_browser(
    runs: Path, page: Any, tmp_path: Path
) -> None:
    words = ["--experiment", "asl_exp", "--runs-dir", str(runs), "--out", str(tmp_path)]
    assert report(words) == 0
    page.goto((tmp_path / "report.html").as_uri())
    shown = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(shown) == 4  # curves, recall on both sets, cost
    assert min(shown) > 400
    assert page.evaluate("document.documentElement.scrollWidth") <= 1300, "wider than the window"
    text = page.inner_text("body")
    for told in (
        "one and 1 more (repeated)",
        "Tested on the same images",
        "GFLOPs an image",
        "head.hidden",
    ):
        assert told in text, told
    page.screenshot(path=tmp_path / "report.png", full_page=True)
    content = json.loads((tmp_path / "report.json").read_text())
    assert sorted(content["runs"]) == sorted(DIFFERENT)
    assert content["runs"]["other"]["cost"]["parameters"] > 1000
    assert report(["--experiment", "asl_ex", "--runs-dir", str(runs)]) == 2


def test_a_value_is_seen_beside_a_long_name_on_a_phone(page: Any) -> None:
    name = "2026-11-27_08-36-58_067326_mobilenetv2_100"
    page.set_viewport_size({"width": 390, "height": 800})
    page.set_content(html_document("Runs", html_table(["setting", name], [["seed", "7"]])))
    fits = page.evaluate(
        "[...document.querySelectorAll('td')].map(c => c.scrollWidth <= c.clientWidth)"
    )
    assert fits == [True, True]


def test_disturbed_pictures_are_told_in_a_table_and_a_curve(runs: Path) -> None:
    assert evaluate([str(runs / "one"), "--robustness"]) == 0
    folder = runs / "one" / "evaluation" / "robustness" / "test"
    table = pd.read_csv(folder / "robustness.csv")
    assert len(table) == 1 + 9 * 3
    assert table["flips"][0] == 0
    assert {"flips/A", "flips/B", "flips/C"} < set(table.columns)
    assert table["accuracy"].between(0, 1).all()
    predictions = pd.read_parquet(runs / "one/evaluation/test/predictions.parquet")
    assert table["accuracy"][0] == pytest.approx(predictions["correct"].mean(), abs=1e-9)
    assert table["flips"].max() > 0.1
    assert (folder / "robustness.png").stat().st_size > 20_000
    assert (folder / "flips.png").stat().st_size > 10_000
    assert (folder / "examples.png").stat().st_size > 20_000


def test_heads_trained_anew_price_the_leak_and_more_people(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(["--leak", str(runs / "one"), "--people", str(runs / "one")]) == 0
    said = capsys.readouterr().out
    assert "test images has a near-duplicate among" in said
    assert "8 more signers are worth" in said
    leak = json.loads((runs / "one/evaluation/certificate.json").read_text())["leak"]
    assert leak["sentence"] in said
    curves = json.loads((runs / "one/evaluation/more_people.json").read_text())
    assert set(curves) == {"test", "external/synthetic_external"}
    assert (runs / "one/evaluation/more_people.png").stat().st_size > 10_000


def test_all_images_lie_on_an_interactive_page(runs: Path, page: Any, tmp_path: Path) -> None:
    assert report(["--embedding", str(runs / "one")]) == 0
    page.goto((runs / "one/evaluation/embedding.html").as_uri())
    page.get_by_text("by source").first.wait_for()
    before = page.locator(".legendtext").all_text_contents()
    page.get_by_text("by split").first.click()
    page.wait_for_timeout(500)
    after = page.locator(".legendtext").all_text_contents()
    assert before == ["A", "B", "C"]
    assert after == ["external/synthetic_external", "test", "train", "val"]
    page.screenshot(path=tmp_path / "embedding.png")
