"""The state on disk, and who may take a run up: damage, full disks, refusals; no training."""

import errno
import io
import multiprocessing
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from made_runs import made_data, made_run

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import DataError, StorageError, UserError
from asl_exp.config.signature import signature
from asl_exp.model.classifier import build_classifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.runs.result import FoldsResult, Result
from asl_exp.runs.run_folder import write_config
from asl_exp.runs.writing import full_disk_named
from asl_exp.training.callbacks import StateWriter
from asl_exp.training.folds import run_whole
from asl_exp.training.record import begin_record
from asl_exp.training.resume import claim_folder
from asl_exp.training.state import FOLDER, find_state


class Trainer(SimpleNamespace):
    """What the writer uses of Lightning's trainer; writes as much as it is told."""

    def __init__(self, writer: StateWriter, epoch: int = 0, n_values: int = 1000) -> None:
        super().__init__(
            current_epoch=epoch, max_epochs=10, should_stop=False, world_size=1,
            is_global_zero=True, strategy=SimpleNamespace(barrier=lambda name: None),
        )  # fmt: skip
        self.writer, self.n_values = writer, n_values

    def save_checkpoint(self, path: Path) -> None:
        values = torch.full((self.n_values,), self.current_epoch)
        content: dict[str, Any] = {"values": values, "loops": {}, "state_dict": {}}
        self.writer.on_save_checkpoint(self, None, content)  # type: ignore[arg-type]
        path.parent.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        path.write_bytes(buffer.getvalue())


def write(
    folder: Path, n_epochs: int, n_values: int = 1000, phase: str = "transfer", **more: Any
) -> None:
    config = compose_config(["backbone.name=asl_small_cnn", "backbone.pretrained=false"])
    model = build_classifier(config, 2, resolve_preprocessing(config.backbone))
    writer = StateWriter(made_run(config, model, made_data(2, n_train=4), folder), phase)
    for epoch in range(n_epochs):
        trainer = Trainer(writer, epoch, n_values)
        vars(trainer).update(more)
        writer.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]


def states(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).iterdir())


def epoch_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["values"][0])


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    write(tmp_path, 5)
    assert [path.name[:6] for path in states(tmp_path)] == ["000004", "000005"]
    state = find_state(tmp_path)
    assert state is not None
    assert epoch_of(state.path) == 4


@pytest.mark.parametrize("damage", ["a bit", "cut", "empty"])
def test_a_damaged_state_is_passed_over(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 3)
    older, newest = states(tmp_path)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"a bit": bytes(content), "cut": content[:100], "empty": b""}[damage])
    state = find_state(tmp_path)
    assert state is not None
    assert state.path == older
    older.write_bytes(b"")
    assert find_state(tmp_path) is None


