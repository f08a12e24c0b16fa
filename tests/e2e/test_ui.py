"""MLflow's own UI in a real browser: what a researcher sees of runs, and of runs compared.

Screenshots lie in the test's temporary folder; what they show is asserted in words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from processes import Forked, chromium
from servers.mlflow_server import MlflowServer

from asl_exp.tracking.store import view_path

pytestmark = pytest.mark.heavy

SETTINGS = (
    "l2=1e-5 dropout=0.1 lr=1e-3",
    "l2=1e-4 dropout=0.3 lr=3e-3",
    "l2=1e-3 dropout=0.5 lr=1e-2",
)
KEYS = {"l2": "regularization.l2", "dropout": "regularization.dropout", "lr": "lr.transfer"}
LENGTH = ("schedule.transfer.epochs=3", "schedule.finetune.epochs=2")
TIMEOUT_MS = 60_000


@dataclass
class Ui:
    """A server with three runs, and a page of the browser."""

    server: MlflowServer
    client: MlflowClient
    experiment_id: str
    run_ids: list[str]
    page: Any
    shots: Path

    def open(self, path: str) -> None:
        self.page.goto(f"{self.server.url}/{path}")

    def see(self, text: str) -> None:
        self.page.get_by_text(text, exact=False).first.wait_for(timeout=TIMEOUT_MS)

    def shoot(self, name: str) -> None:
        self.page.wait_for_timeout(1500)  # charts move into place
        self.page.screenshot(path=self.shots / f"{name}.png")


@pytest.fixture(scope="module")
def runs(tiny: tuple[str, ...], browser: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three real runs."""
    folder = tmp_path_factory.mktemp("ui")
    for settings in SETTINGS:
        pairs = (part.split("=") for part in settings.split())
        values = [f"{KEYS[key]}={value}" for key, value in pairs]
        with Forked(folder, *tiny, *LENGTH, *values) as command:
            assert command.wait() == 0, command.text()
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright, program = chromium()
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[MlflowServer]:
    """The command that README names: ``mlflow ui`` on the store of the runs."""
    started = MlflowServer("3", runs / "server", store=runs / "runs" / "mlflow.db").start()
    yield started
    started.kill()


@pytest.fixture
def ui(runs: Path, browser: Any, server: MlflowServer, tmp_path: Path) -> Iterator[Ui]:
    client = MlflowClient(f"sqlite:///{runs / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("asl_exp").experiment_id
    found = client.search_runs([experiment], order_by=["attributes.start_time"])
    context = browser.new_context(viewport={"width": 1700, "height": 2200})
    context.set_default_timeout(TIMEOUT_MS)
    context.add_init_script(  # the assistant's panel would take a third of the page
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
    )
    run_ids = [run.info.run_id for run in found]
    yield Ui(server, client, experiment, run_ids, context.new_page(), tmp_path)
    context.close()


def test_the_experiment_opens_with_runs_and_a_link_to_their_scores(ui: Ui) -> None:
    ui.open(f"#/experiments/{ui.experiment_id}/runs")
    ui.see("asl_small_cnn synthetic l2=1e-05")
    ui.see("asl_small_cnn synthetic l2=0.001")
    ui.see("synthetic (")  # the datasets
    ui.shoot("experiment")
    with ui.page.context.expect_page() as opened:
        ui.page.get_by_text("Runs with their scores and settings").click()
    ui.page = opened.value
    for header in ("kept/val/accuracy", "test/accuracy", "backbone.name", "regularization.l2"):
        ui.page.locator(f'.ag-header-cell:has-text("{header}")').first.wait_for(state="attached")
    ui.shoot("runs")


def test_runs_are_compared_by_settings_scores_curves_and_pictures(ui: Ui) -> None:
    ui.open(view_path(ui.experiment_id, charts=True))
    ui.see("Settings against scores")
    for axis in (*KEYS.values(), "kept/val/accuracy"):
        ui.page.locator(f'svg text:has-text("{axis}")').first.wait_for(state="attached")
    ui.see("Learning curves")
    ui.see("val/accuracy vs phase")
    ui.see("confusion_matrix/test")
    pictures = ui.page.locator('img[src*="confusion_matrix~test"]')
    pictures.nth(2).wait_for()
    boxes = [pictures.nth(index).bounding_box() for index in range(3)]
    ui.shoot("charts")
    lefts, tops = ([box[side] for box in boxes] for side in "xy")
    assert min(b - a for a, b in pairwise(sorted(lefts))) > 100, "one below the other"
    assert max(tops) - min(tops) < 100, "not in one row"


def test_three_selected_runs_are_compared(ui: Ui) -> None:
    """The page behind the button Compare finds by itself what differs, and val/accuracy."""
    runs = "%22,%22".join(ui.run_ids)
    ui.open(f"#/compare-runs?runs=[%22{runs}%22]&experiments=[%22{ui.experiment_id}%22]")
    ui.see("Parallel Coordinates Plot")
    for axis in (*KEYS.values(), "val/accuracy"):
        ui.page.locator(f'svg text:has-text("{axis}")').first.wait_for(state="attached")
    ui.shoot("compared")


def test_a_run_has_a_description_with_its_confusion_matrix(ui: Ui) -> None:
    ui.open(f"#/experiments/{ui.experiment_id}/runs/{ui.run_ids[0]}")
    ui.see("Most confused, test")
    ui.page.get_by_text("Show more").first.click()
    image = ui.page.locator('img[src*="evaluation/test/confusion_matrix.png"]')
    image.wait_for()
    ui.page.wait_for_function("() => [...document.images].every(image => image.naturalWidth)")
    ui.see("python -m asl_exp")
    ui.shoot("run")


def test_children_are_folded_below_their_parent(ui: Ui) -> None:
    parent = ui.client.create_run(ui.experiment_id, run_name="a parent run")
    ui.client.set_terminated(parent.info.run_id)
    for run_id in ui.run_ids[:2]:
        ui.client.set_tag(run_id, "mlflow.parentRunId", parent.info.run_id)
    ui.open(view_path(ui.experiment_id))
    ui.see("a parent run")
    ui.see("asl_small_cnn synthetic l2=0.001")
    child = ui.page.get_by_text("asl_small_cnn synthetic l2=1e-05")
    assert child.count() == 0
    ui.page.locator('.ag-row:has-text("a parent run") button').first.click()
    child.first.wait_for()
    ui.shoot("unfolded")
