"""The evaluation folder: complete, openable, consistent with itself, and the same every time."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from asl_exp.evaluation.folder import AnsweredSet, write_evaluation

FIGURES = {
    "confused_pairs.png",
    "confusion_matrix.png",
    "misclassified.png",
    "precision_recall.png",
    "reliability.png",
    "risk_coverage.png",
    "roc.png",
}
TEXTS = {"classification_report.json", "classification_report.txt", "confusion_matrix.csv"}
FILES = FIGURES | TEXTS | {"predictions.parquet"}
CLASSES = ["A", "B", "C", "D", "nothing"]


def gather(indices: np.ndarray) -> np.ndarray:
    shades = (indices * 7 % 256).astype(np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (len(indices), 8, 8, 3))


def some_set(
    n_images: int = 40, skill: float = 1.5, classes: list[str] = CLASSES, n_present: int = 4
) -> dict[str, Any]:
    """Return arguments of write_evaluation; only the first `n_present` classes have images."""
    random = np.random.default_rng(0)
    labels = np.arange(n_images, dtype=np.int64) % n_present
    odds = np.exp(
        random.normal(size=(n_images, len(classes))) + skill * np.eye(len(classes))[labels]
    )
    table = pd.DataFrame(
        {
            "path": [f"images/{row:03}.jpg" for row in range(n_images)],
            "label": [classes[label] for label in labels],
            "group": "signer_1",
            "source": "synthetic",
        },
        index=range(100, 100 + n_images),  # a part of a larger table keeps its own index
    )
    return {
        "name": "external/other_hands",
        "probabilities": (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32),
        "labels": labels,
        "classes": classes,
        "table": table,
        "gather": gather,
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("evaluation") / "external" / "other_hands"
    return folder, write_evaluation(folder, AnsweredSet(**some_set())).scores


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 2, "nothing is drawn"
        return image.size


def test_all_files_are_there(written: tuple[Path, dict[str, float]]) -> None:
    assert {path.name for path in written[0].iterdir()} == FILES


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_figures_open_and_have_a_sensible_size(
    written: tuple[Path, dict[str, float]], name: str
) -> None:
    width, height = size_of(written[0] / name)

    assert 400 < width < 2500
    assert 300 < height < 2500


def test_predictions_hold_the_table_and_every_answer(
    written: tuple[Path, dict[str, float]],
) -> None:
    given, predictions = some_set(), pd.read_parquet(written[0] / "predictions.parquet")
    columns = [f"probability/{name}" for name in CLASSES]

    assert list(predictions.columns) == [
        *given["table"].columns,
        *("predicted", "confidence", "correct"),
        *columns,
    ]
    assert predictions["path"].tolist() == given["table"]["path"].tolist()
    assert np.array_equal(predictions[columns].to_numpy(), given["probabilities"])
    assert predictions["confidence"].tolist() == given["probabilities"].max(axis=1).tolist()
    best = given["probabilities"].argmax(axis=1)
    assert predictions["predicted"].tolist() == [CLASSES[index] for index in best]
    assert predictions["correct"].tolist() == (best == given["labels"]).tolist()


def test_reports_equal_the_predictions_recomputed(written: tuple[Path, dict[str, float]]) -> None:
    folder, returned = written
    predictions = pd.read_parquet(folder / "predictions.parquet")
    report = json.loads((folder / "classification_report.json").read_text())
    counts = pd.read_csv(folder / "confusion_matrix.csv", index_col=0)

    more = {"risk_coverage_area", "accuracy_surest_80"}
    assert set(returned) == {"accuracy", "f1_macro", "ece", "brier", "log_loss"} | more
    answers = predictions[[f"probability/{name}" for name in CLASSES]].to_numpy(np.float64)
    truth = (predictions["label"].to_numpy()[:, None] == np.array(CLASSES)).astype(np.float64)
    assert report["brier"] == pytest.approx(((answers - truth) ** 2).sum(axis=1).mean())
    assert report["log_loss"] == pytest.approx(-np.log(answers[truth == 1]).mean())
    assert returned["accuracy"] == report["accuracy"] == predictions["correct"].mean()
    assert {key: report[key] for key in returned} == returned
    assert list(counts.index) == list(counts.columns) == CLASSES
    for true in CLASSES:
        for predicted in CLASSES:
            both = (predictions["label"] == true) & (predictions["predicted"] == predicted)
            assert counts.loc[true, predicted] == both.sum()


def test_per_class_scores_equal_the_predictions_recomputed(
    written: tuple[Path, dict[str, float]],
) -> None:
    folder, returned = written
    predictions = pd.read_parquet(folder / "predictions.parquet")
    by_class = json.loads((folder / "classification_report.json").read_text())["classes"]

    for name in CLASSES[:4]:
        is_true, is_said = predictions["label"] == name, predictions["predicted"] == name
        row = by_class[name]
        assert (row["images"], row["predicted"]) == (is_true.sum(), is_said.sum())
        assert row["recall"] == pytest.approx(is_said[is_true].mean())
        assert row["precision"] == pytest.approx(is_true[is_said].mean())
    assert returned["f1_macro"] == pytest.approx(
        np.mean([by_class[name]["f1"] for name in CLASSES[:4]])
    )


def test_a_class_without_an_image_has_counts_and_no_scores(
    written: tuple[Path, dict[str, float]],
) -> None:
    report = json.loads((written[0] / "classification_report.json").read_text())
    row = report["classes"]["nothing"]

    assert report["classes_with_images"] == 4
    assert row["images"] == 0
    assert row["predicted"] >= 0
    assert {row[key] for key in ("precision", "recall", "f1", "roc_auc")} == {None}


def test_the_text_report_says_set_size_and_scores(written: tuple[Path, dict[str, float]]) -> None:
    folder, returned = written
    text = (folder / "classification_report.txt").read_text()

    assert text.startswith("external/other_hands: 40 images, 4 of 5 classes\n")
    assert f"{returned['accuracy']:.4f}" in text
    assert "Macro averages are over the classes that have images." in text


def test_groups_sources_and_classes_have_scores_with_intervals(tmp_path: Path) -> None:
    given = some_set(n_images=60)
    signers = [f"signer_{row // 4 % 5}" for row in range(60)]
    sources = ["rooms" if row % 2 else "studio" for row in range(60)]
    given["table"] = given["table"].assign(group=signers, source=sources)
    write_evaluation(tmp_path, AnsweredSet(**given))
    report = json.loads((tmp_path / "classification_report.json").read_text())
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    for kind in ("source", "group"):
        right = predictions.groupby(kind)["correct"]
        parts = report[f"{kind}s"]
        assert {name: part["accuracy"] for name, part in parts.items()} == right.mean().to_dict()
        assert {name: part["images"] for name, part in parts.items()} == right.size().to_dict()
    low, high = report["sources"]["rooms"]["interval"]
    assert low < report["sources"]["rooms"]["accuracy"] < high
    assert report["groups"]["signer_1"]["interval"] is None  # one signer says nothing of others

    text = (tmp_path / "classification_report.txt").read_text()
    hardest = min(report["groups"].items(), key=lambda part: part[1]["accuracy"])
    told = f"Accuracy by group, the lowest first\n{hardest[0]}: {hardest[1]['accuracy']:.4f} of"
    assert told in text
    low, high = report["intervals"]["classes"]["A"]["recall"]
    assert f"{report['classes']['A']['recall']:.4f}  ({low:.2f} to {high:.2f})" in text


def test_a_figure_says_the_interval_beside_the_score(tmp_path: Path) -> None:
    given = some_set(n_images=60)
    given["table"] = given["table"].assign(group=[f"signer_{row % 5}" for row in range(60)])
    evaluation = write_evaluation(tmp_path, AnsweredSet(**given))
    low, high = evaluation.intervals.of["accuracy"]
    with Image.open(tmp_path / "confusion_matrix.png") as image:
        assert f"({low:.2f} to {high:.2f})" in image.text["Title"]


def test_the_same_input_gives_the_same_files(
    written: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    write_evaluation(tmp_path, AnsweredSet(**some_set()))

    for name in FILES:
        assert (tmp_path / name).read_bytes() == (written[0] / name).read_bytes(), name


def test_an_earlier_evaluation_is_replaced(tmp_path: Path) -> None:
    write_evaluation(tmp_path, AnsweredSet(**some_set(n_images=8)))
    write_evaluation(tmp_path, AnsweredSet(**some_set(n_images=12)))

    assert len(pd.read_parquet(tmp_path / "predictions.parquet")) == 12


@pytest.mark.parametrize(
    ("figure", "error"),
    [
        ("confusion_matrix", OSError(27, "File too large")),
        ("roc", KeyboardInterrupt()),
        ("confused_pairs", OSError(28, "No space left on device")),
    ],
)
def test_an_evaluation_that_fails_leaves_what_was_there(
    figure: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing at first, then an earlier evaluation, byte for byte; never tables of another one."""
    folder = tmp_path / "test"
    save = Image.Image.save

    def full(self: Image.Image, file: Path, *given: Any, **options: Any) -> None:
        if file.stem == figure:
            raise OSError(*error.args, str(file)) if isinstance(error, OSError) else error
        save(self, file, *given, **options)

    def all_files() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    for earlier in (False, True):
        if earlier:
            write_evaluation(folder, AnsweredSet(**some_set(n_images=30, skill=60)))
        before, answered = all_files(), AnsweredSet(**some_set(n_images=40, skill=0.2))
        monkeypatch.setattr(Image.Image, "save", full)
        with pytest.raises(type(error)) as caught:
            write_evaluation(folder, answered)
        monkeypatch.setattr(Image.Image, "save", save)
        assert all_files() == before
        if isinstance(caught.value, OSError):
            assert Path(caught.value.filename) == folder / f"{figure}.png"


