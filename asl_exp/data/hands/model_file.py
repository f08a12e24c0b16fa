"""The file with the networks that find hands: where it is, and that it is whole.

It is MediaPipe's hand_landmarker.task (Apache-2.0, Google): a zip of two LiteRT networks. Given
as hand.model=FILE, or fetched once from Google's published address into the cache folder.
"""

import http.client
import os
import shutil
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import DataError
from asl_exp.data.cache_files import file_digest, locked

ADDRESS: Final = (
    "https://storage.googleapis.com/mediapipe-models/hand_landmarker/hand_landmarker/float16/1/"
    "hand_landmarker.task"
)
SHA256: Final = "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1"
"""Of the 7,819,105 bytes there; many projects that pin the file give it."""

PALM_NETWORK: Final = "hand_detector.tflite"
JOINT_NETWORK: Final = "hand_landmarks_detector.tflite"

_TIMEOUT_S: Final = 30.0  # of silence, not of the whole: slow lines take minutes


@dataclass(frozen=True)
class ModelFile:
    """A file whose two networks are there and whole.

    Attributes:
        digest: sha256 of its bytes.
    """

    path: Path
    digest: str

    def network(self, name: str) -> bytes:
        """Return the bytes of one network."""
        with zipfile.ZipFile(self.path) as opened:
            return opened.read(name)


def model_file(given: str | None, cache_dir: str | Path) -> ModelFile:
    """Return the file given, or the one in the cache folder, fetched first where it is not there.

    Raises:
        DataError: no such file, not such a file, or it cannot be fetched.
    """
    if given is not None:
        return _checked(home_expanded(given))
    file = home_expanded(cache_dir) / "models" / "hand_landmarker.task"
    if not file.exists():
        with locked(file.with_suffix(".lock")):
            if not file.exists():
                fetch(ADDRESS, file, SHA256)
    return _checked(file)


def fetch(address: str, file: Path, sha256: str) -> None:
    """Fetch a file under a temporary name, and give it its own when its checksum is right.

    Raises:
        DataError: it cannot be fetched or written, or is not the file expected.
    """
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer, part.open("wb") as out:
            shutil.copyfileobj(answer, out)
        if (got := file_digest(part)) != sha256:
            raise DataError(
                f"hand.model: what {address} sent ({part.stat().st_size:,} bytes, sha256 "
                f"{got[:16]}) is not the file expected ({sha256[:16]}); fetch it by hand and give "
                "it with hand.model=FILE"
            )
        part.replace(file)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise DataError(
            f"hand.model: {address} cannot be fetched: {getattr(error, 'reason', None) or error}; "
            "fetch hand_landmarker.task on a machine that can, and give it with hand.model=FILE"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _checked(file: Path) -> ModelFile:
    if not file.is_file():
        raise DataError(
            f"hand.model: there is no file '{file}' (looked in {Path.cwd()}); give MediaPipe's "
            "hand_landmarker.task, or leave hand.model out and it is fetched"
        )
    try:
        with zipfile.ZipFile(file) as opened:
            names = opened.namelist()
            damaged = opened.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"hand.model: '{file}' is damaged, or no hand_landmarker.task: {error}; {_mend(file)}"
        ) from error
    missing = [name for name in (PALM_NETWORK, JOINT_NETWORK) if name not in names]
    if missing or damaged:
        fault = f"has no {missing[0]} in it" if missing else f"is damaged in {damaged}"
        raise DataError(f"hand.model: '{file}' {fault}; {_mend(file)}")
    return ModelFile(file, file_digest(file))


def _mend(file: Path) -> str:
    return f"give MediaPipe's hand_landmarker.task, or remove '{file}' to have it fetched anew"
