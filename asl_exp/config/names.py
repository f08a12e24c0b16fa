"""The spelling of every metric, tag and artifact that a run leaves behind.

Reports, studies and the MLflow UI find results by these names, so they are written here once, with
which metrics a study may optimise and which way is better. The step of every metric is the epoch
counted across phases, from 0.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from asl_exp.config.errors import nearest
from asl_exp.config.study_schema import Direction, Objective

TRAIN_LOSS: Final = "train/loss"
TRAIN_ACCURACY: Final = "train/accuracy"
TRAIN_L2_PENALTY: Final = "train/l2_penalty"
VAL_LOSS: Final = "val/loss"
VAL_ACCURACY: Final = "val/accuracy"
VAL_F1_MACRO: Final = "val/f1_macro"
LEARNING_RATE: Final = "lr"
IMAGES_PER_SECOND: Final = "images_per_second"

PHASE: Final = "phase"
"""Which phase an epoch was of, from 0: beside other curves it shows where the next one began."""

KEPT: Final = "kept/"
"""Before val/...: its value for the kept checkpoint; MLflow shows the last epoch's as the run's."""

EPOCH_METRICS: Final = (
    TRAIN_LOSS,
    TRAIN_ACCURACY,
    TRAIN_L2_PENALTY,
    VAL_LOSS,
    VAL_ACCURACY,
    VAL_F1_MACRO,
    LEARNING_RATE,
    IMAGES_PER_SECOND,
)

SCORES: Final = ("accuracy", "f1_macro", "ece", "brier", "log_loss")

FOLDS: Final = "folds"
"""Instead of a split's name: the answers of all folds together; ``folds/mean`` is the mean of their
accuracies, ``folds/spread`` its standard deviation."""

HANDS_FOUND: Final = "hands_found"
"""Beside the scores of a set, where hands are looked for: the share of images that show one."""

RISK_COVERAGE_AREA: Final = "risk_coverage_area"
ACCURACY_SUREST: Final = "accuracy_surest_80"
"""Beside them as well: the mean error over all shares of images answered, the surest first, and the
accuracy of the 80 % surest answers."""


EXTERNAL: Final = "external"
"""Instead of a split's name: the mean over all external sets, each counted once."""


def score_key(split: str, score: str) -> str:
    """Return ``test/accuracy`` or ``external/<set>/accuracy``: the kept checkpoint's score."""
    return f"{split}/{score}"


