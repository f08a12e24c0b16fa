"""A study's outcome after real trials: folder, MLflow runs, confirmation, best.yaml."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import Interrupted
from asl_exp.config.names import Artifact, Tag
from asl_exp.config.study_plan import Plan, plan_study
from asl_exp.runs.result import Result
from asl_exp.study.agent import work
from asl_exp.study.best_preset import experiment
from asl_exp.study.mlflow_parent import open_parent
from asl_exp.study.report import conclude
from asl_exp.study.study import OpenStudy, open_study
from asl_exp.tracking.store import every_run, store_uri
from asl_exp.training.run import run_experiment

pytestmark = pytest.mark.heavy

SHORT = (
    "schedule.transfer.epochs=1",
    "schedule.finetune.epochs=2",
    "lr.finetune=3e-3",
    "schedule.finetune.norm_statistics=trained",
)


def planned(folder: Path, tiny: tuple[str, ...], *overrides: str) -> Plan:
    """Return a study whose winner is sure: the penalty follows the L2, and one is below its own."""
    return plan_study(
        ["sweep=nadam_l2_dropout", *tiny, *SHORT, f"runs_dir={folder}/runs",
         "sweep.objectives=[{metric: train/l2_penalty}]", "sweep.pruner.name=none", *overrides]
    )  # fmt: skip


def studied(plan: Plan, command: str = "one") -> tuple[OpenStudy, str | None]:
    """Run a study's trials and return it with its MLflow run; nothing is concluded."""
    opened = open_study(plan)
    parent = open_parent(opened)
    work(opened, command, parent)
    return opened, parent


@pytest.fixture(scope="module")
def concluded(
    tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]
) -> tuple[OpenStudy, str]:
    """Return a study of four trials, confirmed with two seeds, and the id of its run."""
    plan = planned(tmp_path_factory.mktemp("study"), tiny, "sweep.n_trials=4", "sweep.confirm=2")
    opened, parent = studied(plan)
    assert parent is not None
    conclude(opened, parent, ["sweep=nadam_l2_dropout", "sweep.storage=postgresql://a:secret@b/c"])
    return opened, parent


def client(plan: Plan) -> MlflowClient:
    return MlflowClient(store_uri(plan.runs_dir))


def runs(plan: Plan, condition: str = "") -> list[Run]:
    return list(every_run(client(plan), condition))


def metrics_of(folder: str | Path) -> dict[str, float]:
    result = Result.read(Path(folder))
    assert result is not None
    return result.metrics


def test_the_folder_has_tables_figures_and_the_preset(concluded: tuple[OpenStudy, str]) -> None:
    plan = concluded[0].plan
    names = {path.name for path in (plan.folder / "outcome").iterdir()}
    assert names == {
        "README.md", "confirmation.json", "confirmation.png", "history.png", "importances.png",
        "parallel.png", "slices.png", "study.html", "trials.csv",
    }  # fmt: skip
    table = pd.read_csv(plan.folder / "outcome" / "trials.csv")
    assert list(table["state"]) == ["COMPLETE"] * 4
    for folder, loss in zip(table["run_folder"], table["train/l2_penalty"], strict=True):
        assert metrics_of(folder)["train/l2_penalty"] == loss


def test_the_parent_shows_the_study(concluded: tuple[OpenStudy, str]) -> None:
    opened, parent = concluded
    run, best = client(opened.plan).get_run(parent), opened.study.best_trial
    assert run.info.status == "FINISHED"
    assert run.data.metrics["objective"] == best.value
    assert not {"train/l2_penalty", "val/accuracy"} & run.data.metrics.keys(), "no epoch's metric"
    of_best = metrics_of(best.user_attrs["run_folder"])
    assert run.data.metrics["kept/val/accuracy"] == of_best["val/accuracy"]
    of_run = client(opened.plan).get_metric_history
    steps = {point.step for key in run.data.metrics for point in of_run(parent, key)}
    assert steps == {0}, "no stray point in the curves of runs"
    assert run.data.metrics["n_finished"] == 4
    assert run.data.tags[Tag.BEST_TRIAL] == str(best.number)
    assert run.data.params["objective/train/l2_penalty"] == "minimize"
    assert run.data.params["space/regularization.dropout"] == "interval(0.0, 0.7)"
    note = run.data.tags["mlflow.note.content"]
    assert f"| {best.number} | {best.value:.4f} |" in note
    assert "best.yaml" in note
    assert "--multirun sweep=nadam_l2_dropout sweep.storage=postgresql://***@b/c" in note
    assert "secret" not in note
    assert "secret" not in (opened.plan.folder / "outcome" / "README.md").read_text()
    files = client(opened.plan).list_artifacts(parent)
    assert {file.path for file in files} == {"best.yaml", "outcome"}


