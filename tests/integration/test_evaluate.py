"""``python -m asl_exp.evaluate``: kept models scored again, on new photos, and together."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from asl_exp.config.compose import compose_config
from asl_exp.evaluate import main
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.checkpoint import save_kept_model
from asl_exp.model.classifier import build_classifier
from asl_exp.model.kept import checkpoint_metadata
from asl_exp.report import main as verified
from asl_exp.runs.result import Result
from asl_exp.tracking.store import open_store
from asl_exp.training.run import run_experiment

LENGTH = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=0")


@pytest.fixture
def new_photos(tmp_path: Path) -> Path:
    """Photos under the labels a, B, C and K, of which the model knows B and C."""
    generator = np.random.default_rng(0)
    for label, count in {"a": 3, "B": 5, "C": 4, "K": 2}.items():
        (tmp_path / "new" / label).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "new" / label / f"{index}.png")
    return tmp_path / "new"


def test_a_runs_own_sets_give_its_scores_again(
    runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "run0"
    shutil.copytree(runs_dir / "run0", run)
    before = {p: p.read_bytes() for p in (run / "evaluation").rglob("predictions.parquet")}
    shutil.rmtree(run / "evaluation")
    torch.set_num_threads(1)
    assert main([str(run), "tracking=off"]) == 0
    told = Result.read(run)
    assert told is not None
    assert torch.get_num_threads() == told.threads, "sums are made in the run's order"
    assert len(before) == 2
    for path, content in before.items():
        was, now = pd.read_parquet(io.BytesIO(content)), pd.read_parquet(path)
        pd.testing.assert_frame_equal(was, now, check_exact=True)
    said = capsys.readouterr().out
    assert "no interval: all images are of one group" in said  # one test signer


def test_keys_of_the_machine_leave_the_images_the_runs_own(
    runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run0"
    shutil.copytree(runs_dir / "run0", run)
    before = pd.read_parquet(run / "evaluation/test/predictions.parquet")
    assert main([str(run), f"data.cache_dir={tmp_path / 'cache'}", "tracking=off"]) == 0
    assert "external/synthetic_external" in capsys.readouterr().out
    after = pd.read_parquet(run / "evaluation/test/predictions.parquet")
    pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_a_job_of_a_grid_is_recorded_in_the_store_of_all_runs(
    tiny: tuple[str, ...], new_photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "grid" / "0"
    config = compose_config([*tiny, *LENGTH, f"runs_dir={tmp_path / 'runs'}"])
    run_experiment(config, folder)
    words = ["data=folder", f"data.root={new_photos}", f"data.cache_dir={tmp_path}"]
    assert main([str(folder), *words]) == 0
    result = json.loads((folder / "result.json").read_text())
    logged = open_store(tmp_path / "runs").get_run(result["mlflow_run_id"])
    assert "external/new/accuracy" in logged.data.metrics
    assert not (folder.parent / "mlflow.db").exists()
    assert verified(["--verify", str(folder / "evaluation" / "certificate.json")]) == 0
    certified = json.loads((folder / "evaluation" / "certificate.json").read_text())
    assert "external/new" in certified["sets"]


def test_new_photos_are_scored_into_the_runs_folder_and_its_mlflow_run(
    runs_dir: Path, new_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs_dir / "run1"
    words = ["data=folder", f"data.root={new_photos}", f"data.cache_dir={tmp_path}"]
    assert main([str(run), *words, f"runs_dir={runs_dir}"]) == 0
    said = capsys.readouterr().out
    assert "left out 5 images" in said
    assert "K (2), a (3)" in said
    assert "no image of A" in said
    report = json.loads((run / "evaluation/external/new/classification_report.json").read_text())
    assert report["images"] == 9
    result = json.loads((run / "result.json").read_text())
    logged = open_store(runs_dir).get_run(result["mlflow_run_id"])
    assert logged.data.metrics["external/new/accuracy"] == report["accuracy"]
    assert logged.info.status == "FINISHED"


def test_the_scores_of_another_set_of_that_name_stay(
    runs_dir: Path, new_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs_dir / "run0", run)
    words = [str(run), "data=folder", f"data.cache_dir={tmp_path}", "tracking=off"]
    place = run / "evaluation" / "external" / "new"
    for _ in range(2):  # the same images again: nothing to say
        assert main([*words, f"data.root={new_photos}"]) == 0
        assert "replaces" not in capsys.readouterr().out
    before = {file: file.read_bytes() for file in place.iterdir()}

    other = tmp_path / "elsewhere" / "new"
    for label, colour in {"B": "red", "C": "blue"}.items():
        (other / label).mkdir(parents=True)
        Image.new("RGB", (30, 30), colour).save(other / label / "plain.png")
    for _ in range(2):  # the same place again
        assert main([*words, f"data.root={other}"]) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "external/new_2: external/new has the scores of other images" in told
    report = (place.with_name("new_2") / "classification_report.json").read_text()
    assert json.loads(report)["images"] == 2
    assert not place.with_name("new_3").exists()
    assert {file: file.read_bytes() for file in place.iterdir()} == before

    shutil.copy(other / "B" / "plain.png", new_photos / "B")
    (new_photos / "C" / "0.png").unlink()
    assert main([*words, f"data.root={new_photos}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "external/new: replaces the scores of 9 images, of which 8 are among these 9" in said


def test_images_that_were_trained_on_are_told(
    runs_dir: Path, tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=synthetic", *(one for one in tiny if one.startswith("data."))]
    assert main([str(runs_dir / "run1"), *words, "tracking=off"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "external/synthetic: trained on 24 of these 48 images" in said
    assert said.count("trained on") == 1
    table = runs_dir / "run1/evaluation/external/synthetic/classification_report.txt"
    assert "trained on 24 of these 48 images" in table.read_text()


def test_a_label_can_be_mapped(
    runs_dir: Path, new_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=folder", f"data.root={new_photos}", f"data.cache_dir={tmp_path}"]
    assert main([str(runs_dir / "run1"), *words, "--map", "a=A", "tracking=off"]) == 0
    assert "left out 2 images" in capsys.readouterr().out


def test_several_models_answer_with_the_mean_of_their_probabilities(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [str(runs_dir / "run0"), str(runs_dir / "run1")]
    assert main([*both, f"runs_dir={runs_dir}"]) == 0
    folder = next(runs_dir.glob("*_ensemble"))
    name = "evaluation/test/predictions.parquet"
    parts = [pd.read_parquet(Path(run) / name) for run in both]
    together = pd.read_parquet(folder / name)
    columns = [c for c in together if c.startswith("probability/")]
    mean = (parts[0][columns] + parts[1][columns]) / 2
    assert np.allclose(together[columns], mean, atol=1e-6)
    runs = open_store(runs_dir).search_runs(
        [e.experiment_id for e in open_store(runs_dir).search_experiments()],
        f"attributes.run_name = '{folder.name}'",
    )
    assert len(runs) == 1
    assert "test/accuracy" in runs[0].data.metrics


def test_a_soup_of_one_model_with_itself_is_that_model(runs_dir: Path) -> None:
    run = str(runs_dir / "run0")
    assert main([run, run, "--soup", f"runs_dir={runs_dir}", "tracking=off"]) == 0
    name = "evaluation/test/predictions.parquet"
    soup = pd.read_parquet(next(runs_dir.glob("*_soup")) / name)
    assert np.allclose(
        soup["confidence"], pd.read_parquet(Path(run) / name)["confidence"], atol=1e-5
    )


def test_weights_from_different_starts_are_not_averaged(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(runs_dir / "run0"), str(runs_dir / "run1"), "--soup", "tracking=off"]) == 2
    assert "did not start from the same weights" in capsys.readouterr().err


def test_networks_of_joints_start_from_no_pretrained_weights(
    tiny: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose_config(
        [*tiny, "hand=joints", "hand.detector=exact", "backbone.pretrained=true"]
    )
    prepared = Preprocessing(32, (0.0,) * 3, (1.0,) * 3, "bilinear")
    about = checkpoint_metadata(config, ("A", "B", "C"), prepared) | {"phase": "x", "epoch": 0}
    files = [str(tmp_path / f"{seed}.ckpt") for seed in range(2)]
    for file in files:
        save_kept_model(build_classifier(config, 3, prepared), about, Path(file))
    assert main([*files, "--soup", "tracking=off"]) == 2
    assert "did not start from the same weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "data.split=random"], "name a source, such as data=folder"),
        (["nowhere"], "nowhere: no such folder, and no run of the store in"),
        (["RUN", "lr.transfer=1"], "lr.transfer: a kept model is scored as it is"),
        (["RUN", "data=folder", "data.root=nowhere"], "data.root"),
        (["data=folder"], "give a run folder"),
        (["RUN", "--map", "a"], "--map a: each must be LABEL=CLASS"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    words: list[str], said: str, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(runs_dir / "run0") if word == "RUN" else word for word in words]
    assert main(given) == 2
    assert said in capsys.readouterr().err


def test_photos_without_a_known_class_are_refused(
    runs_dir: Path, new_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("B", "C"):
        shutil.rmtree(new_photos / label)
    words = ["data=folder", f"data.root={new_photos}", f"data.cache_dir={tmp_path}"]
    assert main([str(runs_dir / "run0"), *words]) == 2
    assert "no image has a class of the model (A, B, C); the labels found are K, a" in (
        capsys.readouterr().err
    )
