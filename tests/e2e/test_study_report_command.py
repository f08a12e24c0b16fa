"""A study from the command line to best.yaml and back."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from processes import ended

from asl_exp.tracking.store import store_uri

pytestmark = pytest.mark.heavy


def test_a_study_ends_with_its_table_its_run_and_a_preset(
    tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    arguments = [
        "--multirun", "sweep=nadam_l2_dropout", *tiny, "sweep.name=s", "sweep.n_trials=3",
        "schedule.transfer.epochs=1", "schedule.finetune.epochs=1",
    ]  # fmt: skip
    done = ended(tmp_path, *arguments, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Best trials of study s" in done.stdout
    assert "Best: trial " in done.stdout
    asked = "python -m asl_exp experiment=runs/s/best.yaml"
    assert asked in done.stdout
    assert (tmp_path / "runs" / "s" / "outcome" / "study.html").is_file()
    client = MlflowClient(store_uri(tmp_path / "runs"))
    (parent,) = client.search_runs(["1"], "tags.role = 'study'")
    assert parent.info.status == "FINISHED"
    condition = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    children = client.search_runs(["1"], condition)
    assert sorted(run.data.tags["trial"] for run in children) == ["0", "1", "2"]
    assert all("objective" in run.data.metrics for run in children)
    again = ended(tmp_path, *asked.split()[3:], tiny[-1], timeout=300)
    assert again.returncode == 0, again.stderr
    (rerun,) = client.search_runs(["1"], "attributes.run_name = 's trial "
                                  f"{parent.data.tags['best_trial']}'")  # fmt: skip
    best = client.get_run(parent.data.tags["best_run"])
    assert rerun.data.tags["signature"] == best.data.tags["signature"]
    assert rerun.data.metrics["val/accuracy"] == parent.data.metrics["objective"]