def test_the_children_show_their_trials(concluded: tuple[OpenStudy, str]) -> None:
    opened, _ = concluded
    by_trial = {
        run.data.tags[Tag.TRIAL]: run
        for run in runs(opened.plan)
        if Tag.TRIAL in run.data.tags and Tag.ROLE not in run.data.tags
    }
    assert len(by_trial) == 4
    for trial in opened.study.trials:
        run = by_trial[str(trial.number)]
        assert run.data.metrics["objective"] == trial.value
        assert run.data.metrics["trial_seconds"] > 0
        assert run.data.tags[Tag.STATE] == "COMPLETE"
        assert "lr.transfer=" in run.data.tags[Tag.TRIAL_VALUES]
        assert float(run.data.params["lr.transfer"]) == trial.params["lr.transfer"]


def test_the_best_trial_alone_has_its_full_record(concluded: tuple[OpenStudy, str]) -> None:
    opened, _ = concluded
    for trial in opened.study.trials:
        folder = Path(trial.user_attrs["run_folder"])
        best = trial.number == opened.study.best_trial.number
        assert (folder / Artifact.MODEL).exists() == best
        run = client(opened.plan).get_run(trial.user_attrs["mlflow_run_id"])
        assert ("test/accuracy" in run.data.metrics) == best


def test_the_confirmation_is_that_of_runs_with_other_seeds(
    concluded: tuple[OpenStudy, str],
) -> None:
    opened, parent = concluded
    (told,) = json.loads((opened.plan.folder / "outcome" / "confirmation.json").read_text())
    repeated = [run for run in runs(opened.plan) if run.data.tags.get(Tag.ROLE) == "confirmation"]
    assert all(run.data.tags["mlflow.parentRunId"] == parent for run in repeated)
    found: dict[str, dict[str, float]] = {"winner": {}, "default": {}}
    for run in repeated:
        default = run.data.tags[Tag.TRIAL] == "default"
        seed, metrics = run.data.params["seed"], metrics_of(run.data.tags[Tag.RUN_FOLDER])
        found["default" if default else "winner"][seed] = metrics["train/l2_penalty"]
        rate = run.data.params["lr.transfer"]
        best = opened.study.best_trial.params["lr.transfer"]
        assert float(rate) == (1e-3 if default else best)
    assert opened.study.best_trial.number != 0, "the first trial is the default itself"
    for who, metrics_by_seed in found.items():
        assert told[who] == metrics_by_seed
        assert sorted(metrics_by_seed) == ["1", "2"]


