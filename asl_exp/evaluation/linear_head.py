"""A linear head on stored features: the cheap stand-in for training a head anew.

Features are reduced to at most 256 principal components and standardised, all of the training
images alone; logistic regression follows. Deterministic.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

_COMPONENTS: Final = 256
_ITERATIONS: Final = 100


@dataclass(frozen=True)
class Labelled:
    """The features of one split.

    Attributes:
        features: `(N, F)`.
        labels: `(N,)` indices of classes.
        table: a row an image: path, label, group, source.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    table: pd.DataFrame

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Labelled":
        """Return some of the images."""
        table = self.table.iloc[rows].reset_index(drop=True)
        return Labelled(self.features[rows], self.labels[rows], table)


def reduced(train: Labelled, *others: Labelled) -> list[Labelled]:
    """Return training images and others with their features reduced by the training images' PCA."""
    components = min(_COMPONENTS, train.features.shape[1], len(train) - 1)
    scaler = StandardScaler().fit(train.features)
    pca = PCA(components, random_state=0, svd_solver="randomized")
    pca.fit(scaler.transform(train.features))
    return [
        Labelled(
            pca.transform(scaler.transform(one.features)).astype(np.float32), one.labels, one.table
        )
        for one in (train, *others)
    ]


def correct(train: Labelled, *tested: Labelled) -> list[NDArray[np.float64]]:
    """Train a head on images whose features are `reduced`; return, for each set, `(N,)` 0 or 1."""
    if len(np.unique(train.labels)) == 1:
        return [(one.labels == train.labels[0]).astype(np.float64) for one in tested]
    scaler = StandardScaler().fit(train.features)
    head = LogisticRegression(max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        head.fit(scaler.transform(train.features), train.labels)
    return [
        (head.predict(scaler.transform(one.features)) == one.labels).astype(np.float64)
        for one in tested
    ]
