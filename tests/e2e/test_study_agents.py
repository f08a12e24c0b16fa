"""Several agents on one study, killed on the way, and several devices for each trial."""

import re
import time
from pathlib import Path

import psutil
import pytest
from optuna.trial import FrozenTrial, Trial
from postgresql import drop_connections
from processes import Forked, kill_all, left
from studies import COUNTED, STUDY, counted, distinct, finish, runs_of, trials_of, watched

from asl_exp.config.study_plan import plan_study
from asl_exp.study.claims import DEATHS, Budget
from asl_exp.study.study import open_study

pytestmark = pytest.mark.heavy


def agents_of(trials: list[FrozenTrial], states: tuple[str, ...]) -> set[int]:
    """Return the processes of the trials in these states."""
    found = [t for t in trials if t.state.name in states and "process" in t.user_attrs]
    return {trial.user_attrs["process"]["pid"] for trial in found}


def test_four_agents_share_a_journal_file(tiny: tuple[str, ...], tmp_path: Path) -> None:
    address = f"journal:{tmp_path}/s.log"
    arguments = (*STUDY, *tiny, f"sweep.storage={address}", "sweep.agents=4")
    said = finish(tmp_path, *arguments, "sweep.n_trials=10")
    assert len(re.findall(r"^trial \d+ \| ", said, re.MULTILINE)) == 10, said
    trials = trials_of(tmp_path, address)
    assert len(trials) == len(counted(trials)) == distinct(trials) == 10
    assert len(agents_of(trials, COUNTED)) > 1
    assert len(runs_of(tmp_path)) == 10


def test_ten_agents_finish_forty_trials_though_two_are_killed(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    arguments = (*STUDY, *tiny, "sweep.agents=10", "sweep.n_trials=40", "sweep.sampler.name=random")
    with Forked(tmp_path, *arguments) as run:
        killed: set[int] = set()

        def busy_once() -> set[int]:
            """Return who is at a trial that is no repetition, which would not be tried again."""
            first = [t for t in watched(tmp_path) if DEATHS not in t.user_attrs]
            return agents_of(first, ("RUNNING",)) - killed - {run.pid}

        for number in (4, 12):
            run.wait_until(lambda number=number: len(counted(watched(tmp_path))) >= number, 240)
            busy = run.wait_until(busy_once, 60)
            victim = min(busy)
            kill_all([psutil.Process(victim)])
            killed.add(victim)
        tree = run.tree()
        assert run.wait(400) == 0, run.text()
        said = run.text()
    assert left(tree, 30) == []
    trials = trials_of(tmp_path)
    assert len(counted(trials)) == 40
    assert distinct(counted(trials)) == 40, "none twice"
    dead = [trial for trial in trials if trial.state.name == "FAIL"]
    assert len(dead) <= 2, "one for each kill that came inside a trial"
    assert all(trial.user_attrs["reason"] == "its process died" for trial in dead)
    assert len(counted(trials)) + len(dead) == len(trials), "nothing runs, nothing waits"
    tried = [trial.params.items() for trial in counted(trials)]
    assert all(any(trial.params.items() <= one for one in tried) for trial in dead), "tried again"
    assert len(re.findall(r"^trial \d+ \| ", said, re.MULTILINE)) == len(trials)


def test_two_commands_share_a_study(tiny: tuple[str, ...], tmp_path: Path) -> None:
    """Each with an agent of its own; neither knows of the other but by the storage."""
    arguments = (*STUDY, *tiny, "sweep.n_trials=5")
    with Forked(tmp_path, *arguments) as first, Forked(tmp_path, *arguments) as second:
        assert first.wait(240) == 0, first.text()
        assert second.wait(240) == 0, second.text()
    trials = trials_of(tmp_path)
    assert len(trials) == len(counted(trials)) == distinct(trials) == 5
    assert len(runs_of(tmp_path, children=False)) == 1, "one parent run"


def test_a_killed_command_takes_its_agents_along(tiny: tuple[str, ...], tmp_path: Path) -> None:
    arguments = (*STUDY, *tiny, "sweep.agents=2", "sweep.n_trials=4")
    with Forked(tmp_path, *arguments, "schedule.transfer.epochs=30000") as run:
        run.wait_until(lambda: len(agents_of(watched(tmp_path), ("RUNNING",))) == 2, 120)
        tree = run.tree()
        kill_all(tree[:1])
        assert left(tree, 30) == []


def test_a_server_that_drops_its_connections_is_asked_again(
    tiny: tuple[str, ...], tmp_path: Path, database: str
) -> None:
    arguments = (*STUDY, *tiny, f"sweep.storage={database}", "sweep.n_trials=4")
    with Forked(tmp_path, *arguments, "schedule.transfer.epochs=10") as run:
        run.wait_for("\ntrial 0 |", 120)
        for _ in range(12):
            drop_connections(database)
            time.sleep(0.3)
        assert run.wait(240) == 0, run.text()
        assert "Traceback" not in run.text()
    trials = trials_of(tmp_path, database)
    assert len(counted(trials)) == 4
    assert all(trial.state.is_finished() for trial in trials)


def test_a_trial_claimed_while_the_lock_was_lost_is_given_back(
    tiny: tuple[str, ...], tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another agent may have counted the trials at the same time: both would run the last one."""
    opened = open_study(
        plan_study(["sweep=nadam_l2_dropout", *tiny, f"sweep.storage={database}",
                    f"runs_dir={tmp_path}", "sweep.n_trials=1"])
    )  # fmt: skip
    ask = opened.study.ask

    def ask_while_dropped() -> Trial:
        trial = ask()
        drop_connections(database)
        return trial

    budget = Budget(opened, "one")
    with monkeypatch.context() as patched:
        patched.setattr(opened.study, "ask", ask_while_dropped)
        assert budget.claim() == "wait"
    again = budget.claim()
    assert isinstance(again, Trial)
    given_back, running = opened.study.get_trials()
    assert given_back.state.name == "FAIL"
    assert given_back.user_attrs["reason"] == "interrupted"
    assert running.number == again.number
    own = given_back.system_attrs["fixed_params"]
    assert own
    assert running.system_attrs["fixed_params"] == own, "what came first still comes first"


def test_each_trial_of_two_devices_has_its_values_on_both(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """The ranks compare the digest of their configurations; one that differs ends the run."""
    finish(tmp_path, *STUDY, *tiny, "trainer.devices=2", "sweep.n_trials=3")
    trials = trials_of(tmp_path)
    assert len(trials) == len(counted(trials)) == distinct(trials) == 3
    runs = {int(run.data.tags["trial"]): run for run in runs_of(tmp_path)}
    assert len(runs) == 3
    for trial in trials:
        assert trial.intermediate_values, "rank 0 reported its epochs"
        params = runs[trial.number].data.params
        assert params["trainer.devices"] == "2"
        for key, value in trial.params.items():
            assert float(params[key]) == value
        signature = runs[trial.number].data.tags["signature"]
        assert runs[trial.number].data.tags["rank_signatures"] == f"{signature} {signature}"
