"""A study's command line: what it comes to, and every fault of it, before Optuna is imported."""

import re
from pathlib import Path

import pytest
from conftest import ROOT, Cli, OwnSweep, faults_of

from asl_exp.config.errors import ConfigError
from asl_exp.config.study_plan import Plan, plan_study

SWEEP = "sweep=nadam_l2_dropout"

pytestmark = pytest.mark.usefixtures("folder")


def space_of(plan: Plan) -> dict[str, str]:
    return {parameter.key: parameter.text for parameter in plan.space}


FAULTS = {
    "unknown metric, the nearest named": (
        ["sweep.objectives=[{metric: val/acuracy}]"],
        "sweep.objectives.0.metric: no metric 'val/acuracy'; did you mean 'val/accuracy'?",
    ),
    "unknown score": (
        ["sweep.objectives=[{metric: test/loss}]", "sweep.pruner.name=none"],
        "sweep.objectives.0.metric: no metric 'test/loss'",
    ),
    "one metric twice": (
        ["sweep.objectives=[{metric: val/loss},{metric: val/loss}]", "sweep.pruner.name=none"],
        "sweep.objectives: val/loss is given twice",
    ),
    "direction": (
        ["sweep.objectives=[{metric: val/loss, direction: up}]"],
        "sweep.objectives.0.direction: got 'up'; must be 'minimize' or 'maximize'",
    ),
    "no trials": (["sweep.n_trials=0"], "sweep.n_trials: got 0; must be greater than or equal"),
    "trials left open": (["sweep.n_trials=null"], "sweep.n_trials: is missing"),
    "unknown sampler": (["sweep.sampler.name=bayes"], "sweep.sampler.name: got 'bayes'; must be"),
    "unknown key": (
        ["sweep.sampler.nam=tpe"],
        "sweep.sampler.nam: unknown key; did you mean 'sweep.sampler.name'?",
    ),
    "name": (["sweep.name=a/b"], "sweep.name: got 'a/b'"),
    "upside down": (
        ["lr.transfer=interval(2,1)"],
        "lr.transfer: interval(2,1): the range is upside down or empty",
    ),
    "log of zero": (
        ["regularization.l2=tag(log,interval(0,1))"],
        "regularization.l2: tag(log,interval(0,1)): the logarithm of 0 does not exist",
    ),
    "empty range": (["lr.transfer=range(1,1)"], "lr.transfer: range(1,1): the range is upside"),
    "another tag": (["lr.transfer=tag(x,interval(1,2))"], "the only tag is log"),
    "glob": (["optimizer=glob(*)"], "optimizer=glob(*): a study has no grid beside it"),
    "beyond what the key allows": (
        ["regularization.dropout=interval(0,1.5)"],
        "regularization.dropout: got 1.5; must be less than 1",
    ),
    "grid without an end": (
        ["sweep.sampler.name=grid"],
        "sweep.space.lr.transfer: tag(log, interval(1e-4, 1e-2)) has no end of values",
    ),
    "nothing left": (
        ["regularization.l2=1e-4", "regularization.dropout=0.3", "lr.transfer=1e-3"],
        "sweep.space: nothing is left to search",
    ),
    "a grid beside it": (["seed=1,2"], "seed=1,2: a study has no grid beside it"),
    "an interval beside it": (["lr.finetune=interval(1e-5,1e-4)"], "'lr.finetune' is not in its"),
    "pruner with two objectives": (
        ["sweep.objectives=[{metric: val/loss},{metric: images_per_second}]"],
        "sweep.pruner.name: median compares trials by one metric, but there are two objectives",
    ),
    "pruner with a score of the end": (
        ["sweep.objectives=[{metric: test/accuracy}]"],
        "sweep.pruner.name: median compares trials after every epoch, but test/accuracy is known",
    ),
    "folds that are not asked for": (
        ["sweep.objectives=[{metric: folds/accuracy}]", "sweep.pruner.name=none"],
        "sweep.objectives.0.metric: folds/accuracy is of all folds together, but no folds are",
    ),
    "folds, but the objective of one run": (
        ["data.folds=2"],
        "sweep.objectives.0.metric: val/accuracy is of one run, but data.folds=2 makes a trial of",
    ),
    "a score that folds do not have": (
        ["data.folds=2", "sweep.objectives=[{metric: folds/acuracy}]", "sweep.pruner.name=none"],
        "no metric 'folds/acuracy'; did you mean 'folds/accuracy'?",
    ),
    "cmaes with two objectives": (
        [
            "sweep.objectives=[{metric: val/loss},{metric: images_per_second}]",
            "sweep.pruner.name=none",
            "sweep.sampler.name=cmaes",
        ],
        "sweep.sampler.name: cmaes knows one objective",
    ),
    "storage": (
        ["sweep.storage=mysql://me:secret@db/x"],
        "sweep.storage: cannot store a study in 'mysql://***@db/x'",
    ),
    "first trial, unknown key": (
        ["sweep.first=[{lr.transfr: 1e-3}]"],
        "sweep.first.0: 'lr.transfr' is not searched; did you mean 'lr.transfer'?",
    ),
    "first trial, out of range": (
        ["sweep.first=[{lr.transfer: 5}]"],
        "sweep.first.0: lr.transfer is never 5; its values are tag(log, interval(1e-4, 1e-2))",
    ),
    "condition on nothing": (
        ["sweep.conditions={lr.finetune: {optimizer: sgd}}"],
        "sweep.conditions.lr.finetune: is no key of the space",
    ),
    "condition that never holds": (
        ["sweep.conditions={lr.transfer: {regularization.dropout: 2}}"],
        "sweep.conditions.lr.transfer: regularization.dropout is never 2",
    ),
    "resume": (["resume=true"], "resume: a study goes on where it was left by itself"),
    "several machines": (
        ["trainer.num_nodes=2", "trainer.rendezvous=a:1", "trainer.accelerator=cpu"],
        "trainer.num_nodes: a trial runs on one machine, got 2",
    ),
    "the experiment's own fault": (["lr.finetune=-1"], "lr.finetune: got -1"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told(name: str) -> None:
    overrides, told = FAULTS[name]
    faults = faults_of(SWEEP, *overrides, multirun=True)
    assert any(told in fault for fault in faults), faults


def test_all_faults_are_told_at_once() -> None:
    words = (SWEEP, "lr.transfer=interval(2,1)", "lr.finetune=-1", "sweep.n_trials=0")
    faults = faults_of(*words, multirun=True)
    assert [fault.partition(":")[0] for fault in faults] == [
        "sweep.n_trials", "lr.transfer", "lr.finetune",
    ]  # fmt: skip


def test_a_study_needs_multirun() -> None:
    assert faults_of(SWEEP) == [f"{SWEEP}: a study has many runs; add --multirun"]


OWN = {
    "unknown key of the space": (
        "regularization.dropuot: 'interval(0,1)'",
        "sweep.space.regularization.dropuot: unknown key; did you mean 'regularization.dropout'?",
    ),
    "a key of the machine": (
        "trainer.devices: 'choice(1,2)'",
        "sweep.space.trainer.devices: changes where or how fast a run goes",
    ),
    "unknown choice of a group": (
        "optimizer: 'choice(nadam,nadm)'",
        "optimizer=nadm: no such choice",
    ),
    "unreadable": ("lr.transfer: 'interval(1'", "sweep.space.lr.transfer: 'interval(1' cannot be"),
    "real for whole": ("data.batch_size: 'interval(8,64)'", "write int(interval(8,64))"),
    "value twice": ("optimizer: 'choice(sgd,sgd)'", "a value is listed twice"),
    "tagged choice": ("optimizer: 'tag(log,choice(sgd,nadam))'", "only an interval can be tagged"),
}


@pytest.mark.parametrize("name", OWN)
def test_a_fault_of_a_users_own_space_is_told(name: str, own_sweep: OwnSweep) -> None:
    line, told = OWN[name]
    path = own_sweep(f"sweep: {{n_trials: 3, space: {{{line}}}}}")
    with pytest.raises(ConfigError, match=re.escape(told)):
        plan_study(["sweep=mine"], path)


def test_a_group_whose_choices_change_nothing_is_refused(own_sweep: OwnSweep) -> None:
    """The demo sets the backbone's keys itself, so no choice of the group would be tried."""
    path = own_sweep("sweep: {n_trials: 3, space: {backbone: 'choice(vgg16,vgg19)'}}")
    plan_study(["sweep=mine"], path)
    with pytest.raises(ConfigError, match="vgg16 and vgg19 come to the same experiment"):
        plan_study(["sweep=mine", "experiment=demo"], path)


def test_conditions_in_a_circle_are_refused(own_sweep: OwnSweep) -> None:
    path = own_sweep(
        "sweep:\n  n_trials: 3\n"
        "  space: {seed: 'choice(1,2)', data.split_seed: 'choice(1,2)'}\n"
        "  conditions: {seed: {data.split_seed: 1}, data.split_seed: {seed: 1}}\n",
    )
    with pytest.raises(ConfigError, match=r"sweep\.conditions: go in a circle"):
        plan_study(["sweep=mine"], path)


def test_a_grid_of_more_trials_than_points_is_refused() -> None:
    (fault,) = faults_of("sweep=learning_rates", "sweep.n_trials=10", multirun=True)
    assert fault.startswith("sweep.n_trials: got 10, but the grid has 9 points")


def test_the_command_line_narrows_and_fixes() -> None:
    plan = plan_study(
        [SWEEP, "lr.transfer=interval(1e-3,2e-3)", "regularization.l2=1e-3", "seed=4"]
    )
    assert space_of(plan) == {
        "regularization.dropout": "interval(0.0, 0.7)",
        "lr.transfer": "interval(1e-3,2e-3)",
    }
    assert plan.overrides == (SWEEP, "regularization.l2=1e-3", "seed=4")
    assert plan.base.regularization.l2 == 1e-3
    assert space_of(plan_study(["sweep=backbones", "backbone=vgg16,vgg19"]))["backbone"] == (
        "vgg16,vgg19"
    )


def test_the_first_trial_is_the_configurations_own() -> None:
    plan = plan_study([SWEEP, "experiment=demo", "regularization.dropout=interval(0.2,0.3)"])
    assert plan.name == "nadam_l2_dropout-demo"
    # dropout 0.1 and l2 0.0 are the demo's and out of the space: left open
    assert plan.first() == [{"lr.transfer": 4e-3}]
    assert plan_study(["sweep=learning_rates"]).first() == [], "a grid has that point itself"


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "sweeps").glob("*.yaml")))
def test_every_sweep_is_sound(name: str) -> None:
    plan = plan_study([f"sweep={name}"])
    assert plan.name == f"{name}-efficientnet_b0"
    head = (ROOT / "sweeps" / f"{name}.yaml").read_text()
    assert f"python -m asl_exp --multirun sweep={name}" in head
    assert all(word in head for word in ("# Command ", "# Searches ", "# Expected ", "# Measured "))


def test_a_fault_comes_before_optuna_is_imported(cli: Cli, tmp_path: Path) -> None:
    done = cli("--multirun", SWEEP, "sweep.n_trials=0", options=("-X", "importtime"))
    assert done.returncode == 2
    assert "sweep.n_trials: got 0" in done.stderr
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "hydra" in loaded
    assert not loaded & {"torch", "optuna", "mlflow", "timm", "pandas"}
    assert not list(tmp_path.iterdir())