def test_a_study_by_the_accuracy_of_all_folds(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    """Each trial trains both folds; a confirmation does, and goes on with what is finished."""
    plan = planned(
        tmp_path, tiny, "data.folds=2", "sweep.objectives=[{metric: folds/accuracy}]",
        "sweep.n_trials=2", "sweep.confirm=1", "schedule.finetune.epochs=0", "data.external=[]",
    )  # fmt: skip
    opened, parent = studied(plan)
    conclude(opened, parent, ["sweep=nadam_l2_dropout"])
    for trial in opened.study.trials:
        folder = Path(trial.user_attrs["run_folder"])
        told = json.loads((folder / "folds.json").read_text())
        answers = [
            pd.read_parquet(folder / fold / "evaluation/test/predictions.parquet") for fold in "12"
        ]
        right = pd.concat(answers)["correct"]
        assert len(right) == told["images"] == 4 * 3 * 4
        assert trial.value == told["scores"]["folds/accuracy"] == right.mean()
        assert told["mlflow_run_id"] == trial.user_attrs["mlflow_run_id"]
        run = client(plan).get_run(told["mlflow_run_id"])
        assert run.data.tags["mlflow.parentRunId"] == parent
        assert run.data.metrics["folds/accuracy"] == trial.value
        of_folds = runs(plan, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
        assert len(of_folds) == 2
        assert not any(Tag.TRIAL in one.data.tags for one in of_folds), "a fold is no trial"
    said = json.loads((plan.folder / "outcome/confirmation.json").read_text())
    assert "folds/accuracy" in json.dumps(said)
    assert (plan.folder / "outcome/trials.csv").is_file()
    (repeated, *_) = (plan.folder / "confirm").iterdir()
    (repeated / "folds.json").unlink()
    (repeated / "folds.json").write_text(json.dumps({"status": "RUNNING"}))  # as a kill leaves it
    before = (repeated / "1/result.json").stat().st_mtime_ns
    conclude(opened, parent, ["sweep=nadam_l2_dropout"])
    assert (repeated / "1/result.json").stat().st_mtime_ns == before
    assert json.loads((repeated / "folds.json").read_text())["status"] == "FINISHED"


def test_what_is_finished_is_not_run_again(concluded: tuple[OpenStudy, str]) -> None:
    opened, parent = concluded
    before = {run.info.run_id: run.info.end_time for run in runs(opened.plan)}
    assert open_parent(opened) == parent
    conclude(opened, parent, ["sweep=nadam_l2_dropout"])
    after = {run.info.run_id: run.info.end_time for run in runs(opened.plan)}
    assert {**after, parent: 0} == {**before, parent: 0}


def test_the_preset_gives_the_best_value_again(
    concluded: tuple[OpenStudy, str], tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    opened, _ = concluded
    cache = next(text for text in tiny if text.startswith("data.cache_dir="))
    config = compose_config(
        [experiment(opened.plan.folder / "best.yaml"), cache, f"runs_dir={tmp_path}"]
    )
    run_experiment(config, tmp_path / "again")
    assert metrics_of(tmp_path / "again")["train/l2_penalty"] == opened.study.best_value


def test_an_interrupted_confirmation_goes_on(
    tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, parent = studied(planned(tmp_path, tiny, "sweep.n_trials=1", "sweep.confirm=2"))
    ran: list[int] = []

    def interrupted_second(config: Any, *arguments: Any, **named: Any) -> float:
        if len(ran) == 1:
            raise Interrupted(130)
        ran.append(config.seed)
        return run_experiment(config, *arguments, **named)

    monkeypatch.setattr("asl_exp.study.trial.run_whole", interrupted_second)
    with pytest.raises(Interrupted):
        conclude(opened, parent, [])
    assert client(opened.plan).get_run(parent).info.status == "KILLED"
    assert (opened.plan.folder / "outcome" / "history.png").exists(), "written before it began"
    ran.append(-1)
    assert open_parent(opened) == parent
    conclude(opened, parent, [])
    assert ran == [1, -1, 2], "the first seed's repetition was finished"
    assert client(opened.plan).get_run(parent).info.status == "FINISHED"
    (told,) = json.loads((opened.plan.folder / "outcome" / "confirmation.json").read_text())
    assert sorted(told["winner"]) == ["1", "2"]
    assert told["sentences"][-1].endswith("the configuration's own values won")


def test_an_interrupted_study_has_an_outcome_too(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    plan = planned(tmp_path, tiny, "sweep.n_trials=4", "sweep.confirm=2")
    opened = open_study(plan)
    parent = open_parent(opened)
    conclude(opened, parent, [], status="KILLED")
    assert client(plan).get_run(parent).info.status == "KILLED"
    told = (plan.folder / "outcome" / "README.md").read_text()
    assert "No trial has finished yet (0 finished)." in told
    assert not (plan.folder / "best.yaml").exists()
    assert not (plan.folder / "confirm").exists()


def test_without_tracking_the_folder_says_all(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    plan = planned(tmp_path, tiny, "sweep.n_trials=2", "tracking=off")
    opened, parent = studied(plan)
    assert parent is None
    conclude(opened, parent, [])
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    assert len(pd.read_csv(plan.folder / "outcome" / "trials.csv")) == 2
    assert (plan.folder / "best.yaml").exists()


def test_another_study_of_the_same_name_has_a_run_of_its_own(
    tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    plan = planned(tmp_path, tiny, "sweep.n_trials=1")
    first = open_parent(open_study(plan))
    (tmp_path / "runs" / "studies.db").rename(tmp_path / "put_away.db")
    for left in (tmp_path / "runs").glob("studies.db-*"):
        left.unlink()
    assert open_parent(open_study(plan)) != first


def test_each_machine_has_the_study_and_its_trials_in_its_own_store(
    tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    """They share the storage alone."""
    shared = ("sweep.name=s", f"sweep.storage=sqlite:///{tmp_path}/studies.db")
    plans = [
        planned(tmp_path / machine, tiny, *shared, f"sweep.n_trials={n_trials}")
        for machine, n_trials in {"one": 1, "other": 2}.items()
    ]
    parents = [open_parent(open_study(plan)) for plan in plans]
    for plan, parent in zip(plans, parents, strict=True):
        work(open_study(plan), f"in {plan.runs_dir}", parent)
        (child,) = runs(plan, f"tags.`{Tag.TRIAL}` != ''")
        assert child.data.tags["mlflow.parentRunId"] == parent


def test_agents_that_start_at_once_share_one_parent(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    plan = planned(tmp_path, tiny, "sweep.n_trials=1")
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: open_parent(open_study(plan)), range(10)))
    assert len(set(found)) == 1
    assert len(runs(plan)) == 1
