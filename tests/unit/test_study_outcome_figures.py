"""The figures and the page of a study, whatever has become of its trials."""

import re
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import optuna
import pytest
from made_studies import mixed, searched, survey, told
from matplotlib import pyplot
from optuna.trial import TrialState
from PIL import Image

from asl_exp.evaluation.figures import canvas
from asl_exp.study import results
from asl_exp.study.figures import write_figures
from asl_exp.study.importance import caution, importances
from asl_exp.study.page import html_page

FAIL, PRUNED = TrialState.FAIL, TrialState.PRUNED
ALL = {"history", "importances", "slices", "parallel"}
TWO = {"pareto", *(f"{name}-{metric}" for name in ALL
                   for metric in ("val_accuracy", "images_per_second"))}  # fmt: skip

STUDIES = {
    "none": (lambda: searched(0), set()),
    "one": (lambda: searched(1), {"history"}),
    "two": (lambda: searched(2), {"history", "slices", "parallel"}),
    "twenty": (lambda: searched(20), ALL),
    "failed": (lambda: told(*[FAIL] * 3), set()),
    "pruned": (lambda: told(*[PRUNED] * 3), set()),
    "constant": (lambda: told(*[0.5] * 6), {"history", "slices", "parallel"}),
    "one key": (lambda: told(0.5, 0.6, FAIL, 0.7, 0.65, 0.2), ALL),
    "mixed": (lambda: mixed(20, two=False), ALL),
    "two objectives": (lambda: mixed(20, two=True), TWO),
    "two objectives, one trial": (lambda: mixed(1, two=True),
                                  {n for n in TWO if "history" in n} | {"pareto"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", STUDIES)
def test_what_can_be_drawn_is_drawn_and_the_rest_is_said(kind: str, tmp_path: Path) -> None:
    study, expected = STUDIES[kind]
    missing = write_figures(survey(study()), tmp_path)
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == expected
    assert not drawn & missing.keys()
    assert all(missing.values())
    every = TWO if "objectives" in kind else ALL
    assert drawn | missing.keys() == every
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 200


@pytest.mark.parametrize("kind", STUDIES)
def test_the_page_needs_nothing_but_itself(kind: str) -> None:
    study, _ = STUDIES[kind]
    seen = survey(study())
    page = html_page(seen, "Study x<y", ["one sentence"], "")
    assert "Study x&lt;y" in page
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page)
    assert ("<h2>Best trials</h2>" in page) == bool(seen.finished)
    assert ('"exponentformat":"none"' in page) == bool(seen.finished), "0.0001, not 100µ"
    assert page.count("Plotly.newPlot(") - page.split("</script>")[0].count("Plotly.newPlot(") == (
        page.count("<h2>") - ("<h2>Best trials</h2>" in page)
    ), "a heading for each figure"


def test_equal_studies_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_figures(survey(searched(12)), tmp_path / name)
    for path in (tmp_path / "a").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("name", ["importances", "heat_map", "pareto", "history-val_accuracy"])
def test_a_figure_that_can_no_longer_be_drawn_goes(name: str, tmp_path: Path) -> None:
    """Fewer trials, a grid with more values, one objective in place of two."""
    for file in (tmp_path / f"{name}.png", tmp_path / "my-own.png"):
        file.write_bytes(b"of an earlier time")
    write_figures(survey(searched(2)), tmp_path)
    assert not (tmp_path / f"{name}.png").exists()
    assert (tmp_path / "my-own.png").exists()


def test_what_decides_is_found_important() -> None:
    shares = importances(survey(searched(60)), 0)
    assert next(iter(shares)) == "lr.transfer"
    assert shares["lr.transfer"] > 0.5
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)


def test_an_extended_study_has_all_figures(tmp_path: Path) -> None:
    """Its later trials come from other ranges and steps."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(24):
        narrow, trial = number > 11, study.ask()
        rate = trial.suggest_float("lr.transfer", 1e-4, 1e-3 if narrow else 1e-2, log=True)
        batch = trial.suggest_int("data.batch_size", 8, 64, step=8 if narrow else 4)
        study.tell(trial, -rate + 1e-4 * batch)
    assert write_figures(survey(study), tmp_path) == {}
    assert {path.stem for path in tmp_path.glob("*.png")} == ALL
    assert "<h2>Importances: val/accuracy</h2>" in html_page(survey(study), "s", [], "")
    shares = importances(survey(study), 0)
    assert set(shares) == {"lr.transfer", "data.batch_size"}
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)


def test_drawing_leaves_nothing_behind(tmp_path: Path) -> None:
    before = dict(mpl.rcParams), dict(mpl.style.library["ggplot"])
    write_figures(survey(searched(12)), tmp_path)
    assert (dict(mpl.rcParams), dict(mpl.style.library["ggplot"])) == before
    assert not pyplot.get_fignums()


def test_a_whole_grid_has_a_heat_map(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    space = {
        "lr.transfer": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True),
        "backbone": optuna.distributions.CategoricalDistribution(["vgg19", "resnet50"]),
    }
    points = [{"lr.transfer": rate, "backbone": name}
              for rate in (1e-4, 1e-3, 1e-2) for name in ("vgg19", "resnet50")]  # fmt: skip
    for value, point in enumerate(points[:-1]):
        study.add_trial(optuna.trial.create_trial(params=point, distributions=space, value=value))
    write_figures(survey(study), tmp_path)
    assert not (tmp_path / "heat_map.png").exists(), "a pair is missing"
    study.add_trial(optuna.trial.create_trial(params=points[-1], distributions=space, value=9))
    write_figures(survey(study), tmp_path)
    assert (tmp_path / "heat_map.png").exists()


def test_shares_from_few_trials_carry_a_caution() -> None:
    assert "few for 3 keys: uncertain" in caution(survey(searched(12)))
    assert caution(survey(searched(60))).endswith(" finished trials")


@pytest.mark.parametrize("low", [1e-4, 3e-5, 2e-3])
def test_marks_of_panels_do_not_lie_on_one_another(
    low: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    for value in range(12):
        trial = study.ask()
        for key in ("lr.transfer", "regularization.l2", "optimizer.eps"):
            trial.suggest_float(key, low, 1e-2, log=True)
        study.tell(trial, value / 12)
    drawn, save = {}, canvas.save
    monkeypatch.setattr(
        canvas, "save", lambda figure, file: (drawn.update({file.stem: figure}), save(figure, file))
    )
    write_figures(survey(study), tmp_path)
    for axes in drawn["slices"].axes[:3]:
        low_x, high_x = axes.get_xlim()
        shown = [one for one in axes.get_xticklabels() if low_x <= one.get_position()[0] <= high_x]
        boxes = [label.get_window_extent() for label in shown if label.get_text()]
        assert len(boxes) > 0
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


def test_a_range_of_one_value_has_an_axis(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize")
    for value in (0.1, 0.2):
        trial = study.ask()
        trial.suggest_float("lr.transfer", 1e-3, 1e-3, log=True)
        trial.suggest_int("data.batch_size", 8, 8)
        trial.suggest_categorical("backbone", ["vgg19"])
        study.tell(trial, value)
    assert set(write_figures(survey(study), tmp_path)) == {"importances", "slices"}


def test_what_must_stand_beside_scores_is_in_every_figure_and_table(tmp_path: Path) -> None:
    study = searched(12)
    for trial in study.get_trials(deepcopy=False):
        trial.user_attrs["caution"] = "groups unknown: may leak (val, test)"
    seen = survey(study)
    assert seen.caution == "groups unknown: may leak (val, test)"
    write_figures(seen, tmp_path)
    for picture in tmp_path.glob("*.png"):
        with Image.open(picture) as image:
            assert seen.caution in image.info["Title"], picture
    page = html_page(seen, "s", [], "")
    assert page.count(seen.caution) >= page.count("<h2>") - 1 > 2
    assert seen.caution in str(results.rich_table(seen, "Best trials").title)
    results.write_csv(seen, tmp_path / "trials.csv")
    assert seen.caution in (tmp_path / "trials.csv").read_text()
