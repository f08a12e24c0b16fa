"""The kept model as MLflow calls it: a column of images in, letters and probabilities out.

MLflow imports this module from the code in the model folder, by the name in its MLmodel, and gives
it the folder; nothing else calls it. So does a folder's ``mlflow.pyfunc.load_model``: it runs the
code of whoever made the folder. This package's own commands do not.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import pandas as pd

from asl_exp.model.recognizer import Recognizer


class LetterModel:
    """Takes a table with the column ``image``: a file's path, or its bytes in base64."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def predict(self, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Return ``letter``, ``probability`` and ``probability/<class>`` of every image.

        A model that looks for hands adds ``hand_found``; its letter may be "no hand". That of a
        model with a threshold may be "not sure".
        """
        return self.recognizer.recognize(
            [self.recognizer.look(_path_or_bytes(str(image))) for image in model_input["image"]]
        )


def _load_pyfunc(folder: str) -> LetterModel:
    """Load the model folder; MLflow looks for this name."""
    return LetterModel(Recognizer.load(Path(folder)))


def _path_or_bytes(image: str) -> Path | bytes:
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error:
        return Path(image)
