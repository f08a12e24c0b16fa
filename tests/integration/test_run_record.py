"""What one finished run leaves behind: folder, MLflow run, model folder, predictions."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow.entities import Run as MlflowRun
from PIL import Image

from asl_exp.config import names
from asl_exp.config.compose import compose_config
from asl_exp.config.schema import Config
from asl_exp.config.signature import flatten, signature
from asl_exp.data.dataset import load_letters
from asl_exp.data.letters import LetterData
from asl_exp.predict import main as predict
from asl_exp.tracking.store import open_store, store_uri
from asl_exp.training.run import run_experiment

EVALUATION_FILES = {
    "confusion_matrix.png", "confusion_matrix.csv", "classification_report.txt",
    "classification_report.json", "roc.png", "precision_recall.png", "reliability.png",
    "misclassified.png", "confused_pairs.png", "risk_coverage.png", "predictions.parquet",
}  # fmt: skip
SETS = ("test", "external/synthetic_external")


class Finished:
    """A run of three epochs with everything recorded, and its data."""

    def __init__(self, overrides: tuple[str, ...], runs_dir: Path) -> None:
        length = ("schedule.transfer.epochs=2", "schedule.finetune.epochs=1")
        self.config: Config = compose_config([*overrides, *length, f"runs_dir={runs_dir}"])
        self.folder = runs_dir / "a run"
        self.objective = run_experiment(self.config, self.folder)
        self.result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        self.client = open_store(runs_dir)
        self.run: MlflowRun = self.client.get_run(self.result["mlflow_run_id"])
        self.artifacts = Path(self.run.info.artifact_uri.removeprefix("file://"))
        self.data: LetterData = load_letters(
            self.config.data, image_size=32, interpolation="bilinear", seed=self.config.seed
        )


@pytest.fixture(scope="module")
def finished(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished((*tiny, "lr.transfer=3e-3", "lr.finetune=1e-3"), tmp_path_factory.mktemp("r"))


@pytest.fixture(scope="module")
def photo(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test image as a file, at the size that the network sees, so that no resizing differs."""
    path = tmp_path_factory.mktemp("photos") / "hand.png"
    Image.fromarray(finished.data.splits["test"].gather([0])[0]).save(path)  # type: ignore[arg-type]
    return path


def by_hand(finished: Finished, pixels: Any) -> list[float]:
    from asl_exp.model.checkpoint import load_kept_model

    kept = load_kept_model(finished.folder / "checkpoints" / "finetune.ckpt")
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        probabilities: list[float] = kept.model(batch).softmax(1)[0].tolist()
    return probabilities


def test_one_finished_run_names_its_folder_and_is_named_by_it(finished: Finished) -> None:
    experiments = finished.client.search_experiments(filter_string="name = 'asl_exp'")
    runs = finished.client.search_runs([e.experiment_id for e in experiments])
    assert [run.info.run_id for run in runs] == [finished.result["mlflow_run_id"]]
    assert finished.run.info.status == "FINISHED"
    assert finished.run.data.tags["run_folder"] == str(finished.folder.resolve())
    assert finished.result["status"] == "FINISHED"
    assert finished.result["failure"] is None


def test_epoch_metrics_have_one_value_an_epoch_counted_across_phases(finished: Finished) -> None:
    for key in names.EPOCH_METRICS:
        history = finished.client.get_metric_history(finished.run.info.run_id, key)
        assert {point.step for point in history} == {0, 1, 2}, key
    contract = {
        "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/f1_macro", "lr",
        "images_per_second",
    }  # fmt: skip
    assert contract <= set(names.EPOCH_METRICS)


def test_scores_of_the_kept_checkpoint(finished: Finished) -> None:
    logged = finished.run.data.metrics
    for key in (f"{s}/{score}" for s in SETS for score in ("accuracy", "f1_macro", "ece")):
        assert logged[key] == finished.result["metrics"][key]
    test = finished.data.splits["test"]
    hits = 0
    for row, label in enumerate(test.labels):
        scores = by_hand(finished, test.gather([row])[0])  # type: ignore[arg-type]
        hits += scores.index(max(scores)) == label
    assert logged["test/accuracy"] == hits / len(test)
    kept = finished.result["kept_epochs"]["finetune"]
    values = {p.step: p.value for p in finished.client.get_metric_history(
        finished.run.info.run_id, "val/accuracy")}  # fmt: skip
    assert finished.objective == finished.result["objective"] == values[kept]


