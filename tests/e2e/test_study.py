"""Studies from the command line: repeated, extended, changed, killed, interrupted, pruned."""

import os
import signal
import sqlite3
from pathlib import Path

import optuna
import pytest
from made_images import picture, save
from processes import Command, Forked, changed_when_loaded, left
from studies import STUDY, counted, distinct, finish, runs_of, trials_of, watched

pytestmark = pytest.mark.heavy


def test_a_study_goes_on_where_it_was_left(tiny: tuple[str, ...], tmp_path: Path) -> None:
    """Six trials, nothing new when repeated, eight when extended; other questions are refused."""
    arguments = (*STUDY, *tiny)
    said = finish(tmp_path, *arguments, "sweep.n_trials=6")
    trials = trials_of(tmp_path)
    assert len(trials) == len(counted(trials)) == distinct(trials) == 6
    own = {"regularization.l2": 1e-4, "regularization.dropout": 0.3, "lr.transfer": 1e-3}
    assert trials[0].params == own, "the configuration's own values come first"
    assert said.count("\ntrial ") == 6
    assert "best " in said
    runs = runs_of(tmp_path)
    assert sorted(run.data.tags["trial"] for run in runs) == [str(n) for n in range(6)]
    for run in runs:
        trial = trials[int(run.data.tags["trial"])]
        assert float(run.data.params["lr.transfer"]) == trial.params["lr.transfer"]
        assert run.data.metrics["val/accuracy"] == trial.value
        assert run.data.tags["study"] == "s"
        folder = Path(run.data.tags["run_folder"])
        assert folder.parent == (tmp_path / "runs" / "s").resolve()
        assert folder.name == f"{trial.number}_asl_small_cnn"

    said = finish(tmp_path, *arguments, "sweep.n_trials=6")
    assert "\ntrial " not in said
    assert len(trials_of(tmp_path)) == 6

    said = finish(tmp_path, *arguments, "sweep.n_trials=8")
    assert len(trials_of(tmp_path)) == 8
    assert distinct(trials_of(tmp_path)) == 8, "a seeded sampler does not repeat itself"
    assert said.count("\ntrial ") == 2

    for changed, told in {
        "lr.transfer=interval(1e-3,2e-3)": "sweep.space.lr.transfer: it has tag(log,interval(1e-4,"
        "1e-2)), given is interval(1e-3,2e-3)\n  sweep.space.lr.transfer: choices, whole numbers",
        "data.batch_size=4": "data.batch_size: it has 8, given is 4",
        "sweep.objectives=[{metric: val/loss}]": "sweep.objectives.val/loss: it has nothing",
    }.items():
        said = finish(tmp_path, *arguments, "sweep.n_trials=9", changed, status=2)
        assert told in said
        assert "sweep.name=NAME" in said
        assert len(trials_of(tmp_path)) == 8
    narrower = "regularization.dropout=interval(0.1,0.2)"
    finish(tmp_path, *arguments, "sweep.n_trials=9", narrower, "sweep.extend=true")
    assert 0.1 <= trials_of(tmp_path)[8].params["regularization.dropout"] <= 0.2


def test_a_study_ends_with_its_table_its_run_and_a_preset(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    arguments = (*STUDY, *tiny, "sweep.n_trials=3", "schedule.finetune.epochs=1")
    said = finish(tmp_path, *arguments)
    assert "Best trials of study s" in said
    assert "Best: trial " in said
    again = "python -m asl_exp experiment=runs/s/best.yaml"
    assert again in said
    assert (tmp_path / "runs" / "s" / "outcome" / "study.html").is_file()
    (parent,), children = runs_of(tmp_path, children=False), runs_of(tmp_path)
    assert parent.data.tags["role"] == "study"
    assert parent.info.status == "FINISHED"
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children)
    assert sorted(run.data.tags["trial"] for run in children) == ["0", "1", "2"]
    assert all("objective" in run.data.metrics for run in children)
    finish(tmp_path, *again.split()[3:], tiny[-1])
    (rerun,) = (run for run in runs_of(tmp_path, children=False) if "role" not in run.data.tags)
    assert rerun.info.run_name == f"s trial {parent.data.tags['best_trial']}"
    (best,) = (run for run in children if run.info.run_id == parent.data.tags["best_run"])
    assert rerun.data.tags["signature"] == best.data.tags["signature"]
    assert rerun.data.metrics["val/accuracy"] == parent.data.metrics["objective"]


