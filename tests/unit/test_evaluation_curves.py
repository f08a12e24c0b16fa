"""Learning curves: whatever a run leaves as its history can be drawn."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from asl_exp.config import names
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.figures.curves import learning_curves


def history(*phases: tuple[str, int]) -> pd.DataFrame:
    labels = [name for name, n_epochs in phases for _ in range(n_epochs)]
    epochs = np.arange(len(labels))
    loss = 2.0 / (1 + epochs)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "phase": labels,
            names.TRAIN_LOSS: loss,
            names.VAL_LOSS: loss + 0.1,
            names.TRAIN_ACCURACY: 1 - loss / 3,
            names.VAL_ACCURACY: 0.9 - loss / 3,
            names.LEARNING_RATE: 1e-3,
        }
    )


TWO_PHASES = history(("transfer", 5), ("finetune", 3))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collect the figures that are saved."""
    figures: list[Figure] = []
    save = canvas.save

    def collect(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(canvas, "save", collect)
    return figures


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_phases_boundary_and_kept_epochs_are_marked(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curves(TWO_PHASES, tmp_path / "c.png", {"transfer": 4, "finetune": 6})
    loss, accuracy, rate = drawn[0].axes
    boundaries = [line for line in loss.lines if line.get_linestyle() == ":"]
    stars = [line for line in loss.lines if line.get_marker() == "*"]

    assert "transfer\nkept epoch 5" in texts(drawn[0])
    assert "finetune\nkept epoch 2" in texts(drawn[0]), "counted from 1 within the phase"
    assert [label.get_text() for label in rate.get_xticklabels()] == list("12345123")
    assert {"0.500", "0.386"} <= set(texts(drawn[0]).split()), "beside their stars"
    assert [line.get_xdata()[0] for line in boundaries] == [4.5]
    assert list(stars[0].get_xdata()) == [4, 6]
    assert list(stars[0].get_ydata()) == pytest.approx([0.5, 2 / 7 + 0.1])
    assert (accuracy.get_yscale(), rate.get_yscale()) == ("linear", "log")


def test_names_stand_over_the_middle_of_their_phases(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curves(history(("one", 20), ("two", 10), ("three", 30)), tmp_path / "c.png")
    places = {t.get_text(): t.xy[0] for t in drawn[0].axes[0].texts}  # type: ignore[attr-defined]
    assert places == {"one": 9.5, "two": 24.5, "three": 44.5}


@pytest.mark.parametrize("epochs", [(1, 20), (1, 20, 1), (20, 1), (2, 40)])
def test_a_kept_score_stays_in_its_phase(
    epochs: tuple[int, ...], tmp_path: Path, drawn: list[Figure]
) -> None:
    starts = [sum(epochs[:n]) for n in range(len(epochs))]
    rows = history(*((f"p{n}", count) for n, count in enumerate(epochs)))
    learning_curves(rows, tmp_path / "c.png", {f"p{n}": start for n, start in enumerate(starts)})
    loss = drawn[0].axes[0]
    to_epochs = loss.transData.inverted()
    scores = [text for text in loss.texts if "." in text.get_text()]
    assert len(scores) == len(epochs)
    for text, start, count in zip(scores, starts, epochs, strict=True):
        box = text.get_window_extent().transformed(to_epochs)
        assert start - 0.8 < box.x0
        assert loss.bbox.y0 < text.get_window_extent().y0, "within the frame"
        assert box.x1 < start + count - 0.2, "on the line of the next phase"


@pytest.mark.parametrize("augmented", [True, False])
def test_train_is_said_to_be_augmented(
    augmented: bool, tmp_path: Path, drawn: list[Figure]
) -> None:
    learning_curves(TWO_PHASES, tmp_path / "c.png", augmented=augmented)
    assert ("with augmentation" in drawn[0].get_suptitle()) == augmented


def test_curves_break_at_the_boundary(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curves(TWO_PHASES, tmp_path / "c.png")
    solid = [line for line in drawn[0].axes[1].lines if line.get_linestyle() == "-"]

    assert [list(line.get_xdata()) for line in solid] == [[0, 1, 2, 3, 4], [5, 6, 7]]


def spoiled(**values: object) -> pd.DataFrame:
    return TWO_PHASES.assign(**{key.replace("__", "/"): value for key, value in values.items()})


@pytest.mark.parametrize(
    "rows",
    [
        history(("scratch", 1)),
        history(("transfer", 100), ("finetune", 3)),
        history(("a", 60), ("b", 1), ("c", 40)),
        history(("phase_$1", 2), ("_second", 2), ("third", 2), ("fourth", 2)),
        spoiled(val__loss=np.nan, val__accuracy=np.nan),
        spoiled(val__loss=[1.0, np.nan, np.inf, 1.0, 1.0, 1.0, np.nan, 1.0]),
        spoiled(lr=0.0),
        spoiled(train__loss=np.geomspace(5, 1e-4, 8)),
        TWO_PHASES[["epoch", "phase", names.TRAIN_LOSS]],
        TWO_PHASES.iloc[::-1],
        TWO_PHASES.iloc[:0],
        pd.DataFrame(),
    ],
)
def test_any_history_is_drawn(tmp_path: Path, rows: pd.DataFrame) -> None:
    learning_curves(rows, tmp_path / "c.png", {"transfer": 2, "never_run": 99})

    with Image.open(tmp_path / "c.png") as image:
        image.load()
        assert image.size == (1080, 1008)


def test_an_epoch_repeated_after_a_resume_counts_once(tmp_path: Path, drawn: list[Figure]) -> None:
    again = TWO_PHASES.iloc[[4]].assign(**{names.VAL_LOSS: 7.0})
    learning_curves(pd.concat([TWO_PHASES, again]), tmp_path / "c.png")
    solid = [line for line in drawn[0].axes[0].lines if line.get_linestyle() == "-"]

    assert list(solid[0].get_xdata()) == [0, 1, 2, 3, 4]
    assert solid[0].get_ydata()[-1] == 7.0


def test_a_wide_range_of_losses_gets_a_log_scale(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curves(TWO_PHASES, tmp_path / "c.png")
    learning_curves(spoiled(train__loss=np.geomspace(5, 1e-4, 8)), tmp_path / "c.png")

    assert [figure.axes[0].get_yscale() for figure in drawn] == ["linear", "log"]