def test_tags(finished: Finished) -> None:
    tags = finished.run.data.tags
    assert tags["signature"] == signature(finished.config) == finished.result["signature"]
    assert tags["data_digest"] == finished.data.digest
    assert tags["pretrained"] == "False"
    assert "random initialisation" in tags["weights_loaded"]
    assert tags["phase"] == "finetune"
    assert json.loads(tags["phase_boundaries"].replace("'", '"')) == {
        "transfer": [0, 1],
        "finetune": [2, 2],
    }
    assert {"git_commit", "weights_digest", "kept_epochs", "split"} <= tags.keys()


def test_the_data_of_every_split_is_an_input(finished: Finished) -> None:
    inputs = {entry.tags[0].value: entry.dataset for entry in finished.run.inputs.dataset_inputs}
    assert {context: data.name for context, data in inputs.items()} == {
        "train": "synthetic", "val": "synthetic", "test": "synthetic",
        "external": "synthetic_external",
    }  # fmt: skip
    assert len({data.digest for data in inputs.values()}) == 4
    for context, data in inputs.items():
        split = {"external": "external/synthetic_external"}.get(context, context)
        assert json.loads(data.profile)["num_rows"] == len(finished.data.splits[split])


def test_what_differs_from_the_defaults_is_one_tag(finished: Finished) -> None:
    changed = dict(part.split("=", 1) for part in finished.run.data.tags["changed"].split(" "))
    assert changed["lr.transfer"] == "0.003"
    assert changed["data.classes"] == "A-C"
    assert "regularization.l2" not in changed
    assert "runs_dir" not in changed
    assert finished.run.info.run_name == "asl_small_cnn synthetic lr=0.003 lr.finetune=0.001"


def test_the_description_tells_results_confusions_and_how_to_repeat(finished: Finished) -> None:
    note = finished.run.data.tags["mlflow.note.content"]
    score = f"{finished.result['metrics']['test/accuracy']:.3f}"
    assert f"| test | {score} |" in note
    assert "| transfer | 2 | " in note
    assert "Most confused, test" in note
    run_id = finished.run.info.run_id
    assert f"(get-artifact?path=evaluation/test/confusion_matrix.png&run_uuid={run_id})" in note
    command = shlex.split(note.split("```")[1].replace("\\\n", ""))
    assert command[:3] == ["python", "-m", "asl_exp"]
    again = compose_config([*command[3:], f"data.cache_dir={finished.config.data.cache_dir}"])
    assert signature(again) == finished.result["signature"]


def test_the_kept_checkpoints_values_and_the_phases_are_metrics(finished: Finished) -> None:
    run_id, metrics = finished.run.info.run_id, finished.run.data.metrics
    assert metrics["kept/val/accuracy"] == finished.result["metrics"]["val/accuracy"]
    phases = {p.step: p.value for p in finished.client.get_metric_history(run_id, "phase")}
    assert phases == {0: 0, 1: 0, 2: 1}


def test_pictures_are_logged_images(finished: Finished) -> None:
    assert finished.run.data.tags["mlflow.loggedImages"] == "True"
    keys = {path.name.split("+")[0] for path in (finished.artifacts / "images").glob("*.png")}
    assert keys == {
        "confusion_matrix~test", "confusion_matrix~external~synthetic_external",
        "confusion_matrix~external", "learning_curves",
    }  # fmt: skip


