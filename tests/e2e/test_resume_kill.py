"""A run that is killed and taken up again ends with the numbers of one that was not, bit for bit.

kill -9 of everything, at chosen moments and at random ones, with one and two devices.
"""

import math
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Forked, kill_all, left, mlflow_run, outcome, result_of, run_folders

from asl_exp.training.state import FOLDER, find_state

EPOCHS = 5  # of each phase
RUN = (
    f"schedule.transfer.epochs={EPOCHS}", f"schedule.finetune.epochs={EPOCHS}", "lr=plateau",
    "lr.plateau_patience=1", "lr.transfer=3e-2", "lr.finetune=3e-3", "augmentation=paper",
    "trainer.accelerator=cpu", "data.external=[]", "schedule.transfer.features=never",
)  # fmt: skip
"""Everything that holds state is on: dropout, augmentation, a rate that remembers, the L2.

Every epoch writes a state; on stored features few do, and random kills try those as well.
"""
FEATURES = "schedule.transfer.features=always"


def state_number(runs: Path, number: int) -> Callable[[], Any]:
    """Be true once so many states have been written, one an epoch."""
    return lambda: any(runs.glob(f"*/{FOLDER}/{number:06d}-*.ckpt"))


def newest_state(runs: Path) -> int:
    return max((int(path.name[:6]) for path in runs.glob(f"*/{FOLDER}/*-*.ckpt")), default=0)


def evaluating(runs: Path) -> Callable[[], Any]:
    return lambda: any(runs.glob("*/evaluation/*"))


@pytest.fixture(scope="session")
def uninterrupted(
    tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, Any]]:
    """Return the outcome of the run that nobody killed; made once for each kind of run."""
    known: dict[tuple[Any, ...], Any] = {}

    def of(devices: int, *more: str) -> dict[str, Any]:
        if (devices, *more) not in known:
            runs = tmp_path_factory.mktemp(f"uninterrupted{devices}")
            arguments = (*tiny, *RUN, *more, f"trainer.devices={devices}", f"runs_dir={runs}")
            with Forked(runs, *arguments) as run:
                assert run.wait(180) == 0, run.text()
            known[(devices, *more)] = outcome(runs, run_folders(runs)[0])
        return known[(devices, *more)]

    return of


MOMENTS = {
    "in phase 1": lambda runs: state_number(runs, 2),
    "at the boundary": lambda runs: state_number(runs, EPOCHS),
    "in phase 2": lambda runs: state_number(runs, EPOCHS + 2),
    "after the last epoch": lambda runs: state_number(runs, 2 * EPOCHS),
    "in the evaluation": evaluating,
}


def marked(text: str) -> list[str]:
    """Return the epochs whose line ends with the mark of the best so far."""
    return re.findall(r"^(\w+ \d+/\d+): .* \*$", text, re.MULTILINE)


def best_so_far(history: dict[str, list[tuple[int, float]]], since: int) -> list[str]:
    """Return the epochs that were better than all before them in their phase."""
    found = []
    for phase, key, sign in (("transfer", "val/loss", -1), ("finetune", "val/accuracy", 1)):
        first = 0 if phase == "transfer" else EPOCHS
        best = -math.inf
        for step, value in history[key][first : first + EPOCHS]:
            if sign * value > best and step >= since:
                found.append(f"{phase} {step - first + 1}/{EPOCHS}")
            best = max(best, sign * value)
    return found


def killed(cwd: Path, runs: Path, moment: str, *arguments: str) -> None:
    with Forked(cwd, *arguments, f"runs_dir={runs}") as run:
        run.wait_until(MOMENTS[moment](runs))
        tree = run.tree()
        run.kill()
        run.wait(30)
        assert left(tree, 30) == []


@pytest.mark.heavy
@pytest.mark.parametrize("moment", MOMENTS)
def test_one_device(
    tiny: tuple[str, ...], tmp_path: Path, uninterrupted: Callable[..., Any], moment: str
) -> None:
    runs, arguments = tmp_path / "runs", (*tiny, *RUN)
    killed(tmp_path, runs, moment, *arguments)
    (folder,) = run_folders(runs)
    before = result_of(folder)
    assert before["status"] == "RUNNING"
    state = find_state(folder)
    assert state is not None
    if moment == "in phase 1":
        assert (state.phase, state.phase_done) == ("transfer", False)
    elif moment == "in phase 2":
        assert (state.phase, state.phase_done) == ("finetune", False)
    with Forked(tmp_path, *arguments, f"runs_dir={runs}", "resume=true") as run:
        assert run.wait() == 0, run.text()
        in_phase = sum(row["phase"] == state.phase for row in state.rows)
        at = f"in phase {state.phase}, epoch {in_phase + 1}, batch 1"
        told = f"after phase {state.phase}" if state.phase_done else at
        assert f"resumed {told}" in run.text()
        told = run.text()
    assert run_folders(runs) == [folder], "the same folder"
    assert result_of(folder)["mlflow_run_id"] == before["mlflow_run_id"], "the same MLflow run"
    assert outcome(runs, folder) == uninterrupted(1)
    assert marked(told) == best_so_far(uninterrupted(1)["history"], since=len(state.rows))
    assert len(list((folder / FOLDER).glob("*-*.ckpt"))) == 1, "one, to be made longer from"
    assert [path.name for path in runs.iterdir() if path.is_dir()].count(folder.name) == 1


