"""``import asl_exp`` is light, and its functions raise what the commands say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import asl_exp
from asl_exp.config.errors import ConfigError, UserError
from asl_exp.data.decode import Geometry, read_image
from asl_exp.notebook import Model, _pictures

ROOT = Path(__file__).resolve().parents[2]


def test_the_package_stays_light() -> None:
    script = (
        "import sys, asl_exp; print(*{'torch', 'hydra', 'pandas', 'mlflow'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == ""


def test_what_commands_refuse_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"did you mean 'backbone\.name'"):
        asl_exp.train("backbone.nam=resnet50")
    with pytest.raises(ConfigError, match="belong to the command line"):
        asl_exp.train("--cfg", "job")
    with pytest.raises(UserError, match="there is no folder 'nowhere'"):
        asl_exp.train("data=folder", "data.root=nowhere")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        asl_exp.load("nowhere")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        asl_exp.evaluate("nowhere")
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        asl_exp.trian  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_pixels_are_images_as_files_are() -> None:
    pixels = np.zeros((2, 8, 9, 3), np.uint8)
    assert [shown.name for shown in _pictures(pixels)] == ["pixels 0", "pixels 1"]
    assert len(list(_pictures([pixels[0], b"bytes"]))) == 2
    with pytest.raises(UserError, match=r"pixels of shape \(8, 9\)"):
        list(_pictures(np.zeros((8, 9), np.uint8)))


PILLOWS = {
    "turned.jpg": ("RGB", {"exif": {274: 6}}),
    "clear.png": ("RGBA", {}),
    "deep.png": ("I;16", {}),
    "print.jpg": ("CMYK", {}),
    "few.gif": ("P", {"transparency": 3}),
    "grey.webp": ("L", {}),
}


@pytest.mark.parametrize("name", PILLOWS)
def test_pictures_of_pillow_are_read_as_their_files_are(name: str, tmp_path: Path) -> None:
    mode, options = PILLOWS[name]
    values = np.random.default_rng(0).integers(0, 256, (40, 30, len(mode.partition(";")[0])))
    drawn = (
        Image.fromarray(values[..., 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(values.astype(np.uint8).squeeze(), mode=mode)
    )
    if "exif" in options:
        orientation = Image.Exif()
        orientation.update(options["exif"])
        options = {"exif": orientation}
    drawn.save(tmp_path / name, **options)
    how = Geometry(24, "pad", "bilinear"), 1.0
    of_file = read_image(tmp_path / name, *how)
    with Image.open(tmp_path / name) as picture:
        (shown,) = _pictures(picture)
        assert shown.name == str(tmp_path / name)
        np.testing.assert_array_equal(read_image(shown.image, *how), of_file)
        assert [one.name for one in _pictures([picture.convert("RGB")])] == ["picture"]


def test_a_notebook_completes_what_there_is() -> None:
    assert {"train", "load", "evaluate", "compare"} <= set(dir(asl_exp))
    assert all(hasattr(asl_exp, name) for name in dir(asl_exp))
    assert not {"os", "sys", "signal", "Any"} & set(dir(asl_exp))


@pytest.mark.heavy
def test_the_notebook_runs(tmp_path: Path) -> None:
    client = pytest.importorskip("nbclient", reason="nbclient is not installed")
    import nbformat

    file = ROOT / "docs" / "notebook.ipynb"
    notebook = nbformat.read(file, as_version=4)
    kernel = {"metadata": {"path": str(tmp_path)}}
    client.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=kernel).execute()
    shown = [
        output["data"]["text/html"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert len(shown) == 5
    assert "debug run" in shown[0]
    assert "probability/A" in shown[2]
    assert "difference" in shown[4]


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("runs", [[], (), 5, None, {}, [5], [None], 1.5, iter(())])
def test_what_is_no_run_is_said(runs: Any) -> None:
    for door in (asl_exp.evaluate, asl_exp.compare):
        with pytest.raises(UserError, match="give a run, or a list of runs"):
            door(runs)


@pytest.mark.parametrize("override", [5, None, {"seed": 1}, ["seed=1"], b"seed=1", Path("a")])
def test_what_is_no_override_is_said(override: Any) -> None:
    with pytest.raises(ConfigError, match="give overrides as text"):
        asl_exp.train("seed=1", override)
    with pytest.raises(ConfigError, match="give overrides as text"):
        asl_exp.evaluate("runs/x", "seed=1", override)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (5, "give files, folders, patterns, bytes or pixels"),
        (None, "give files, folders"),
        (1.5, "give files, folders"),
        (True, "give files, folders"),
        (object(), "give files, folders"),
        ([5], "give files, folders"),
        ([[None]], "give files, folders"),
        ([], "give images to predict"),
        ({}, "give images to predict"),
        (iter(()), "give images to predict"),
        ("nowhere.jpg", "nowhere.jpg"),
        (Path("no") / "where", "no/where"),
        (["nowhere.jpg", "nor.here"], "nowhere.jpg"),
        (np.zeros((4, 4)), r"pixels of shape \(4, 4\) and type float64"),
        (np.zeros((4, 4, 4), np.uint8), r"pixels of shape \(4, 4, 4\)"),
        (np.zeros((1, 3, 4, 4), np.uint8), r"pixels of shape \(1, 3, 4, 4\)"),
        (np.float32(1), r"pixels of shape \(\)"),
        (np.zeros((0, 4, 4, 3), np.uint8), "give images to predict"),
    ],
)
def test_what_is_no_image_is_said(images: Any, told: str) -> None:
    model = Model(recognizer=None, where="x")  # type: ignore[arg-type]  # which is never asked
    with pytest.raises(UserError, match=told):
        model.predict(images)


@pytest.mark.parametrize("run", [5, None, 1.5, b"runs/x", ["runs/x"], {}, object(), ()])
def test_what_is_no_model_is_said(run: Any) -> None:
    with pytest.raises(UserError, match="give a run, or a list of runs"):
        asl_exp.load(run)


@pytest.mark.parametrize(
    "wrong",
    [{"renamed": 5}, {"renamed": {"a": 1}}, {"renamed": {1: "A"}}, {"renamed": ["a=A"]},
     {"renamed": "a=A"}, {"hand_model": 5}, {"hand_model": b"x"}, {"hand_model": ["x"]}],
)  # fmt: skip
def test_what_is_no_option_is_said(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=f"{name}: got "):
        asl_exp.evaluate("runs/x", **wrong)
    if name == "hand_model":
        with pytest.raises(UserError, match=f"{name}: got "):
            asl_exp.load("tests", **wrong)
    with pytest.raises(UserError, match="runs_dir: got 5"):
        asl_exp.compare("runs/x", runs_dir=5)  # type: ignore[arg-type]
