"""A model on a server is used from there: loaded by its run, and served to other programs."""

import base64
import io
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from PIL import Image
from processes import Forked, result_of, run_folders, served
from replicas import copies
from servers.mlflow_server import MlflowServer, free_port

from asl_exp.config.compose import compose_config
from asl_exp.data.dataset import load_letters
from asl_exp.model.recognizer import Recognizer

pytestmark = pytest.mark.heavy

LENGTH = ("schedule.transfer.epochs=2", "schedule.finetune.epochs=0", "data.external=[]")


def hand(tiny: tuple[str, ...]) -> bytes:
    """Return a test image as a PNG, at the size that the network sees."""
    config = compose_config(tiny)
    data = load_letters(config.data, image_size=32, interpolation="bilinear", seed=config.seed)
    encoded = io.BytesIO()
    Image.fromarray(data.splits["test"].gather([0])[0]).save(encoded, "PNG")  # type: ignore[arg-type]
    return encoded.getvalue()


def serve(model: str, address: str, folder: Path) -> AbstractContextManager[str]:
    """Run ``mlflow models serve`` as the README says; the value is where it listens."""
    here, port = Path(sys.executable).parent, free_port()
    return served(
        [here / "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local",
         "--port", str(port)],
        folder, port, "ping",
        MLFLOW_TRACKING_URI=address, PATH=f"{here}{os.pathsep}{os.environ['PATH']}",
    )  # fmt: skip


def require_refused(url: str, image: str, folder: Path) -> None:
    """Send what is no image, is too much, or names a file of the server's machine."""
    there = folder / "there.png"
    there.write_bytes(base64.b64decode(image))
    text, large = base64.b64encode(b"a text").decode(), base64.b64encode(bytes(21_000_000)).decode()
    for images, said in (
        ([image, text], "image 1: not an image that can be read"),
        (["no base64!"], "image 0: no base64 of an image file"),
        ([str(there)], "image 0: no base64 of an image file"),
        ([large], "image 0: larger than 20 MB"),
        ([image] * 257, "257 images in one request; at most 256 are taken"),
    ):
        asked = {"dataframe_records": [{"image": one} for one in images]}
        answer = httpx.post(f"{url}/invocations", json=asked, timeout=60)
        assert answer.status_code == 400, answer.text
        assert said in answer.text
    for malformed in ("{", '{"dataframe_records": [{"picture": ""}]}', '{"nothing": 1}'):
        kind = {"content-type": "application/json"}
        answer = httpx.post(f"{url}/invocations", content=malformed, headers=kind, timeout=60)
        assert answer.status_code == 400, answer.text
    assert httpx.get(f"{url}/ping", timeout=5).status_code == 200


@pytest.mark.parametrize(
    "kind", ["mlflow_3", pytest.param("mlflow_2_7", marks=pytest.mark.exhaustive)]
)
def test_a_model_is_served_from_its_run_on_a_server(
    kind: str, tiny: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: MlflowServer = request.getfixturevalue(kind)
    tracking = ("tracking=server", f"tracking.uri={server.url}")
    with Forked(tmp_path, *tiny, *LENGTH, *tracking) as command:
        assert command.wait() == 0, command.text()
    (folder,) = run_folders(tmp_path / "runs")
    (copy,) = copies(server.url, result_of(folder)["mlflow_run_id"])
    image = hand(tiny)
    recognizer = Recognizer.load(folder)
    expected = recognizer.recognize([recognizer.look(image)]).to_dict("records")[0]
    with serve(f"runs:/{copy.info.run_id}/model", server.url, tmp_path) as url:
        asked = {"dataframe_records": [{"image": base64.b64encode(image).decode()}]}
        answer = httpx.post(f"{url}/invocations", json=asked, timeout=60)
        require_refused(url, base64.b64encode(image).decode(), tmp_path)
    assert answer.status_code == 200, answer.text
    (given,) = answer.json()["predictions"]
    assert given["letter"] == expected["letter"]
    assert given["probability"] == pytest.approx(expected["probability"], abs=1e-6)
