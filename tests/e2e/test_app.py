"""The app in a real browser: a signer before the camera spells a word, and the app types it."""

import io
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image
from processes import chromium, served
from servers.mlflow_server import free_port

from asl_exp.config.compose import compose_config
from asl_exp.data.renderer import Shot, draw, shots
from asl_exp.model.recognizer import Recognizer
from asl_exp.training.run import run_experiment

pytestmark = pytest.mark.heavy

SIGNS = ("C", "A", "L", "del", "B", "space")
TYPED = "CAB "
CLASSES = ("A", "B", "C", "L", "del", "nothing", "space")
TRAINED = (
    "experiment=demo", f"data.classes=[{','.join(CLASSES)}]", "backbone.name=asl_small_cnn",
    "backbone.pretrained=false", "head=flatten", "head.hidden=[]",
    "regularization.label_smoothing=0", "lr.finetune=3e-3",
    "schedule.finetune.norm_statistics=trained",
    "augmentation.zoom=0.05", "augmentation.shift=0.05", "data.batch_size=32",
    "trainer.channels_last=false",
    "data.synthetic.signers=30", "data.synthetic.images_per_letter=3",
    "data.synthetic.external_signers=2", "schedule.transfer.epochs=0",
    "schedule.finetune.epochs=12", "tracking=off",
)  # fmt: skip
SIDE, FPS, SIGN_S, PAUSE_S = 240, 8, 2.5, 1.0
TIMEOUT_MS = 60_000


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of seven signs, read from pixels alone."""
    folder = tmp_path_factory.mktemp("app")
    cache = f"data.cache_dir={tmp_path_factory.mktemp('cache')}"
    run_experiment(compose_config([*TRAINED, cache, f"runs_dir={folder}"]), folder / "run")
    return folder


@pytest.fixture(scope="module")
def signed(runs_dir: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Pictures of every sign by one signer of whom the model reads all: the app is what is tried.

    The signer is one that the model was trained on, in other pictures.
    """
    recognizer = Recognizer.load(runs_dir / "run")
    there = shots(CLASSES, 30, 4, external=False, seed=0)
    signers = dict.fromkeys(shot.group for shot in there)
    for signer in signers:
        of_signer = [shot for shot in there if shot.group == signer]
        read = {sign: _read(recognizer, sign, of_signer) for sign in (*SIGNS, "nothing")}
        if all(picture is not None for picture in read.values()):
            return read  # type: ignore[return-value]
    raise AssertionError("the model reads all signs of no signer")


def _read(recognizer: Recognizer, sign: str, there: Sequence[Shot]) -> np.ndarray[Any, Any] | None:
    for shot in reversed(there):
        if shot.letter == sign:
            picture = draw(shot, SIDE)
            row = recognizer.recognize([recognizer.look(png(picture))]).iloc[0]
            if row["letter"] == sign and row["probability"] > 0.9:
                return picture
    return None


def png(picture: np.ndarray[Any, Any]) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG")
    return encoded.getvalue()