def test_a_state_that_was_being_written_is_none(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (whole,) = states(tmp_path)
    (tmp_path / FOLDER / ".writing").write_bytes(whole.read_bytes()[:50])
    state = find_state(tmp_path)
    assert state is not None
    assert state.path == whole
    write(tmp_path, 1)
    assert len(states(tmp_path)) == 2, "the remains were written over"


def write_limited(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    write(folder, 1, n_values=50_000)  # eight bytes each


def test_what_was_written_before_survives_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the same error, another number."""
    write(tmp_path, 2)
    before = states(tmp_path)
    writer = multiprocessing.get_context("forkserver").Process(
        target=write_limited, args=(tmp_path,)
    )
    writer.start()
    writer.join(120)
    assert writer.exitcode == 1
    assert states(tmp_path) == before
    state = find_state(tmp_path)
    assert state is not None
    assert epoch_of(state.path) == 1


def test_a_full_disk_is_said_with_its_folder(tmp_path: Path) -> None:
    full = pytest.raises(StorageError, match=r"No space left on device.*resume=true")
    with full as caught, full_disk_named(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert f"'{tmp_path}'" in str(caught.value)


def raised_from(inner: Exception, outer: Exception) -> Exception:
    outer.__cause__, outer.__suppress_context__ = inner, True
    return outer


SPACE = f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}"
FULL = {
    "told by another package": raised_from(OSError(errno.ENOSPC, "No space"), KeyError("x")),
    "a copied folder": shutil.Error([("a", "b", SPACE)]),
    "a copied folder, told by another": raised_from(shutil.Error([("a", "b", SPACE)]), KeyError()),
    "a limit": OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
    "torch": RuntimeError("PytorchStreamWriter failed writing file data/1"),
}
OTHERS = {
    "another fault of copying": shutil.Error([("a", "b", "[Errno 2] No such file")]),
    "a cache that said so": raised_from(OSError(errno.ENOSPC, "No space"), DataError("make room")),
    "anything": KeyError("x"),
}


@pytest.mark.parametrize("name", [*FULL, *OTHERS])
def test_a_full_disk_is_known_however_it_is_told(name: str, tmp_path: Path) -> None:
    error = (FULL | OTHERS)[name]
    with pytest.raises(StorageError if name in FULL else type(error)), full_disk_named(tmp_path):
        raise error


def claimed(new: Path, *overrides: str) -> Path:
    config = compose_config([f"runs_dir={new.parent}", *overrides])
    with claim_folder(config, new) as folder:
        return folder


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A run of the default configuration that was killed after two epochs."""
    folder = tmp_path / "killed"
    folder.mkdir()
    config = compose_config([f"runs_dir={tmp_path}"])
    Result(name="killed", signature=signature(config)).write(folder)
    write_config(config, folder)
    write(folder, 2)
    return folder


def test_resume_finds_the_unfinished_run(unfinished: Path) -> None:
    assert claimed(unfinished.parent / "new", "resume=true") == unfinished
    assert claimed(unfinished.parent / "new", f"resume={unfinished}") == unfinished
    assert claimed(unfinished.parent / "new", "resume=true", "trainer.devices=1", "name=x") == (
        unfinished
    ), "keys of the machine do not count"


def test_the_default_says_that_there_is_one(
    unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claimed(unfinished.parent / "new") == unfinished.parent / "new"
    said = capsys.readouterr().out
    assert str(unfinished) in said
    assert "resume=true goes on with it" in said


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("seed=5",), ["seed: the run has 0, given is 5"]),
        (("lr.transfer=0.5", "seed=5"), ["lr.transfer: the run has 0.001, given is 0.5", "seed"]),
        (("experiment=demo",), []),
    ],
    ids=["one", "two", "another experiment"],
)
def test_a_new_run_in_place_of_an_unfinished_one_says_what_differs(
    given: tuple[str, ...], told: list[str], unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claimed(unfinished.parent / "new", "resume=true", *given) == unfinished.parent / "new"
    said = capsys.readouterr().out
    assert "a new one begins" in said
    assert all(line in said for line in told)
    assert (str(unfinished) in said) == bool(told)


@pytest.mark.parametrize("resume", ["false", "true"])
@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED", "RUNNING"])
@pytest.mark.parametrize("more", [(), ("lr.transfer=0.5",)], ids=["same", "other"])
def test_a_folder_that_holds_a_run_is_taken_by_no_other(
    unfinished: Path, status: str, resume: str, more: tuple[str, ...]
) -> None:
    result = Result.read(unfinished)
    assert result is not None
    replace(result, status=status).write(unfinished)
    before = {file: file.read_bytes() for file in unfinished.rglob("*") if file.is_file()}
    if resume == "true" and not more and status != "FINISHED":
        assert claimed(unfinished, "resume=true") == unfinished
        return
    with pytest.raises(UserError, match=f"{unfinished}: holds a run already.*resume={unfinished}"):
        claimed(unfinished, f"resume={resume}", *more)
    (unfinished / ".lock").unlink(missing_ok=True)
    assert {f: f.read_bytes() for f in unfinished.rglob("*") if f.is_file()} == before


def test_a_folder_that_holds_folds_is_taken_by_no_other(tmp_path: Path) -> None:
    FoldsResult(mlflow_run_id=None).write(tmp_path)
    for words in (["data.folds=group"], ["experiment=demo"]):
        with pytest.raises(UserError, match=f"{tmp_path}: holds a run already"):
            run_whole(compose_config([*words, f"runs_dir={tmp_path.parent}"]), tmp_path)


def test_another_configuration_is_refused_with_the_difference(unfinished: Path) -> None:
    assert claimed(unfinished.parent / "new", "resume=true", "seed=5") != unfinished
    with pytest.raises(UserError) as caught:
        claimed(unfinished.parent / "n", f"resume={unfinished}", "seed=5", "lr.transfer=0.5")
    lines = str(caught.value).splitlines()
    assert "another configuration" in lines[0]
    assert "  seed: the run has 0, given is 5" in lines
    assert "  lr.transfer: the run has 0.001, given is 0.5" in lines


def test_what_cannot_be_taken_up_is_refused(unfinished: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for folder in (foreign, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="is no run folder"):
            claimed(tmp_path / "new", f"resume={folder}")
    held = FileLock(unfinished / ".lock", is_singleton=False)
    held.acquire()
    with pytest.raises(UserError, match="another process is running this experiment"):
        claimed(tmp_path / "new", f"resume={unfinished}")
    assert claimed(tmp_path / "new", "resume=true") == tmp_path / "new"
    held.release()
    result = Result.read(unfinished)
    assert result is not None
    result.status = "FINISHED"
    result.write(unfinished)
    with pytest.raises(UserError, match="is finished"):
        claimed(tmp_path / "new", f"resume={unfinished}")


def finished(folder: Path, *overrides: str, **state: Any) -> Path:
    """Make a finished run of two epochs of finetune, with a state where one is described."""
    folder.mkdir()
    config = compose_config([f"runs_dir={folder.parent}", *LENGTH, *overrides])
    made = Result(name="done", signature=signature(config), status="FINISHED")
    made.stored_views["finetune"] = 2
    made.write(folder)
    write_config(config, folder)
    if state:
        write(folder, 2, phase="finetune", max_epochs=2, **state)
    return folder


HEAD = "schedule.finetune.trainable=head"
LENGTH = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=2", HEAD)
MORE = (LENGTH[0], "schedule.finetune.epochs=3", HEAD)


def test_a_finished_run_is_made_longer_where_that_is_the_same(tmp_path: Path) -> None:
    whole, given = {"should_stop": False}, "schedule.finetune.views=2"
    done = finished(tmp_path / "done", given, "lr=plateau", **whole)
    assert claimed(tmp_path / "new", f"resume={done}", "lr=plateau", given, *MORE) == done
    refused: dict[str, tuple[dict[str, bool], tuple[str, ...], str]] = {
        "cosine": (whole, ("lr=cosine", *MORE), "with constant and plateau a run can be made"),
        "stopped": ({"should_stop": True}, (given, *MORE), "its patience ended the phase"),
        "stateless": ({}, MORE, "has no state to go on from"),
        "views": (whole, MORE, "2 stored views of each image, and one of 3 epochs does on 3"),
        "earlier": (
            whole,
            ("schedule.transfer.epochs=9", *LENGTH[1:]),
            "only finetune can be made",
        ),
        "shorter": (
            whole,
            (LENGTH[0], "schedule.finetune.epochs=1", HEAD),
            "another configuration",
        ),
        "other": (whole, (*MORE, "seed=3"), "seed: the run has 0, given is 3"),
    }
    for name, (state, words, told) in refused.items():
        now = [word for word in words if "epochs" not in word and "seed" not in word]
        folder = finished(tmp_path / name, *now, **state)
        with pytest.raises(UserError, match=told) as caught:
            claimed(tmp_path / "new", f"resume={folder}", *words)
        assert f"backbone.weights={folder}" in str(caught.value) or name == "earlier"


def test_a_result_that_cannot_be_read_names_its_file(unfinished: Path, tmp_path: Path) -> None:
    (unfinished / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result\.json"):
        claimed(tmp_path / "new", f"resume={unfinished}")
    assert claimed(tmp_path / "new", "resume=true") == tmp_path / "new", "not in the way"


def test_other_images_or_weights_are_refused(tmp_path: Path) -> None:
    config = compose_config(["tracking=off", f"runs_dir={tmp_path}"])
    start = {"data": "d1", "initial weights": "w1"}
    begin_record(config, tmp_path, start, {})
    begin_record(config, tmp_path, start, {})
    for changed in ({"data": "d2"}, {"initial weights": "w2"}):
        with pytest.raises(UserError, match=f"resume: the {next(iter(changed))} are not those"):
            begin_record(config, tmp_path, {**start, **changed}, {})