def test_a_single_image(tmp_path: Path) -> None:
    scores = write_evaluation(tmp_path, AnsweredSet(**some_set(n_images=1, skill=9))).scores

    assert scores["accuracy"] == 1.0
    assert {path.name for path in tmp_path.iterdir()} == FILES
    report = json.loads((tmp_path / "classification_report.json").read_text())
    assert report["roc_auc_macro"] is None


def test_a_perfect_classifier_asks_for_no_images(tmp_path: Path) -> None:
    def refuse(indices: np.ndarray) -> np.ndarray:
        raise AssertionError(f"asked for {indices}")

    scores = write_evaluation(
        tmp_path, AnsweredSet(**{**some_set(skill=60), "gather": refuse})
    ).scores

    assert scores["accuracy"] == scores["f1_macro"] == 1.0
    assert size_of(tmp_path / "misclassified.png")
    assert "No mistakes." in (tmp_path / "classification_report.txt").read_text()


def test_the_most_confident_mistakes_are_shown_first(tmp_path: Path) -> None:
    asked: list[int] = []

    def note(indices: np.ndarray) -> np.ndarray:
        asked.extend(indices.tolist())
        return gather(indices)

    given = some_set(n_images=80, skill=0.2)
    write_evaluation(tmp_path, AnsweredSet(**{**given, "gather": note}))
    probabilities = given["probabilities"]
    wrong = probabilities.argmax(axis=1) != given["labels"]
    by_confidence = np.sort(probabilities.max(axis=1)[wrong])[::-1]

    shown, beside = asked[:24], asked[24:]  # then those of the most confused pairs
    assert probabilities.max(axis=1)[shown].tolist() == by_confidence[:24].tolist()
    assert wrong[shown].all()
    assert wrong[beside].any()
    assert not wrong[beside].all()


