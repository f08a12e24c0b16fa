"""A signal is not lost where a study writes to its storage, and no trial is."""

import os
import pkgutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import OwnSweep

from asl_exp.config.errors import Interrupted
from asl_exp.config.process_setup import raise_interrupts
from asl_exp.config.study_plan import plan_study
from asl_exp.study import agent, claims
from asl_exp.study.claims import Outcome
from asl_exp.study.storage import open_store
from asl_exp.study.study import OpenStudy, open_study


@pytest.fixture
def raising() -> Iterator[None]:
    """Raise SIGTERM as commands do."""
    before = signal.getsignal(signal.SIGTERM)
    raise_interrupts(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("url", "moment"),
    [
        ("sqlite:///studies.db", "sqlalchemy.engine.default.DefaultDialect.do_execute"),
        ("sqlite:///studies.db", "sqlalchemy.orm.session.SessionTransaction.close"),
        ("journal:studies.log", "asl_exp.study.storage._Journal.append_logs"),
    ],
)
def test_a_signal_inside_a_call_comes_after_it(
    url: str, moment: str, folder: Path, monkeypatch: pytest.MonkeyPatch, raising: None
) -> None:
    """Within a transaction SQLAlchemy makes another error of it, which is waited out as a loss."""
    store = open_store(url)
    trial = optuna.create_study(storage=store.storage).ask()
    home, _, name = moment.rpartition(".")
    kind: Any = pkgutil.resolve_name(home)
    inside = getattr(kind, name)

    def interrupted(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(kind, name, inside)
        os.kill(os.getpid(), signal.SIGTERM)
        return inside(*given, **more)

    monkeypatch.setattr(kind, name, interrupted)
    with pytest.raises(Interrupted):
        store.at_once.set_trial_intermediate_value(trial._trial_id, 0, 0.5)
    assert store.storage.get_trial(trial._trial_id).intermediate_values == {0: 0.5}


GRID = 'sweep: {sampler: {name: grid}, space: {regularization.l2: "choice(1e-4,1e-3)"}}'


@pytest.mark.parametrize("died", [False, True], ids=["interrupted", "died"])
def test_a_trial_is_tried_again_though_it_could_not_be_put_in_line(
    died: bool, own_sweep: OwnSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever told that it ended was cut off before it could do more: here every grid point counts.

    A process that died is one whose trial another process gives up, and is cut off itself then.
    """
    tried = []

    def trial(opened: OpenStudy, claimed: Any, _: Any) -> Outcome:
        (parameter,) = opened.plan.space
        tried.append(claimed.suggest_categorical(parameter.key, parameter.choices))
        if len(tried) == 1:
            raise KeyboardInterrupt if died else Interrupted(143)
        return Outcome(optuna.trial.TrialState.COMPLETE, [0.5])

    def cut_off(*_: Any, **__: Any) -> None:
        raise optuna.exceptions.StorageInternalError

    monkeypatch.setattr(agent, "run_trial", trial)
    monkeypatch.setattr(agent, "_require_same_data", lambda _: None)
    monkeypatch.setattr(claims.StaleTrials, "includes", lambda *_: True)
    plan = plan_study(["sweep=mine"], own_sweep(GRID))
    with monkeypatch.context() as ending:
        ending.setattr(optuna.Study, "enqueue_trial", cut_off)
        with pytest.raises((optuna.exceptions.StorageInternalError, KeyboardInterrupt)):
            agent.work(open_study(plan), "a command")
        if died:
            with pytest.raises(optuna.exceptions.StorageInternalError):
                agent.work(open_study(plan), "another")
    assert len(tried) == 1

    agent.work(open_study(plan), "the same again")
    assert sorted(tried[1:]) == [1e-4, 1e-3]
    ended = open_study(plan).study.get_trials()
    assert [trial.state.name for trial in ended].count("COMPLETE") == len(ended) - 1 == 2