@pytest.mark.heavy
def test_a_finished_run_is_made_longer(
    tiny: tuple[str, ...], tmp_path: Path, uninterrupted: Callable[..., Any]
) -> None:
    """First of one phase, then of another epoch, then of all; its folder moves in between."""
    runs, arguments = tmp_path / "runs", (*tiny, *RUN, f"runs_dir={tmp_path / 'runs'}")
    with Forked(tmp_path, *arguments, "schedule.finetune.epochs=0") as run:
        assert run.wait() == 0, run.text()
    (first,) = run_folders(runs)
    before, folder = result_of(first), first.with_name("moved")
    first.rename(folder)
    for epochs in (1, EPOCHS):
        more = (f"resume={folder}", f"schedule.finetune.epochs={epochs}")
        with Forked(tmp_path, *arguments, *more) as run:
            assert run.wait() == 0, run.text()
    assert "resumed in phase finetune, epoch 2" in run.text()
    expected, found = uninterrupted(1), outcome(runs, folder)
    assert run_folders(runs) == [folder]
    assert result_of(folder)["mlflow_run_id"] == before["mlflow_run_id"]
    assert result_of(folder)["signature"] != before["signature"]
    for key in ("status", "metrics", "kept", "steps"):
        assert found[key] == expected[key]
    for key, points in expected["history"].items():
        assert set(points) <= set(found["history"][key]), "beside it, what was kept before"
        if not key.startswith(("test/", "external/", "kept/")):
            assert points == found["history"][key]
    assert mlflow_run(runs, folder).data.tags["extended"] == f"schedule.finetune.epochs={EPOCHS}"
    state = find_state(folder)
    assert state is not None
    assert len(state.rows) == 2 * EPOCHS


@pytest.mark.heavy
def test_inside_epochs(
    tiny: tuple[str, ...], tmp_path: Path, uninterrupted: Callable[..., Any]
) -> None:
    """A state after every batch; one run, killed in the middle of several epochs."""
    runs = tmp_path / "runs"
    arguments = (*tiny, *RUN, "trainer.state_minutes=1e-5", f"runs_dir={runs}", "resume=true")
    inside = 0
    for number in (2, 6, 11, 17):
        with Forked(tmp_path, *arguments) as run:
            run.wait_until(state_number(runs, number))
            run.kill()
            run.wait(30)
        (folder,) = run_folders(runs)
        state = find_state(folder)
        assert state is not None
        inside += state.batch > 0
    assert inside >= 1, "no kill came inside an epoch"
    with Forked(tmp_path, *arguments) as run:
        assert run.wait() == 0, run.text()
    assert outcome(runs, folder) == uninterrupted(1)


@pytest.mark.heavy
def test_two_devices(
    tiny: tuple[str, ...], tmp_path: Path, uninterrupted: Callable[..., Any]
) -> None:
    """One run, killed three times."""
    runs, arguments = tmp_path / "runs", (*tiny, *RUN, "trainer.devices=2", "resume=true")
    for moment in ("in phase 1", "at the boundary", "in phase 2"):
        killed(tmp_path, runs, moment, *arguments)
    (folder,) = run_folders(runs)
    with Forked(tmp_path, *arguments, f"runs_dir={runs}") as run:
        assert run.wait() == 0, run.text()
        assert "resumed in phase finetune" in run.text()
    assert outcome(runs, folder) == uninterrupted(2)


@pytest.mark.heavy
def test_kills_at_random_moments(
    tiny: tuple[str, ...], tmp_path: Path, uninterrupted: Callable[..., Any]
) -> None:
    """At least 20 kills -9; each run is killed until it finishes, then another begins."""
    n_kills, seed = 0, 0
    deadline = time.monotonic() + 280
    while n_kills < 20 and time.monotonic() < deadline:
        runs, draw = tmp_path / f"runs{seed}", random.Random(seed)
        n_own, finished, longest_s = 0, False, 1.5
        more = (FEATURES,) if seed % 2 else ()
        arguments = (*tiny, *RUN, *more, f"runs_dir={runs}", "resume=true")
        while not finished:
            with Forked(tmp_path, *arguments) as run:
                run.process.join(draw.uniform(0.2, longest_s))
                finished = not run.alive()
                if finished:
                    assert run.wait() == 0, run.text()
            n_own, longest_s = n_own + (not finished), 1.15 * longest_s  # slow machines get there
            done = [f for f in run_folders(runs) if result_of(f)["status"] == "FINISHED"]
            finished = bool(done)  # it may have been killed just after it had written so
        assert outcome(runs, done[0]) == uninterrupted(1, *more), f"seed {seed}"
        print(f"seed {seed}: {n_own} kills, {len(run_folders(runs))} folders")
        n_kills, seed = n_kills + n_own, seed + 1
    assert n_kills >= 20, f"{n_kills} kills in 280 s"


@pytest.mark.exhaustive
def test_two_devices_at_random_moments(
    tiny: tuple[str, ...], tmp_path: Path, uninterrupted: Callable[..., Any]
) -> None:
    """kill -9 of all, of the command or of a worker: whichever and whenever the seeds say."""
    runs = tmp_path / "runs"
    arguments = (*tiny, *RUN, "trainer.devices=2", "resume=true", "trainer.state_minutes=1e-5")
    for seed in range(3):
        draw, number = random.Random(seed), newest_state(runs)
        with Forked(tmp_path, *arguments, f"runs_dir={runs}") as run:
            number += draw.randint(1, EPOCHS)
            run.wait_until(state_number(runs, number))
            time.sleep(draw.uniform(0, 0.2))
            tree, workers = run.tree(), run.workers()
            victims = draw.choice([tree, tree[:1], workers[:1], workers[1:]])
            kill_all(victims)
            run.process.join(30)
            assert left(tree, 30) == []
        print(f"seed {seed}: {len(victims)} of {len(tree)} processes killed after state {number}")
    with Forked(tmp_path, *arguments, f"runs_dir={runs}") as run:
        assert run.wait() == 0, run.text()
    (folder,) = run_folders(runs)
    assert outcome(runs, folder) == uninterrupted(2)
