"""Studies made in memory with a known function in place of training."""

import math

import optuna
from optuna.trial import TrialState

from asl_exp.study.results import Survey

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPEED = {"mobilenetv2_100": 900.0, "resnet50": 250.0, "vgg19": 90.0}


def accuracy(l2: float, dropout: float, rate: float) -> float:
    """Return what peaks at 1e-4, 0.3 and 1e-3, mostly by the rate."""
    away = (math.log10(l2) + 4) ** 2, (dropout - 0.3) ** 2, (math.log10(rate) + 3) ** 2
    return 0.9 - 0.002 * away[0] - 0.05 * away[1] - 0.1 * away[2]


def searched(n_trials: int) -> optuna.Study:
    """Return a study of three numbers with every seventh trial pruned and one in ten failed."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(n_trials):
        trial = study.ask()
        l2 = trial.suggest_float("regularization.l2", 1e-6, 1e-2, log=True)
        dropout = trial.suggest_float("regularization.dropout", 0.0, 0.7)
        rate = trial.suggest_float("lr.transfer", 1e-4, 1e-2, log=True)
        value = accuracy(l2, dropout, rate)
        trial.report(value - 0.1, 0)
        if number % 7 == 6:
            study.tell(trial, state=TrialState.PRUNED)
        elif number % 10 == 9:
            trial.set_user_attr("reason", "the loss is nan at epoch 2\nand more")
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, value)
    return study


def mixed(n_trials: int, *, two: bool) -> optuna.Study:
    """Return a study of groups, switches, whole numbers, and a key that only VGG has."""
    study = optuna.create_study(
        directions=["maximize", "maximize"] if two else ["maximize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    for _ in range(n_trials):
        trial = study.ask()
        backbone = trial.suggest_categorical("backbone", list(SPEED))
        batch = trial.suggest_int("data.batch_size", 8, 64)
        flip = trial.suggest_categorical("augmentation.on", [True, False])
        if backbone == "vgg19":
            trial.suggest_categorical("head.hidden", ["[4096,4096]", "[256]"])
        value = 0.8 + 0.01 * len(backbone) - 0.001 * batch + 0.02 * flip
        study.tell(trial, [value, SPEED[backbone] + batch] if two else value)
    return study


def told(*values: float | TrialState) -> optuna.Study:
    """Return a study of one key, whose trials came to these values or ended so."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for value in values:
        trial = study.ask()
        trial.suggest_float("lr.transfer", 1e-4, 1e-2, log=True)
        ended = isinstance(value, TrialState)
        study.tell(trial, None if ended else value, state=value if ended else None)
    return study


def survey(study: optuna.Study) -> Survey:
    """Look at a study of val/accuracy, or of that and images_per_second."""
    return Survey.of(study, ("val/accuracy", "images_per_second")[: len(study.directions)])