def test_the_experiment_has_a_view_to_compare_runs(finished: Finished) -> None:
    experiment = finished.client.get_experiment(finished.run.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert (
        f"#/experiments/{experiment.experiment_id}/runs?" in experiment.tags["mlflow.note.content"]
    )
    assert len(experiment.tags["mlflow.sharedViewState.asl_exp"]) < 5000


def test_every_setting_is_a_parameter(finished: Finished) -> None:
    settings = flatten(finished.config.model_dump())
    assert finished.run.data.params == {key: str(value) for key, value in settings.items()}
    kept = yaml.safe_load((finished.folder / "config" / "resolved.yaml").read_text())
    assert Config.model_validate(kept) == finished.config


def test_artifacts_are_the_folders_files_and_take_their_space_once(finished: Finished) -> None:
    expected = {
        "config/resolved.yaml", "checkpoints/transfer.ckpt", "checkpoints/finetune.ckpt",
        "model/MLmodel", "model/model.json", "model/weights.safetensors", "model/README.md",
        "model/example.png", "learning_curves.png", "environment/packages.txt",
        "environment/machine.json", "result.json",
        *(f"evaluation/{s}/{name}" for s in SETS for name in EVALUATION_FILES),
    }  # fmt: skip
    for name in expected:
        in_folder, in_store = finished.folder / name, finished.artifacts / name
        assert in_folder.stat().st_size > 0, name
        assert in_folder.samefile(in_store), name


def test_the_model_folder_holds_the_kept_weights_and_its_card(finished: Finished) -> None:
    from asl_exp.model.checkpoint import load_kept_model

    model, kept = finished.folder / "model", finished.folder / "checkpoints" / "finetune.ckpt"
    ours, theirs = (
        load_kept_model(file).model.state_dict() for file in (model / "model.json", kept)
    )
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert not [file for file in model.rglob("*") if file.suffix in (".pkl", ".ckpt", ".pt")]
    card = (model / "README.md").read_text()
    accuracy = finished.result["metrics"]["test/accuracy"]
    assert f"| test | 12 | {accuracy:.3f} |" in card
    confusion = (finished.folder / "evaluation/test/confusion_matrix.csv").read_text()
    for line in confusion.splitlines()[1:]:
        assert f"| {' | '.join(line.split(','))} |" in card
    for said in (
        "drawn by asl_exp",
        "| train | 24 | 2 | synthetic |",
        finished.data.digest,
        "data.classes",
    ):
        assert said in card


LOAD = """
import base64, json, sys
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
image = sys.argv[2]
encoded = base64.b64encode(open(image, "rb").read()).decode()
table = model.predict(pd.DataFrame({"image": [image, encoded]}))
import asl_exp
print(json.dumps({"rows": table.to_dict("records"), "code": asl_exp.__file__}))
"""


def test_the_model_folder_needs_nothing_else(
    finished: Finished, photo: Path, tmp_path: Path
) -> None:
    """Another folder, no asl_exp to be found but that in the model folder."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    block = "import sys; sys.path[:] = [p for p in sys.path if 'asl_exp' not in p];"
    hidden = "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()];"
    root = str(Path(__file__).resolve().parents[2])
    gone = f"sys.path[:] = [p for p in sys.path if p not in ('', {root!r})];"
    done = subprocess.run(
        [sys.executable, "-c", block + hidden + gone + LOAD, str(finished.artifacts / "model"),
         str(photo)],
        cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"].startswith(str(finished.artifacts / "model" / "code"))
    by_path, by_bytes = told["rows"]
    assert by_path == by_bytes
    expected = by_hand(finished, finished.data.splits["test"].gather([0])[0])  # type: ignore[arg-type]
    given = [by_path[f"probability/{name}"] for name in finished.data.classes]
    assert given == pytest.approx(expected, abs=1e-6)
    assert by_path["letter"] == finished.data.classes[expected.index(max(expected))]
    assert by_path["probability"] == pytest.approx(max(expected))


def test_predict_by_folder_file_and_pattern(
    finished: Finished, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = by_hand(finished, finished.data.splits["test"].gather([0])[0])  # type: ignore[arg-type]
    letter = finished.data.classes[expected.index(max(expected))]
    for model in (
        finished.folder, finished.folder / "model", finished.artifacts / "model",
        finished.folder / "checkpoints" / "finetune.ckpt",
    ):  # fmt: skip
        for images in (str(photo), str(photo.parent), str(photo.parent / "*.png")):
            assert predict([str(model), images]) == 0
            shown = capsys.readouterr().out
            line = next(line for line in shown.splitlines() if "hand.png" in line)
            assert line.split("\t")[1] == letter
            assert f"{max(expected):.3f}" in line


def test_predict_says_what_predictions_parquet_says(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finished.result["calibration"]["temperature"] == 1.0
    assert "not calibrated: val's images are of one group" in finished.result["calibration"]["told"]
    for row, pixels in enumerate(finished.data.splits["test"].gather(np.arange(12))):
        Image.fromarray(pixels).save(tmp_path / f"{row:02}.png")
    assert predict([str(finished.folder), str(tmp_path), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = pd.read_parquet(finished.folder / "evaluation/test/predictions.parquet")
    assert [row["letter"] for row in told] == expected["predicted"].tolist()
    for name in finished.data.classes:
        given = [row["probabilities"][name] for row in told]
        assert given == pytest.approx(expected[f"probability/{name}"].tolist(), abs=1e-6)


def test_tracking_off_leaves_the_run_folder_alone(tiny: tuple[str, ...], tmp_path: Path) -> None:
    length = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=0")
    config = compose_config([*tiny, *length, f"runs_dir={tmp_path}", "tracking=off"])
    run_experiment(config, tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "FINISHED"
    assert result["mlflow_run_id"] is None
    assert (tmp_path / "run" / "evaluation" / "test" / "confusion_matrix.csv").is_file()
    assert not Path(store_uri(tmp_path).removeprefix("sqlite:///")).exists()
