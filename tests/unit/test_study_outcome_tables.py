"""A study's ranking, tables, and how its winner compares with the default."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from made_studies import mixed, searched, survey, told
from optuna.trial import TrialState

from asl_exp.study import results
from asl_exp.study.confirmation import Comparison
from asl_exp.study.progress import Lines
from asl_exp.study.results import Survey


def two_objectives(points: list[tuple[float, float]]) -> Survey:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for point in points:
        study.tell(study.ask(), point)
    return Survey.of(study, ("val/accuracy", "val/loss"))


def test_the_best_comes_first_and_of_equals_the_earlier() -> None:
    seen = survey(told(0.5, 0.9, TrialState.FAIL, 0.9, 0.1))
    assert [trial.number for trial in seen.ranked] == [1, 3, 0, 4]
    assert seen.best is not None
    assert seen.best.number == 1
    assert seen.counted() == "4 finished, 1 failed"


def test_where_less_is_better_the_least_wins() -> None:
    study = optuna.create_study(direction="minimize")
    for value in (0.5, 0.1, 0.9):
        study.tell(study.ask(), value)
    assert [trial.number for trial in Survey.of(study, ["val/loss"]).ranked] == [1, 0, 2]


def test_the_front_is_optunas() -> None:
    seen = survey(mixed(40, two=True))
    theirs = {tuple(trial.values) for trial in seen.study.best_trials}
    assert {tuple(trial.values) for trial in seen.front} == theirs
    assert len(seen.front) > 2


def test_the_balanced_trial_is_nearest_to_both_bests_in_parts_of_the_front() -> None:
    seen = two_objectives([(0.90, 50.0), (0.89, 12.0), (0.50, 10.0), (0.49, 60.0)])
    assert seen.best is not None
    assert seen.best.number == 1
    assert [trial.number for trial in seen.front] == [0, 1, 2]
    assert [trial.number for trial in seen.ranked] == [1, 0, 2, 3]


def test_a_double_is_on_the_front_once() -> None:
    assert [t.number for t in two_objectives([(0.9, 1.0), (0.9, 1.0)]).front] == [0]


@pytest.mark.parametrize("study", [told(), told(TrialState.FAIL), told(TrialState.PRUNED)])
def test_nothing_finished_has_no_best(study: optuna.Study, tmp_path: Path) -> None:
    seen = survey(study)
    assert seen.best is None
    assert results.best_rows(seen) == []
    results.write_csv(seen, tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(seen.trials)


def test_the_csv_has_every_trial_whole(tmp_path: Path) -> None:
    seen = survey(searched(20))
    results.write_csv(seen, tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(20))
    for row, trial in zip(rows, seen.trials, strict=True):
        assert row["state"] == trial.state.name
        assert float(row["lr.transfer"]) == trial.params["lr.transfer"]
        assert row["val/accuracy"] == ("" if trial.values is None else repr(trial.values[0]))
    assert rows[9]["failure"].startswith("the loss is nan")
    assert rows[6]["epochs_reported"] == "1"


def test_a_whole_number_stays_whole_in_the_csv_where_another_trial_has_none(tmp_path: Path) -> None:
    study = optuna.create_study()
    study.tell(study.ask(), state=TrialState.FAIL)
    trial = study.ask()
    trial.suggest_int("data.batch_size", 64, 64)
    study.tell(trial, 0.5)
    results.write_csv(survey(study), tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open() as file:
        assert [row["data.batch_size"] for row in csv.DictReader(file)] == ["", "64"]


def test_the_tables_for_people_have_the_ten_best() -> None:
    seen = survey(searched(40))
    rows = results.best_rows(seen)
    assert len(rows) == 10
    assert rows[0][0] == str(seen.study.best_trial.number)
    text = results.markdown_table(seen)
    assert text.splitlines()[0] == (
        "| trial | val/accuracy | regularization.l2 | regularization.dropout | lr.transfer | time |"
    )
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_a_key_that_a_trial_did_not_have_is_a_dash() -> None:
    seen = survey(mixed(20, two=False))
    place = results.header(seen).index("head.hidden")
    backbones = {row[place] for row in results.best_rows(seen) if "vgg19" not in row}
    assert backbones == {"-"}


def test_reasons_of_failures_are_told_once_each() -> None:
    assert results.troubles(survey(searched(30))) == ["trial 9, 19, 29: the loss is nan at epoch 2"]


def test_a_line_tells_a_trial_as_the_outcome_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Of equal trials one is on the front, a switch is spelled as in YAML, and no secret shows."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    opened: Any = SimpleNamespace(study=study, plan=SimpleNamespace(metrics=("val/f1", "val/loss")))
    lines = Lines(opened)
    for state in (TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL):
        trial = study.ask()
        trial.suggest_categorical("trainer.compile", [True])
        trial.set_user_attr("reason", "no answer from https://me:hunter22@data.org")
        study.tell(trial, (0.9, 1.0) if state == TrialState.COMPLETE else None, state=state)
    lines.show()
    _, second, failed = capsys.readouterr().out.splitlines()
    assert second.startswith("trial 1 | val/f1 0.9000, val/loss 1.0000 | compile=true | 0.0 s")
    assert second.endswith("| 1 on the front")
    assert failed.startswith("trial 2 | failed: no answer from https://***@data.org | compile=true")


def compared(
    winner: dict[int, float], default: dict[int, float] | None, *, falls: bool = False
) -> Comparison:
    metric = "val/loss" if falls else "val/accuracy"
    return Comparison(metric, falls, 7, 0.9, winner, default)


def test_a_difference_is_taken_seed_by_seed() -> None:
    """Seeds that are good for both say nothing of the difference: scipy's paired test agrees."""
    from scipy.stats import ttest_rel

    winner = {1: 0.81, 2: 0.91, 3: 0.70}
    default = {1: 0.80, 2: 0.895, 3: 0.692}
    one = compared(winner, default)
    assert one.difference == pytest.approx(0.011)
    assert one.standard_error == pytest.approx(0.0020817, rel=1e-4)
    test = ttest_rel(list(winner.values()), list(default.values()))
    low, _ = test.confidence_interval(0.95)
    assert one.difference - one.noise() == pytest.approx(low)
    assert one.verdict() == (
        "val/accuracy: winner above default by 0.0110 +/- 0.0021 (standard error, 3 seeds): "
        "above noise"
    )
    assert one.metrics()["confirm/val/accuracy/winner_mean"] == pytest.approx(0.80667, rel=1e-4)


@pytest.mark.parametrize(
    ("one", "end"),
    [
        (compared({1: 0.8, 2: 0.7}, {1: 0.7, 2: 0.8}), "within noise"),
        (compared({1: 0.8, 2: 0.7}, {1: 0.8, 2: 0.7}), "are equal (in 2 of 2 seeds)"),
        (compared({1: 0.70, 2: 0.71, 3: 0.69}, {1: 0.80, 2: 0.81, 3: 0.80}),
         "worse than the default, above noise"),
        (compared({1: 0.2, 2: 0.21, 3: 0.2}, {1: 0.4, 2: 0.4, 3: 0.4}, falls=True), "above noise"),
        (compared({1: 0.8}, {1: 0.7}), "one seed says nothing of the noise; take sweep.confirm=3"),
        (compared({1: 0.8}, None), "the configuration's own values won"),
        (compared({1: 0.8}, {}), "no repetition of the default finished"),
        (compared({}, {1: 0.8}), "no repetition finished"),
        (compared({1: 0.8}, {2: 0.7}), "no seed in common that finished"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_was_found(one: Comparison, end: str) -> None:
    assert one.sentences()[-1].endswith(end)
    assert one.to_dict()["sentences"] == one.sentences()
