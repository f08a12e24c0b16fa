"""The kept model as MLflow calls it: a column of images in, letters and probabilities out.

MLflow imports this module from the code in the model folder, by the name in its MLmodel, and gives
it the folder; nothing else calls it. So does a folder's ``mlflow.pyfunc.load_model``: it runs the
code of whoever made the folder. This package's own commands do not.
"""

import base64
import binascii
from pathlib import Path
from typing import Any, Final

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from asl_exp.compat.mlflow import is_serving
from asl_exp.data.decode import UnreadableImageError
from asl_exp.model.recognizer import Recognizer

_MOST: Final = 256
"""Images of a request to a service."""

_LARGEST: Final = 20_000_000
"""Bytes of an image there."""


class LetterModel:
    """Takes a table with the column ``image``: a file's path, or its bytes in base64."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def predict(self, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Return ``letter``, ``probability`` and ``probability/<class>`` of every image.

        A model that looks for hands adds ``hand_found``; its letter may be "no hand". That of a
        model with a threshold may be "not sure".

        Raises:
            MlflowException: images that cannot be read, by their place; a service answers 400.
        """
        images, served = [str(image) for image in model_input["image"]], is_serving()
        if served and len(images) > _MOST:
            raise _refused(f"{len(images)} images in one request; at most {_MOST} are taken")
        seen, faults = [], []
        for number, image in enumerate(images):
            try:
                seen.append(self.recognizer.look(_path_or_bytes(image, served=served)))
            except UnreadableImageError as error:
                faults.append(f"image {number}: {error.reason}")
        if faults:
            raise _refused("\n".join(faults))
        return self.recognizer.recognize(seen)


def _load_pyfunc(folder: str) -> LetterModel:
    """Load the model folder; MLflow looks for this name."""
    return LetterModel(Recognizer.load(Path(folder)))


def _path_or_bytes(image: str, *, served: bool) -> Path | bytes:
    """Return what an image is given by; who asks a service cannot name files of its machine."""
    if served and len(image) > _LARGEST * 4 / 3 + 4:
        raise UnreadableImageError("<bytes>", f"larger than {_LARGEST // 10**6} MB")
    try:
        return base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError):
        if served:
            raise UnreadableImageError("<bytes>", "no base64 of an image file") from None
        return Path(image)


def _refused(what: str) -> MlflowException:
    """Return what a server answers with status 400."""
    return MlflowException(what, error_code=INVALID_PARAMETER_VALUE)
