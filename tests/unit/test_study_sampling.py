"""The space in Optuna's hands: values, conditions, seeds; and how a dead trial is told."""

import os
import time

import optuna
import pytest
from conftest import OwnSweep
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from asl_exp.config.search_space import parse_parameter
from asl_exp.config.study_plan import Plan, plan_study
from asl_exp.study import heartbeat
from asl_exp.study.heartbeat import HEARTBEAT, PROCESS, StaleTrials, this_process
from asl_exp.study.sampling import NumberedSampler, distribution, make_pruner, suggest

READ = {
    "interval(1,8)": FloatDistribution(1.0, 8.0),
    "int(interval(1,8))": IntDistribution(1, 8),
    "tag(log, interval(1e-6, 1e-2))": FloatDistribution(1e-6, 1e-2, log=True),
    "int(tag(log,interval(1,8)))": IntDistribution(1, 8, log=True),
    "range(1,10,3)": IntDistribution(1, 7, step=3),
    "range(0.1,0.5,0.1)": FloatDistribution(0.1, 0.4, step=0.1),
    "choice(a,b)": CategoricalDistribution(("a", "b")),
    "1,2.5,x": CategoricalDistribution((1, 2.5, "x")),
    "choice([256],[512,256])": CategoricalDistribution(("[256]", "[512,256]")),
}


@pytest.mark.parametrize("text", READ)
def test_values_are_read(text: str) -> None:
    assert distribution(parse_parameter("k", text)) == READ[text]


def test_choices_come_back_as_overrides() -> None:
    lists = parse_parameter("head.hidden", "choice([256],[512,256])")
    assert lists.override("[512,256]") == "head.hidden=[512,256]"
    assert lists.matching([512, 256]) == "[512,256]"
    truths = parse_parameter("trainer.compile", "choice(true,false)")
    assert truths.override(False) == "trainer.compile=False"
    assert truths.matching(0) is None, "0 is not false"
    nothing = parse_parameter("optimizer.clip_norm", "1.0,null")
    assert [nothing.override(value) for value in nothing.choices] == [
        "optimizer.clip_norm=1.0", "optimizer.clip_norm=null",
    ]  # fmt: skip
    assert parse_parameter("lr.transfer", "interval(0,1)").override(1e-05) == "lr.transfer=1e-05"


def asked(plan: Plan, n: int) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=NumberedSampler(plan), pruner=make_pruner(plan))
    points = []
    for _ in range(n):
        trial = study.ask()
        points.append(dict(suggest(trial, plan)))
        study.tell(trial, 0.5)
    return points


CONDITIONAL = """
sweep:
  n_trials: 3
  sampler: {name: random}
  space:
    optimizer.momentum: interval(0.1, 0.9)
    optimizer: choice(nadam, sgd)
  conditions:
    optimizer.momentum: {optimizer: sgd}
"""


def test_a_key_is_sampled_only_where_its_condition_holds(own_sweep: OwnSweep) -> None:
    path = own_sweep(CONDITIONAL)
    points = asked(plan_study(["sweep=mine"], path), 20)
    assert {point["optimizer"] for point in points} == {"nadam", "sgd"}
    for point in points:
        assert ("optimizer.momentum" in point) == (point["optimizer"] == "sgd")
    fixed = plan_study(["sweep=mine", "optimizer=sgd"], path)
    assert all("optimizer.momentum" in point for point in asked(fixed, 5))


NUMBERS = "sweep: {n_trials: 3, space: {lr.transfer: 'interval(1e-3,1e-2)'}, sampler: {name: %s}}"


@pytest.mark.parametrize("name", ["tpe", "random", "cmaes", "nsga2", "gp"])
def test_chance_follows_from_the_seed_and_the_trials_number(name: str, own_sweep: OwnSweep) -> None:
    """So a study that is taken up in another process does not begin its chance anew."""
    path = own_sweep(NUMBERS % name)
    plan = plan_study(["sweep=mine"], path)
    points = asked(plan, 6)
    assert asked(plan, 6) == points
    assert len({point["lr.transfer"] for point in points}) == 6
    other = plan_study(["sweep=mine", "sweep.sampler.seed=1"], path)
    assert asked(other, 6) != points


@pytest.mark.usefixtures("folder")
def test_a_grid_has_every_point_once() -> None:
    points = asked(plan_study(["sweep=learning_rates"]), 9)
    assert len({tuple(sorted(point.items())) for point in points}) == 9


def running(process: dict[str, object] | None, beat: int = 0) -> FrozenTrial:
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    trial.set_user_attr(HEARTBEAT, beat)
    if process is not None:
        trial.set_user_attr(PROCESS, process)
    return trial


def test_a_process_of_this_machine_is_missed_at_once() -> None:
    stale, own = StaleTrials(), this_process()
    assert not stale.includes(running(own))
    assert stale.includes(running({**own, "started": own["started"] - 60})), "the id was reused"
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert stale.includes(running({**own, "pid": child}))
    assert stale.includes(running(None)), "it died before it could say who it was"


def test_a_process_elsewhere_is_missed_when_its_heart_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stale, elsewhere = StaleTrials(), {**this_process(), "machine": "another"}
    now = time.monotonic()
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now)
    assert not stale.includes(running(elsewhere, 1))
    now += heartbeat.GRACE_S - 1
    assert not stale.includes(running(elsewhere, 1))
    assert not stale.includes(running(elsewhere, 2))
    now += heartbeat.GRACE_S - 1
    assert not stale.includes(running(elsewhere, 2))
    now += 2
    assert stale.includes(running(elsewhere, 2))
