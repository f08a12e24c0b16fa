"""Text in figures: it fits and is drawn as it is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from asl_exp.evaluation import one_vs_rest
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.figures.curves import learning_curves
from asl_exp.evaluation.figures.probabilities import (
    reliability_figure,
    risk_coverage_figure,
    roc_figure,
)
from asl_exp.evaluation.risk_coverage import risk_coverage
from asl_exp.evaluation.scores import N_BINS, Reliability


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("nothing", 8, "nothing"),
        ("nothing_", 8, "nothing_"),
        ("nothing_1", 8, "not…ng_1"),
        ("abcdefgh", 5, "ab…gh"),
    ],
)
def test_long_text_keeps_both_ends(text: str, length: int, expected: str) -> None:
    assert canvas.shortened(text, length) == expected
    assert len(canvas.shortened(text, length)) <= length


def test_a_title_is_no_wider_than_its_figure() -> None:
    figure = canvas.new_figure(6, 3)
    canvas.title(figure, "Confusion matrix: external/" + "a_long_name_" * 20, "3 images")
    figure.draw_without_rendering()

    left, right = _edges(figure)
    assert 0 <= left < right <= 6 * canvas.DPI


def test_what_must_stand_beside_a_score_is_never_cut_off() -> None:
    figure = canvas.new_figure(6, 3)
    canvas.mark(figure, "left out 466 of 717 images, of other labels: " + "J 38, K 27, " * 20)
    figure.draw_without_rendering()
    left, right = _edges(figure)
    assert 0 <= left < right <= 6 * canvas.DPI


def _edges(figure: Figure) -> tuple[float, float]:
    box = figure.texts[0].get_window_extent()
    return box.x0, box.x1


def test_dollar_signs_start_no_formula() -> None:
    figure = canvas.new_figure(6, 3)
    canvas.title(figure, "$x_{$ and $", "$broken{$")
    figure.draw_without_rendering()  # a formula that cannot be parsed would raise here


def test_a_line_leaves_out_what_is_not_defined() -> None:
    told = [canvas.number("accuracy", 0.5, (0.4, 0.6)), canvas.number("area", float("nan"))]
    assert canvas.line(1, *told) == "1 image, accuracy 0.500 (0.40 to 0.60)"
    assert canvas.line(87_000, canvas.number("F1", 0.25)) == "87,000 images, F1 0.250"


def test_an_interval_of_nearly_everything_is_said_in_words() -> None:
    assert canvas.number("accuracy", 0.98, (0.02, 1.0)) == "accuracy 0.980 (too few to say)"
    assert canvas.number("loss", 2.2, (1.9, 2.6)) == "loss 2.200 (1.90 to 2.60)"


def test_a_map_writes_each_interval_below_its_share() -> None:
    figure = canvas.new_figure(6, 3)
    axes = figure.add_subplot()
    shares = np.array([[0.5, np.nan]])
    canvas.shares_map(axes, shares, ["run"], ["A", "B"], [["31-69", "?"]])
    assert [text.get_text() for text in axes.texts] == ["50", "31-69"]


def test_the_legend_names_the_worst_class_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: figures.append(figure))
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1]])
    curves = one_vs_rest.roc(probabilities, np.array([0, 1, 1, 1]))

    roc_figure(tmp_path / "roc.png", curves, ["A", "_b", "never"], "ROC", "4 images")
    legend = figures[0].axes[0].get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    # The one image of A is above two of three others; two of _b's three are above the one other
    # image and the third has its probability, which counts half.
    assert texts[2:] == ["0.667  A", "0.833  _b", "1 without an image"]


@pytest.mark.parametrize(
    "name", ["Ж", "ñandú", "λ", "שלום", "سلام", "你好", "안녕", "क", "🤟", "a\tb", "$x$", "\u0e01"]
)
def test_names_of_any_script_are_drawn_or_escaped(name: str, tmp_path: Path) -> None:
    """Matplotlib warns of letters without a glyph, and warnings are errors here."""
    figure = canvas.new_figure(4, 2)
    canvas.title(figure, f"class {name}", "1 image")
    figure.add_subplot().set_xticks([0], [canvas.plain(name)])
    canvas.save(figure, tmp_path / "f.png")
    drawn = canvas.plain(name)
    assert drawn == name.replace("$", r"\$") or drawn.isascii()


@pytest.mark.parametrize(
    "pair",
    [
        "\u3042\u3044",
        "\u0905\u0906",
        "\ud55c\uae00",
        "\u4f60\u597d",
        "\u0e01\u0e02",
        "🤟👍",
        "של",
        "سل",
        "ЖБ",
    ],
)
def test_two_letters_of_a_script_do_not_look_alike(pair: str, tmp_path: Path) -> None:
    """Some fonts have one box for all letters of a script."""
    drawn = []
    for number, letter in enumerate(pair):
        figure = canvas.new_figure(2, 2)
        figure.add_subplot().set_xticks([0], [canvas.plain(letter)])
        canvas.save(figure, tmp_path / f"{number}.png")
        drawn.append((tmp_path / f"{number}.png").read_bytes())
    assert drawn[0] != drawn[1]


def _every_number_is_long(folder: Path) -> None:
    counts = np.zeros(N_BINS, np.int64)
    counts[3:5] = 456_789
    reliability_figure(
        folder / "reliability.png", Reliability(counts, counts / 1e6, counts / 2e6), "A", "1 image"
    )
    risk_coverage_figure(
        folder / "risk.png", risk_coverage(np.eye(2)[[0, 0]], np.array([0, 0])), "A", "a " * 2000
    )
    steps = {"epoch": range(4), "phase": ["transfer", "transfer", "x" * 40, "last"], "lr": 1e-12}
    for loss in (123456.0, 1e-9):
        rows = pd.DataFrame({**steps, "train/loss": loss, "val/loss": [loss, 1, 1, loss * 1.0001]})
        learning_curves(rows, folder / "curves.png", {"transfer": 1}, "caution " * 40)


def test_nothing_is_cut_off_where_the_room_for_labels_is_fixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: figures.append(figure))
    _every_number_is_long(tmp_path)
    assert len(figures) == 4
    for figure in figures:
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height