def test_many_classes_with_hard_names(tmp_path: Path) -> None:
    names = [f"{index}$_class with a long name_{index}" for index in range(70)]
    write_evaluation(tmp_path, AnsweredSet(**some_set(n_images=140, classes=names, n_present=69)))

    assert max(size_of(tmp_path / "confusion_matrix.png")) < 2500


def test_no_class_is_a_control_character_in_what_is_read(tmp_path: Path) -> None:
    names = ["\x1b[31mC", "\u202eD", "a\x07", "$x^2$"]
    write_evaluation(tmp_path, AnsweredSet(**some_set(classes=names)))
    told = (tmp_path / "classification_report.txt").read_text("utf-8")
    assert all(one.isprintable() or one == "\n" for one in told)
    assert "\\x1b[31mC" in told


def test_no_display_and_no_pyplot_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # an import of it now fails

    write_evaluation(tmp_path, AnsweredSet(**some_set(n_images=4)))


def other_order(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "table": given["table"].iloc[::-1]}


def shorter_table(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "table": given["table"].iloc[1:]}


def double_class(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "classes": ["A", "A", "C", "D", "nothing"]}


def missing_class(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "classes": CLASSES[:4]}


def not_a_number(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "probabilities": given["probabilities"] * np.float32(np.nan)}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_order, "row 0 is 'D' in the table and 'A' in the labels: their orders differ"),
        (shorter_table, "the table has 39 rows for 40 images"),
        (double_class, "5 columns of probabilities need as many different names"),
        (missing_class, "5 columns of probabilities need as many different names"),
        (not_a_number, "40 of 40 images have probabilities that are NaN"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_evaluation(tmp_path / "test", AnsweredSet(**spoil(some_set())))

    assert not (tmp_path / "test").exists()