def write_video(file: BinaryIO, pictures: Sequence[tuple[np.ndarray[Any, Any], float]]) -> None:
    """Write pictures and seconds of each as YUV4MPEG2, which Chromium shows as a camera."""
    file.write(f"YUV4MPEG2 W{SIDE} H{SIDE} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
    for picture, seconds in pictures:
        y, cb, cr = Image.fromarray(picture).convert("YCbCr").split()
        half = [one.resize((SIDE // 2, SIDE // 2)).tobytes() for one in (cb, cr)]
        file.write((b"FRAME\n" + y.tobytes() + b"".join(half)) * round(seconds * FPS))


@pytest.fixture(scope="module")
def video(
    signed: dict[str, np.ndarray[Any, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("video") / "word.y4m"
    nothing = (signed["nothing"], PAUSE_S)
    shown = [pair for sign in SIGNS for pair in ((signed[sign], SIGN_S), nothing)]
    with path.open("wb") as file:
        write_video(file, [(signed["nothing"], 2.0), *shown, (signed["nothing"], 60.0)])
    return path


@pytest.fixture(scope="module")
def address(runs_dir: Path) -> Iterator[str]:
    """Where ``python -m asl_exp.app`` listens."""
    port = free_port()
    command = [sys.executable, "-m", "asl_exp.app", "--headless", "--port", str(port)]
    with served(
        [*command, "--runs-dir", str(runs_dir)], runs_dir, port, "_stcore/health"
    ) as address:
        yield address


@pytest.fixture(scope="module")
def browse(video: Path) -> Iterator[Any]:
    """Open a page with the signer before the camera, or without a camera."""
    playwright, program = chromium()
    signer = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
              f"--use-file-for-fake-video-capture={video}"]  # fmt: skip
    with playwright.sync_playwright() as started:
        opened = []

        def open_page(url: str, *, camera: bool = True, width: int = 1200) -> Any:
            browser = started.chromium.launch(
                executable_path=program, args=["--no-sandbox", *(signer if camera else [])]
            )
            opened.append(browser)
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(url)
            page.get_by_text("Letters of ASL").first.wait_for()
            return page

        yield open_page
        for browser in opened:
            browser.close()


def turn_to(page: Any, name: str) -> None:
    page.get_by_text(name, exact=True).first.click()


def shoot(page: Any, path: Path) -> None:
    """Keep a screenshot, and see that nothing hangs over the page's side."""
    page.wait_for_timeout(700)
    page.screenshot(path=path, full_page=True)
    over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert over <= 0, f"{over} pixels wider than the screen"


def test_the_camera_types_the_word_that_is_signed(
    address: str, browse: Any, tmp_path: Path
) -> None:
    page = browse(address, width=390)
    turn_to(page, "Spell")
    camera = page.frame_locator('iframe[title*="asl_exp_camera"]')
    camera.locator("#letter").wait_for()
    text, seen = "", []
    deadline = time.monotonic() + 60
    while not text.startswith(TYPED) and time.monotonic() < deadline:
        now = camera.locator("#text").text_content()
        if now != text:
            text = now
            seen.append(text)
        page.wait_for_timeout(50)
    shoot(page, tmp_path / "spelled.png")
    assert text == TYPED, seen
    assert "CAL" in seen, "a wrong letter was typed, and taken away by its sign"
    camera.get_by_text("Delete").click()
    camera.locator("#text").filter(has_text=re.compile("^CAB$")).wait_for()
    camera.get_by_text("Start over").click()
    camera.locator("#text").filter(has_text=re.compile("^$")).wait_for()


def test_without_a_camera_it_says_so(address: str, browse: Any, tmp_path: Path) -> None:
    page = browse(address, camera=False, width=390)
    turn_to(page, "Spell")
    camera = page.frame_locator('iframe[title*="asl_exp_camera"]')
    camera.get_by_text("There is no camera on this device").wait_for()
    shoot(page, tmp_path / "no_camera.png")


def test_an_uploaded_picture_is_read_and_what_is_none_is_refused(
    address: str, browse: Any, signed: dict[str, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    page = browse(address)
    upload = page.locator('input[type="file"]')
    upload.set_input_files(
        {"name": "hand.png", "mimeType": "image/png", "buffer": png(signed["A"])}
    )
    page.locator(".asl-letter", has_text="A").wait_for()
    page.get_by_text("Grad-CAM: red is").wait_for()
    shoot(page, tmp_path / "read.png")
    page.set_viewport_size({"width": 390, "height": 900})
    shoot(page, tmp_path / "read_narrow.png")
    upload.set_input_files({"name": "no.jpg", "mimeType": "image/jpeg", "buffer": b"hello"})
    page.get_by_text("not an image that can be read").wait_for()
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(21 * 2**20)}
    upload.set_input_files(large)
    page.get_by_text("20").and_(page.get_by_text("MB")).first.wait_for()


def test_a_click_into_the_matrix_shows_its_pictures(
    address: str, browse: Any, tmp_path: Path
) -> None:
    page = browse(address)
    turn_to(page, "Confusions")
    cell = page.locator('path[aria-label*="answer: L; true letter: L;"]')
    cell.wait_for()
    shoot(page, tmp_path / "matrix.png")
    page.set_viewport_size({"width": 390, "height": 900})
    cell.click(force=True)  # its number lies over it
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-testid=stSelectbox] input')]"
        ".some(one => one.value.startsWith('L, rightly'))"
    )
    page.locator('[data-testid="stImage"] img').first.wait_for()
    shoot(page, tmp_path / "matrix_narrow.png")