def external_means(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return ``external/accuracy`` and so on: the mean over all external sets, where there are any.

    One key whatever the sets are called, so that runs with different sets stand in one column.
    """
    means = {}
    for score in SCORES:
        values = scores_of_sets(metrics, score_key(EXTERNAL, score)).values()
        if values:
            means[score_key(EXTERNAL, score)] = sum(values) / len(values)
    return means


def scores_of_sets(metrics: Mapping[str, float], mean: str) -> dict[str, float]:
    """Return the scores that ``external/accuracy`` is the mean of, by their keys."""
    of_set = re.compile(rf"{EXTERNAL}/.+/{mean.rpartition('/')[2]}")
    return {key: value for key, value in metrics.items() if of_set.fullmatch(key)}


_NO_NAME: Final = re.compile(r"\s*[^\w.\- ]+\s*")
_LONGEST: Final = 100
"""Bytes of a name within a metric's key (250 characters in MLflow) and a file's (255 bytes)."""


def record_name(given: str) -> str:
    """Return a name that MLflow's metrics, old servers and folders take; most stay as they are.

    What they do not take becomes ``_``. A name that would lead to another folder, is hidden or is
    too long becomes one that is not.
    """
    text = unicodedata.normalize("NFC", given)
    plain = _NO_NAME.sub("_", text)
    if plain != text or not plain or plain.startswith((".", " ")) or plain.endswith((".", " ")):
        plain = plain.strip("._ ") or f"set-{_mark(given)}"
    if len(plain.encode()) > _LONGEST:
        cut = plain.encode()[: _LONGEST - 9].decode(errors="ignore").strip("._ ")
        plain = f"{cut}-{_mark(given)}"
    return plain


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]


def network_word(hand_mode: str, backbone: str) -> str:
    """Return what a network is called: the backbone, and what it sees of the hand."""
    if hand_mode == "joints":
        return "joints"
    return backbone if hand_mode == "none" else f"{backbone}+{hand_mode}"


class Tag:
    """Tags of an MLflow run."""

    SIGNATURE: Final = "signature"
    RANK_SIGNATURES: Final = "rank_signatures"
    PHASE: Final = "phase"
    PHASE_BOUNDARIES: Final = "phase_boundaries"
    KEPT_EPOCHS: Final = "kept_epochs"
    STORED_VIEWS: Final = "stored_views"
    STUDY: Final = "study"
    TRIAL: Final = "trial"
    STATE: Final = "trial_state"
    TRIAL_VALUES: Final = "trial_values"
    ROLE: Final = "role"
    STUDY_ID: Final = "study_id"
    N_TRIALS: Final = "n_trials"
    BEST_TRIAL: Final = "best_trial"
    BEST_RUN: Final = "best_run"
    GIT_COMMIT: Final = "git_commit"
    DATA_DIGEST: Final = "data_digest"
    WEIGHTS_DIGEST: Final = "weights_digest"
    WEIGHTS_SOURCE: Final = "weights_source"
    WEIGHTS_LOADED: Final = "weights_loaded"
    PRETRAINED: Final = "pretrained"
    SPLIT: Final = "split"
    SPLIT_LEAKS: Final = "split_leaks"
    CAUTION: Final = "caution"
    RUN_FOLDER: Final = "run_folder"
    BATCH_SIZE: Final = "batch_size"
    CHANGED: Final = "changed"
    EXTENDED: Final = "extended"
    REGISTERED: Final = "registered_model"
    FAILURE: Final = "failure"
    LAST_EPOCH: Final = "last_epoch"
    REPLICA: Final = "replica"
    LOCAL_RUN: Final = "local_run"


class Artifact:
    """Paths inside a run folder, and inside the MLflow run's artifacts."""

    CONFIG: Final = "config"
    CHECKPOINTS: Final = "checkpoints"
    MODEL: Final = "model"
    EVALUATION: Final = "evaluation"
    ENVIRONMENT: Final = "environment"
    LEARNING_CURVES: Final = "learning_curves.png"
    EPOCHS: Final = "epochs.csv"
    RESULT: Final = "result.json"
    PROFILE: Final = "profile.txt"


_SCORE = re.compile(rf"^(test|external|external/[^/].*|{FOLDS})/({'|'.join(SCORES)})$")
_FOLDS_MEAN = f"{FOLDS}/mean"
_FALLING = ("loss", "l2_penalty", "ece", "brier", "log_loss")

EVERY_EPOCH = tuple(key for key in EPOCH_METRICS if key != LEARNING_RATE)


def metric_fault(metric: str) -> str | None:
    """Return what is wrong with a metric key, or None where a run will have it."""
    if metric in EVERY_EPOCH or metric == _FOLDS_MEAN or _SCORE.match(metric):
        return None
    return (
        f"no metric '{metric}'{nearest(metric, _known())}; allowed: {', '.join(_known())} "
        "(<set>: the name of an external set)"
    )


def _known() -> Iterator[str]:
    yield from EVERY_EPOCH
    for split in ("test", EXTERNAL, "external/<set>", FOLDS):
        yield from (score_key(split, score) for score in SCORES)
    yield _FOLDS_MEAN


def falls(metric: str) -> bool:
    """Tell whether less of a metric is better."""
    return metric.rpartition("/")[2] in _FALLING


def direction(objective: Objective) -> Direction:
    """Return which way is better: as given, else by what the metric is."""
    return objective.direction or ("minimize" if falls(objective.metric) else "maximize")


def is_of_folds(metric: str) -> bool:
    """Return whether a metric is of all folds together."""
    return metric.startswith(f"{FOLDS}/")


def needs_scores(objectives: list[Objective]) -> bool:
    """Return whether trials must be scored on the test or external images."""
    return any(objective.metric not in EVERY_EPOCH for objective in objectives)
