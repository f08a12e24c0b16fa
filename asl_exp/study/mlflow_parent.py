"""The MLflow run of a whole study; its trials are that run's children.

There is one in each store, found again by its tags when the study is continued. A study that is
begun anew under an old name is another one: an id kept with Optuna's study tells them apart.
"""

from typing import Any, Final
from uuid import uuid4

from filelock import FileLock
from mlflow.tracking import MlflowClient
from optuna.trial import FrozenTrial

from asl_exp.compat.mlflow import MLFLOW_PARENT_RUN_ID
from asl_exp.config.names import Tag, direction
from asl_exp.config.study_plan import Plan
from asl_exp.replica.login import replica_tag
from asl_exp.study import trial_facts
from asl_exp.study.results import pairs
from asl_exp.study.study import OpenStudy
from asl_exp.tracking.recorder import Begin, Recorder
from asl_exp.tracking.store import experiment_id, open_store
from asl_exp.tracking.store_file import DATABASE

STUDY, CONFIRMATION = "study", "confirmation"
"""Values of Tag.ROLE."""

OBJECTIVE: Final = "objective"
TRIAL_SECONDS: Final = "trial_seconds"


def open_parent(opened: OpenStudy) -> str | None:
    """Return the id of a study's run, made on first use, however many agents ask at once.

    The run is RUNNING from then on. None with tracking=off.
    """
    plan, study_id = opened.plan, _study_id(opened)
    tracking, runs_dir = plan.base.tracking, plan.runs_dir
    if tracking.mode == "off":
        return None
    client, known = open_store(runs_dir), None
    with FileLock(runs_dir / f"{DATABASE}.studies.lock"):
        with Recorder(None, None).spared():
            known = _find(client, experiment_id(client, runs_dir, tracking.experiment), study_id)
        tags = {Tag.STUDY: plan.name, Tag.STUDY_ID: study_id, Tag.ROLE: STUDY}
        begin = Begin(
            runs_dir, tracking.experiment, plan.name, plan.folder,
            {**tags, **replica_tag(tracking)},
        )  # fmt: skip
        recorder = Recorder.open(begin, run_id=known)
        recorder.params(_params(plan))
    return recorder.run_id


def _study_id(opened: OpenStudy) -> str:
    """Return what tells this study from every other, also from one of its name."""
    with opened.store.lock():
        known = opened.study.user_attrs.get(Tag.STUDY_ID)
        if known is None:
            known = uuid4().hex
            opened.study.set_user_attr(Tag.STUDY_ID, known)
    return str(known)


def _find(client: MlflowClient, experiment: str, study_id: str) -> str | None:
    found = client.search_runs(
        [experiment],
        filter_string=f"tags.{Tag.STUDY_ID} = '{study_id}' and tags.{Tag.ROLE} = '{STUDY}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return str(found[0].info.run_id) if found else None


def _params(plan: Plan) -> dict[str, Any]:
    """Return the settings that a study begins with; MLflow lets none of them change."""
    sweep = plan.sweep
    return {
        "sampler": sweep.sampler.name,
        "sampler_seed": sweep.sampler.seed,
        "pruner": sweep.pruner.name,
        **{f"objective/{o.metric}": direction(o) for o in sweep.objectives},
        **{f"space/{parameter.key}": parameter.text for parameter in plan.space},
    }


def child_tags(plan: Plan, parent_id: str | None, trial: str) -> dict[str, str]:
    """Return the tags of a run that belongs to a study."""
    parent = {MLFLOW_PARENT_RUN_ID: parent_id} if parent_id else {}
    return {Tag.STUDY: plan.name, Tag.TRIAL: trial, **parent}


def recorder_of(plan: Plan, run_id: str | None) -> Recorder:
    """Return what writes to a run that was made before; to nothing where there is none."""
    return Recorder.reopen(plan.runs_dir, run_id) if run_id else Recorder(None, None)


def record_trial(plan: Plan, trial: FrozenTrial) -> None:
    """Show a finished trial's values, objective, state and duration in its own MLflow run."""
    recorder = recorder_of(plan, trial_facts.run_id(trial))
    reason = trial_facts.failure(trial)
    recorder.tags(
        {
            Tag.STATE: trial.state.name,
            Tag.TRIAL_VALUES: pairs(trial.params),
            **({Tag.FAILURE: reason} if reason else {}),
        }
    )
    several = len(plan.metrics) > 1
    names = [f"{OBJECTIVE}/{metric}" if several else OBJECTIVE for metric in plan.metrics]
    metrics = dict(zip(names, trial.values or (), strict=False))
    metrics[TRIAL_SECONDS] = trial_facts.seconds(trial) or 0.0
    recorder.metrics(metrics, step=trial.last_step or 0)