def test_other_images_are_refused(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    """The settings stay, the files behind them change."""
    photos = tmp_path / "photos"
    for letter in "ABC":
        for number in range(8):
            save(picture(number + 100 * ord(letter)), photos / letter / f"{number}.png")
    own = [o for o in tiny if not o.startswith(("data.synthetic", "data.classes"))]
    arguments = (
        *STUDY, *own, "data=folder", f"data.root={photos}", "data.split=random",
        "data.cache_dir=cache",
    )  # fmt: skip
    finish(tmp_path, *arguments, "sweep.n_trials=1")
    save(picture(9), photos / "A" / "9.png")
    said = finish(tmp_path, *arguments, "sweep.n_trials=2", status=2)
    assert "data: study 's' began with other images" in said
    assert len(trials_of(tmp_path)) == 1
    finish(tmp_path, *arguments, "sweep.n_trials=2", "sweep.extend=true")
    assert len(counted(trials_of(tmp_path))) == 2


def test_killed_halfway_and_repeated(tiny: tuple[str, ...], tmp_path: Path) -> None:
    arguments = (*STUDY, *tiny, "sweep.n_trials=6")
    with Forked(tmp_path, *arguments, "schedule.transfer.epochs=20") as run:
        run.wait_until(lambda: len(counted(watched(tmp_path))) >= 2, 120)
        run.wait_until(lambda: any(t.intermediate_values for t in watched(tmp_path)
                                   if t.state.name == "RUNNING"), 60)  # fmt: skip
        run.kill()
        run.wait(30)
    finish(tmp_path, *arguments, "schedule.transfer.epochs=20")
    trials = trials_of(tmp_path)
    assert len(counted(trials)) == 6
    (dead,) = [trial for trial in trials if trial.state.name == "FAIL"]
    assert dead.user_attrs["reason"] == "its process died"
    again = [trial for trial in counted(trials) if trial.params == dead.params]
    assert len(again) == 1, "it was tried again, once"
    assert distinct(counted(trials)) == 6
    assert all(trial.state.is_finished() for trial in trials)
    (closed,) = [run for run in runs_of(tmp_path) if run.data.tags["trial"] == str(dead.number)]
    assert closed.info.status == "KILLED", "the study closes it"
    assert closed.data.tags["trial_state"] == "FAIL"


@pytest.mark.parametrize(
    ("agents", "sent", "status"), [(1, signal.SIGINT, 130), (2, signal.SIGTERM, 143)]
)
def test_an_interrupt_says_how_to_continue(
    tiny: tuple[str, ...], tmp_path: Path, agents: int, sent: signal.Signals, status: int
) -> None:
    arguments = (*STUDY, *tiny, "sweep.n_trials=3", f"sweep.agents={agents}",
                 "schedule.transfer.epochs=20000")  # fmt: skip
    with Forked(tmp_path, *arguments) as run:
        run.wait_until(
            lambda: sum(bool(t.intermediate_values) for t in watched(tmp_path)) == agents, 120
        )
        tree = run.tree()
        os.kill(run.pid, sent)
        assert run.wait(90) == status, run.text()
        said = run.text()
    assert left(tree, 30) == []
    assert "the same command continues study s" in said
    assert "Traceback" not in said
    trials = trials_of(tmp_path)
    interrupted = [t for t in trials if t.user_attrs.get("reason") == "interrupted"]
    waiting = [t for t in trials if t.state.name == "WAITING"]
    assert len(interrupted) == agents
    own = [t.system_attrs["fixed_params"] for t in waiting]
    assert all(trial.params in own for trial in interrupted), f"not in line again:\n{said}"
    assert counted(trials) == []
    assert {run.info.status for run in runs_of(tmp_path)} == {"KILLED"}


def test_an_interrupt_while_the_study_begins_leaves_no_run_running(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """The signal comes while the store makes the study's own run."""
    change = """
def change(recorder):
    import os, signal
    open_store, sent = recorder.open_store, []
    def once_interrupted(*given):
        if not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        return open_store(*given)
    recorder.open_store = once_interrupted
"""
    path = [changed_when_loaded(tmp_path / "changed", "asl_exp.tracking.recorder", change)]
    arguments = (*STUDY, *tiny, "sweep.n_trials=1")
    said = finish(tmp_path, *arguments, status=143, kind=Command, python_path=path)
    assert "the same command continues study s" in said
    assert runs_of(tmp_path) == []
    (parent,) = runs_of(tmp_path, children=False)
    assert parent.data.tags["role"] == "study"
    assert parent.info.status == "KILLED"


def test_poor_trials_end_early(tiny: tuple[str, ...], tmp_path: Path) -> None:
    said = finish(
        tmp_path, *STUDY, *tiny, "sweep.n_trials=8", "sweep.objectives=[{metric: train/loss}]",
        "sweep.pruner.warmup_epochs=2", "sweep.pruner.startup_trials=2",
        "schedule.transfer.epochs=8", "lr.transfer=tag(log,interval(1e-7,1e-1))",
    )  # fmt: skip
    trials = trials_of(tmp_path)
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert len(trials) == 8
    assert 0 < len(pruned) < 8
    assert all(2 < len(trial.intermediate_values) < 9 for trial in pruned)
    assert "pruned after " in said
    runs = {int(run.data.tags["trial"]): run for run in runs_of(tmp_path)}
    for trial in pruned:
        assert runs[trial.number].data.tags["trial_state"] == "PRUNED"
        assert runs[trial.number].info.status == "KILLED"
        assert not list(Path(trial.user_attrs["run_folder"]).glob("state*"))


def test_failed_trials_do_not_count_until_there_are_too_many(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    arguments = (
        *STUDY, *tiny, "optimizer=sgd", "schedule.transfer.epochs=3", "sweep.max_failures=3",
        "regularization.dropout=0.3", "regularization.l2=0.0",
    )  # fmt: skip
    first = "sweep.first=[{lr.transfer: 1e30},{lr.transfer: 1e-3}]"
    said = finish(
        tmp_path, *arguments, first, "sweep.n_trials=2", "lr.transfer=tag(log,interval(1e-3,1e30))",
        "sweep.sampler.name=random", "sweep.max_failures=20",
    )  # fmt: skip
    trials = trials_of(tmp_path)
    assert len(counted(trials)) == 2
    assert trials[0].state.name == "FAIL"
    assert "non-finite" in trials[0].user_attrs["reason"]
    assert "trial 0 | failed: " in said
    said = finish(
        tmp_path, *arguments, "sweep.name=f", "sweep.n_trials=9",
        "lr.transfer=tag(log,interval(1e28,1e30))", status=1,
    )  # fmt: skip
    assert "study f stops: 3 trials in a row failed (sweep.max_failures=3)" in said
    assert "non-finite" in said
    assert [trial.state.name for trial in trials_of(tmp_path, name="f")] == ["FAIL"] * 3


def test_what_no_trial_could_do_without_ends_the_study(
    tiny: tuple[str, ...], tmp_path: Path
) -> None:
    missing = [o for o in tiny if not o.startswith("data.")]
    arguments = (*STUDY, *missing, "data=folder", f"data.root={tmp_path / 'photos'}")
    said = finish(tmp_path, *arguments, status=2)
    assert "photos" in said
    assert all(not t.state.is_finished() for t in trials_of(tmp_path))
    said = finish(
        tmp_path, *STUDY, *tiny, "sweep.pruner.name=none", "sweep.n_trials=2",
        "sweep.objectives=[{metric: external/nowhere/accuracy}]", "sweep.name=o", status=2,
    )  # fmt: skip
    assert "sweep.objectives.0.metric: the runs of this study have no external/nowhere" in said


def test_storages_that_cannot_be_used(tiny: tuple[str, ...], tmp_path: Path) -> None:
    """One message each, status 2, before torch is imported."""
    (tmp_path / "text.db").write_text("no database\n" * 100)
    (tmp_path / "text.log").write_text("no journal\n" * 3)
    old = tmp_path / "old.db"
    optuna.storages.RDBStorage(f"sqlite:///{old}")
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    locked = tmp_path / "locked.db"
    holder = sqlite3.connect(locked)
    holder.execute("CREATE TABLE t (x)")
    holder.commit()
    holder.execute("BEGIN EXCLUSIVE")
    for storage, told in {
        f"sqlite:///{tmp_path}/text.db": "is no SQLite file",
        f"sqlite:///{old}": "optuna storage upgrade",
        f"sqlite:///{locked}": "is locked by another program",
        "sqlite:////dev/null/x.db": "cannot be used",
        f"journal:{tmp_path}/text.log": "is no journal of Optuna",
        "postgresql://me:secret@127.0.0.1:1/db": "postgresql://***@127.0.0.1:1/db cannot be used",
    }.items():
        said = finish(tmp_path, *STUDY, *tiny, f"sweep.storage={storage}", status=2)
        assert told in said
        assert "secret" not in said
        assert len(said.splitlines()) == 1
    holder.close()
