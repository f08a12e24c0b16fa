"""best.yaml: a preset that computes exactly what the best trial did."""

import shlex
from typing import Any

import optuna
import pytest
import yaml

from asl_exp.config.compose import compose_config
from asl_exp.config.overrides import quoted_override
from asl_exp.config.signature import signature
from asl_exp.config.study_plan import Plan, plan_study
from asl_exp.study.best_preset import command, experiment, trial_config, write_best
from asl_exp.study.results import Survey
from asl_exp.study.sampling import distribution

pytestmark = pytest.mark.usefixtures("folder")


def studied(plan: Plan, *trials: dict[str, Any], values: list[Any] | None = None) -> Survey:
    """Return a study of these trials, the first one the best."""
    study = optuna.create_study(directions=["maximize"] * len(plan.metrics))
    space = {parameter.key: distribution(parameter) for parameter in plan.space}
    for params, given in zip(trials, values or [[0.9]] * len(trials), strict=True):
        ranges = {key: space[key] for key in params}
        trial = optuna.trial.create_trial(params=params, distributions=ranges, values=given)
        study.add_trial(trial)
    return Survey.of(study, plan.metrics, list(space))


def planned(*overrides: str) -> Plan:
    return plan_study(["sweep=nadam_l2_dropout", *overrides])


NUMBERS = {"regularization.l2": 3.3e-5, "regularization.dropout": 0.1 + 0.2, "lr.transfer": 1 / 300}


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=demo", "seed=7", "data.classes=[A,B,del]", "head.hidden=[32,16]"],
        ["experiment=vgg16_fc", "backbone.pretrained=false", "schedule.finetune.lr=5e-6"],
        ["schedule=gradual", "optimizer.clip_norm=1.5", "data.batch_size=auto"],
        ["backbone.options={drop_path_rate: 0.1}", "name=my name", "tracking=off"],
        ["backbone=vgg19", "trainer.accelerator=cpu", "trainer.deterministic=false"],
    ],
)
def test_it_computes_what_the_trial_did(overrides: list[str]) -> None:
    plan = planned("data=synthetic", *overrides)
    seen = studied(plan, {key: NUMBERS[key] for key in (p.key for p in plan.space)})
    assert write_best(plan, seen) == []
    assert seen.best is not None
    again = compose_config([experiment(plan.folder / "best.yaml")])
    assert signature(again) == signature(trial_config(plan, seen.best))
    assert again.lr.transfer == NUMBERS["lr.transfer"]
    assert again.tracking.mode == "local", "where results are kept is left to whoever runs it"


def test_groups_and_conditions_are_those_of_the_trial() -> None:
    plan = plan_study(
        [
            "sweep=nadam_l2_dropout",
            "sweep.space={schedule: 'choice(two_phase,scratch)', head.hidden: 'choice([],[8,4])', "
            "optimizer: 'choice(adamw,sgd)', optimizer.momentum: 'interval(0.5,0.99)'}",
            "sweep.conditions={optimizer.momentum: {optimizer: sgd}}",
        ]
    )
    hidden = next(p for p in plan.space if p.key == "head.hidden").choices[1]
    chosen = {"schedule": "scratch", "head.hidden": hidden, "optimizer": "sgd"}
    seen = studied(plan, {**chosen, "optimizer.momentum": 0.75})
    assert write_best(plan, seen) == []
    again = compose_config([experiment(plan.folder / "best.yaml")])
    assert (again.optimizer.name, again.optimizer.momentum) == ("sgd", 0.75)
    assert again.head.hidden == [8, 4]
    assert list(again.schedule) == list(compose_config(["schedule=scratch"]).schedule)


def test_it_reads_like_a_preset() -> None:
    plan = planned("experiment=demo")
    write_best(plan, studied(plan, NUMBERS))
    text = (plan.folder / "best.yaml").read_text()
    assert text.startswith("# @package _global_\n# Command   python -m asl_exp experiment=")
    assert "trial 0" in text.splitlines()[2]
    content = yaml.safe_load(text)
    assert {"override /optimizer": "nadam"} in content["defaults"]
    assert not any("experiment" in str(one) or "sweep" in str(one) for one in content["defaults"])
    assert content["regularization"] == {
        "l2": 3.3e-5, "dropout": 0.1 + 0.2, "label_smoothing": 0.1,
    }  # fmt: skip
    assert content["lr"]["transfer"] == 1 / 300
    assert "lr" not in content["schedule"]["transfer"], "it follows lr.transfer by itself"
    assert len(text.splitlines()) < 60


def test_two_objectives_have_a_file_for_each_trial_of_the_front() -> None:
    plan = planned(
        "experiment=demo",
        "sweep.objectives=[{metric: val/accuracy}, {metric: images_per_second}]",
        "sweep.pruner.name=none",
    )
    trials = [{**NUMBERS, "lr.transfer": rate} for rate in (5e-3, 2e-3, 4e-3, 6e-3)]
    seen = studied(plan, *trials, values=[[0.9, 10], [0.8, 90], [0.1, 100], [0.05, 1]])
    (plan.folder).mkdir(parents=True)
    (plan.folder / "best_9.yaml").write_text("of an earlier front")
    assert write_best(plan, seen) == []
    rates = {
        path.name: yaml.safe_load(path.read_text())["lr"]["transfer"]
        for path in plan.folder.glob("best*.yaml")
    }
    assert rates == {
        "best.yaml": 2e-3, "best_0.yaml": 5e-3, "best_1.yaml": 2e-3, "best_2.yaml": 4e-3,
    }  # fmt: skip


def test_without_a_finished_trial_there_is_none() -> None:
    plan = planned("experiment=demo")
    plan.folder.mkdir(parents=True)
    (plan.folder / "best.yaml").write_text("of an earlier study")
    assert write_best(plan, studied(plan)) == []
    assert not (plan.folder / "best.yaml").exists()


def test_a_file_that_does_not_give_the_trial_again_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned("experiment=demo")
    seen = studied(plan, NUMBERS)
    assert seen.best is not None
    other = trial_config(plan, seen.best).model_copy(update={"seed": 99})
    monkeypatch.setattr("asl_exp.study.best_preset._differing", lambda base, wanted: {})
    monkeypatch.setattr("asl_exp.study.best_preset.trial_config", lambda plan, trial: other)
    (fault,) = write_best(plan, seen)
    assert "does not give trial 0 again; it differs in " in fault
    assert "lr.transfer" in fault
    assert "seed" in fault


@pytest.mark.parametrize("runs_dir", ["my runs", "Bob's runs", "50% off, {key}=[a]", "été"])
def test_a_preset_is_found_in_a_folder_of_any_name(runs_dir: str) -> None:
    plan = planned("experiment=demo", quoted_override("runs_dir", runs_dir))
    assert plan.folder.parent.name == runs_dir
    assert write_best(plan, studied(plan, NUMBERS)) == []
    (word,) = shlex.split(command(plan, experiment(plan.folder / "best.yaml")))[3:]
    assert compose_config([word]).lr.transfer == NUMBERS["lr.transfer"]
