"""The kept model as MLflow calls it: a column of images in, letters and probabilities out.

MLflow copies this file into the model folder and runs it there; nothing else imports it.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from asl_exp.model.recognizer import CHECKPOINT, Recognizer


class LetterModel(PythonModel):
    """Takes a table with the column ``image``: a file's path, or its bytes in base64."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint of the model folder."""
        self.recognizer = Recognizer.load(Path(context.artifacts[CHECKPOINT]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Return ``letter``, ``probability`` and ``probability/<class>`` of every image.

        A model that looks for hands adds ``hand_found``; its letter may be "no hand".
        """
        return self.recognizer.recognize(
            [self.recognizer.look(_path_or_bytes(str(image))) for image in model_input["image"]]
        )


def _path_or_bytes(image: str) -> Path | bytes:
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error:
        return Path(image)


set_model(LetterModel())
