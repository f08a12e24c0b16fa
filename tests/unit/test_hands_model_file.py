"""The file of the networks that find hands: fetched whole or not at all, and refused if damaged."""

import builtins
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.one_file import OneFile

from asl_exp.config.errors import DataError
from asl_exp.data.hands import model_file as module
from asl_exp.data.hands.finder import HandFinder
from asl_exp.data.hands.model_file import JOINT_NETWORK, PALM_NETWORK, ModelFile, model_file


def packed(file: Path, names: tuple[str, ...] = (PALM_NETWORK, JOINT_NETWORK)) -> Path:
    with zipfile.ZipFile(file, "w") as opened:
        for name in names:
            opened.writestr(name, name.encode() * 1000)
    return file


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneFile]:
    content = packed(tmp_path / "published.task").read_bytes()
    server = OneFile("/hand_landmarker.task", content)
    monkeypatch.setattr(module, "ADDRESS", f"{server.address}/hand_landmarker.task")
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(content).hexdigest())
    yield server
    server.end()


def left_in(folder: Path) -> list[str]:
    return [one.name for one in folder.rglob("*") if one.is_file() and one.suffix != ".lock"]


def test_the_file_is_fetched_once(tmp_path: Path, server: OneFile) -> None:
    cache = tmp_path / "cache"
    first, second = model_file(None, cache), model_file(None, cache)
    assert first == second
    assert first.path.read_bytes() == server.content
    assert first.digest == hashlib.sha256(server.content).hexdigest()
    assert len(server.asked) == 1
    assert left_in(cache) == ["hand_landmarker.task"]


def test_processes_that_start_together_fetch_it_once(tmp_path: Path, server: OneFile) -> None:
    threads = [threading.Thread(target=model_file, args=(None, tmp_path / "c")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1


@pytest.mark.parametrize("how", ["another file", "cut short", "refused", "not there"])
def test_nothing_is_left_of_what_cannot_be_fetched(
    tmp_path: Path, server: OneFile, how: str
) -> None:
    if how == "another file":
        server.content = b"<html>moved</html>"
    elif how == "cut short":
        server.said_length = len(server.content)
        server.content = server.content[:100]
    elif how == "refused":
        server.status = 403
    else:
        server.end()
    with pytest.raises(DataError, match=r"^hand\.model: .*http://127.*hand\.model=FILE$"):
        model_file(None, tmp_path / "cache")
    assert left_in(tmp_path / "cache") == []


def test_a_file_that_is_given_is_not_fetched(tmp_path: Path, server: OneFile) -> None:
    given = packed(tmp_path / "own.task")
    assert model_file(str(given), tmp_path / "cache").path == given
    assert server.asked == []
    assert not (tmp_path / "cache").exists()


def damaged(folder: Path, how: str) -> Path:
    file = folder / "hand.task"
    if how == "no zip":
        file.write_bytes(b"TFL3" * 1000)
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "other names":
        packed(file, ("face_detector.tflite", JOINT_NETWORK))
    else:
        content = bytearray(packed(file).read_bytes())
        if how == "cut":
            content = content[: len(content) // 2]
        else:
            content[500] ^= 0xFF
        file.write_bytes(content)
    return file


@pytest.mark.parametrize("how", ["no zip", "empty", "other names", "cut", "a byte"])
def test_damaged_files_are_refused(tmp_path: Path, how: str) -> None:
    file = damaged(tmp_path, how)
    with pytest.raises(DataError) as raised:
        model_file(str(file), tmp_path)
    assert str(raised.value).startswith(f"hand.model: '{file}' ")
    assert "give MediaPipe's hand_landmarker.task" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for given in (tmp_path / "none.task", tmp_path):
        with pytest.raises(DataError, match="there is no file"):
            model_file(str(given), tmp_path)


def test_networks_that_are_none_are_refused(tmp_path: Path, hand_model: Path) -> None:
    with pytest.raises(DataError, match=r"hand_detector\.tflite\) is not MediaPipe's network"):
        HandFinder(model_file(str(packed(tmp_path / "a.task")), tmp_path))


def test_networks_with_their_names_exchanged_are_refused(tmp_path: Path, hand_model: Path) -> None:
    real = model_file(str(hand_model), tmp_path)
    with zipfile.ZipFile(tmp_path / "b.task", "w") as opened:
        opened.writestr(PALM_NETWORK, real.network(JOINT_NETWORK))
        opened.writestr(JOINT_NETWORK, real.network(PALM_NETWORK))
    with pytest.raises(DataError, match=r"its input is \(1, 224, 224, 3\), not \(1, 192, 192, 3\)"):
        HandFinder(model_file(str(tmp_path / "b.task"), tmp_path))


def test_without_the_extra_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("ai_edge_litert"):
            raise ModuleNotFoundError(f"No module named '{name}'")
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    file = packed(tmp_path / "a.task")
    with pytest.raises(DataError, match=r'pip install "asl-exp\[hands\]", or choose hand=none$'):
        HandFinder(ModelFile(file, "a" * 64))
