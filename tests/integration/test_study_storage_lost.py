"""A study whose storage is lost while it runs never ends as if all were well."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from asl_exp.config.compose import asks_for_study
from asl_exp.config.errors import RunError
from asl_exp.config.study_plan import plan_study
from asl_exp.study import agent
from asl_exp.study.study import OpenStudy, open_study
from asl_exp.study.trial import Outcome

SWEEP = ("sweep=nadam_l2_dropout", "sweep.n_trials=4", "sweep.pruner.name=none")


def deleted(file: Path) -> None:
    file.unlink()


def folder_deleted(file: Path) -> None:
    shutil.rmtree(file.parent)


def renamed(file: Path) -> None:
    file.rename(file.with_suffix(".old"))


def replaced(file: Path) -> None:
    shutil.copyfile(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)


def begun_anew(file: Path) -> None:
    file.unlink()
    optuna.create_study(study_name="other", storage=f"sqlite:///{file}")


def study_deleted(file: Path) -> None:
    optuna.delete_study(study_name="s", storage=f"sqlite:///{file}")


@pytest.mark.parametrize("when", [1, 4])
@pytest.mark.parametrize(
    "lose", [deleted, folder_deleted, renamed, replaced, begun_anew, study_deleted]
)
def test_a_study_that_lost_its_storage_is_no_success(
    lose: Callable[[Path], None], when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asks_for_study(SWEEP)
    file, tried = tmp_path / "storage" / "studies.db", []

    def trial(opened: OpenStudy, claimed: Any) -> Outcome:
        for parameter in opened.plan.space:
            claimed.suggest_float(parameter.key, 1e-5, 1.0)
        tried.append(claimed.number)
        if len(tried) == when:
            lose(file)
        return Outcome(optuna.trial.TrialState.COMPLETE, [0.5])

    monkeypatch.setattr(agent, "run_trial", trial)
    monkeypatch.setattr(agent, "_require_same_data", lambda _: None)
    monkeypatch.chdir(tmp_path)
    opened = open_study(plan_study([*SWEEP, "sweep.name=s", f"sweep.storage=sqlite:///{file}"]))
    with pytest.raises(RunError, match=r"sweep\.storage: .*deleted"):
        agent.work(opened, "a command", lambda: None)
    assert len(tried) == when, "no trial is tried in vain"


def test_the_same_with_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "study.log"

    def trial(opened: OpenStudy, claimed: Any) -> Outcome:
        file.unlink()
        return Outcome(optuna.trial.TrialState.COMPLETE, [0.5])

    monkeypatch.setattr(agent, "run_trial", trial)
    monkeypatch.setattr(agent, "_require_same_data", lambda _: None)
    monkeypatch.chdir(tmp_path)
    opened = open_study(plan_study([*SWEEP, f"sweep.storage=journal:{file}"]))
    with pytest.raises(RunError, match=r"sweep\.storage: .*deleted"):
        agent.work(opened, "a command", lambda: None)
