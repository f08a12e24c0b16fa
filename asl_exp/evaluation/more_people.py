"""How many points more people would be worth: a learning curve over training groups, extrapolated.

Heads are trained on the images of 1, 2, 3 ... of the training groups (signers; sources where no
groups are known), in several random orders. The mean error follows a power law with a floor,
e(k) = a + b k^-c (Hestness et al. 2017); its interval draws orders and test groups again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from asl_exp.config import readable
from asl_exp.config.errors import UserError
from asl_exp.evaluation.figures import canvas
from asl_exp.evaluation.intervals import Interval, known_groups, mean_interval
from asl_exp.evaluation.linear_head import Labelled, correct, reduced
from asl_exp.evaluation.scores import Floats

MORE: Final = 8
"""People beyond those of training, of whom the sentence speaks."""

_FEWEST: Final = 4
_ORDERS: Final = 8
_DRAWS: Final = 1000
_EXPONENTS: Final = np.geomspace(0.05, 3, 30)
_SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True)
class PeopleCurve:
    """One set's accuracy by the number of training groups.

    Attributes:
        unit: "signer", or "source" where no groups are known.
        sizes: `(S,)` numbers of them.
        accuracy: `(S,)`, the mean over orders.
        orders: `(R, S)`, of each order.
        asked: `(A,)` numbers for which the fit is told, up to twice the known ones.
        fitted, low, high: `(A,)`; the last two None where all test images are of one group.
        known_interval: of the accuracy with all the known people; None as above.
        gain: of MORE people, in shares of 1, and its interval.
    """

    name: str
    unit: str
    sizes: NDArray[np.int64]
    accuracy: Floats
    orders: Floats
    asked: NDArray[np.int64]
    fitted: Floats
    low: Floats | None
    high: Floats | None
    known_interval: Interval | None
    gain: float
    gain_interval: Interval | None

    def sentence(self) -> str:
        """Return ``8 more signers are worth 2.1 points on test, 95 % 0.5 to 4.0 (...)``."""
        known = int(self.sizes[-1])
        reached = readable.score(self.accuracy[-1])
        if self.known_interval:
            reached += f", 95 % {readable.interval(self.known_interval)},"
        return (
            f"{MORE} more {self.unit}s are worth {100 * self.gain:.1f} points on {self.name}, "
            f"{readable.points(self.gain_interval)} (a linear head gets {reached} with the {known} "
            "of training)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in self.__dict__.items()
        } | {"sentence": self.sentence()}


def people_curves(train: Labelled, tested: dict[str, Labelled]) -> list[PeopleCurve]:
    """Return a curve for each set.

    Raises:
        UserError: there are fewer than 4 groups or sources among the training images.
    """
    unit, owners = _owners(train)
    people = np.unique(owners)
    if len(people) < _FEWEST:
        raise UserError(
            f"the training images are of {len(people)} {unit}s; a learning curve over them needs "
            f"at least {_FEWEST}"
        )
    train, *others = reduced(train, *tested.values())
    sizes = np.array([*(size for size in _SIZES if size < len(people)), len(people)])
    right = _by_order(train, others, owners, sizes)
    return [
        _curve((name, unit), sizes, one.table, rights)
        for name, one, rights in zip(tested, others, right, strict=True)
    ]


def _owners(train: Labelled) -> tuple[str, NDArray[np.str_]]:
    groups = known_groups(train.table)
    if groups is not None:
        return "signer", np.asarray(groups, dtype=str)
    return "source", train.table["source"].astype(str).to_numpy(dtype=str)


def _by_order(
    train: Labelled, tested: Sequence[Labelled], owners: NDArray[np.str_], sizes: NDArray[np.int64]
) -> list[Floats]:
    """Return for each set which images `(R, S, N)` are recognised with so many of each order."""
    people = np.unique(owners)
    whole = correct(train, *tested)
    found = [np.empty((_ORDERS, len(sizes), len(one))) for one in tested]
    for order in range(_ORDERS):
        shuffled = np.random.default_rng(order).permutation(people)
        for place, size in enumerate(sizes):
            rows = np.flatnonzero(np.isin(owners, shuffled[:size]))
            answers = whole if size == len(people) else correct(train.take(rows), *tested)
            for one, right in zip(found, answers, strict=True):
                one[order, place] = right
    return found


def _curve(
    named: tuple[str, str], sizes: NDArray[np.int64], table: pd.DataFrame, right: Floats
) -> PeopleCurve:
    name, unit = named
    known = int(sizes[-1])
    asked = np.unique([*sizes, known + MORE, 2 * known])
    owners = known_groups(table)
    units = np.asarray(owners or [str(i) for i in range(len(table))])
    _, places = np.unique(units, return_inverse=True)
    n_units = int(places.max()) + 1
    sums = np.zeros((*right.shape[:2], n_units))
    np.add.at(sums.transpose(2, 0, 1), places, right.transpose(2, 0, 1))
    counts = np.bincount(places).astype(np.float64)
    orders = right.mean(axis=2)
    drawn = _drawn_fits(sums, counts, sizes, asked) if n_units > 1 else None
    fitted = 1 - _fit(sizes, 1 - orders.mean(axis=0)[None], asked)[0]
    places_of = [int(np.flatnonzero(asked == size)[0]) for size in (known + MORE, known)]
    gains = None if drawn is None else drawn[:, places_of[0]] - drawn[:, places_of[1]]
    bounds = None if drawn is None else np.quantile(drawn, [0.025, 0.975], axis=0)
    return PeopleCurve(
        name=name,
        unit=unit,
        sizes=sizes,
        accuracy=orders.mean(axis=0),
        orders=orders,
        asked=asked,
        fitted=fitted,
        low=None if bounds is None else bounds[0],
        high=None if bounds is None else bounds[1],
        known_interval=mean_interval(right[:, -1].mean(axis=0), owners, share=True),
        gain=float(fitted[places_of[0]] - fitted[places_of[1]]),
        gain_interval=None
        if gains is None
        else (float(np.quantile(gains, 0.025)), float(np.quantile(gains, 0.975))),
    )


def _drawn_fits(
    sums: Floats, counts: Floats, sizes: NDArray[np.int64], asked: NDArray[np.int64]
) -> Floats:
    """Return the fitted accuracies `(D, A)` of drawn orders and test units."""
    generator = np.random.default_rng(0)
    n_orders, n_units = sums.shape[0], sums.shape[2]
    drawn = np.empty((_DRAWS, len(sizes)))
    for row in range(_DRAWS):
        orders = generator.integers(0, n_orders, n_orders)
        weights = generator.multinomial(n_units, np.full(n_units, 1 / n_units))
        drawn[row] = (sums[orders].mean(axis=0) @ weights) / (counts @ weights)
    return 1 - _fit(sizes, 1 - drawn, asked)


def _fit(sizes: NDArray[np.int64], errors: Floats, asked: NDArray[np.int64]) -> Floats:
    """Return power laws with a floor, fitted to errors `(D, S)`, at the sizes asked for, `(D, A)`.

    For each exponent of a grid the floor and the factor, neither below 0, have a closed form.
    """
    best = np.full(len(errors), np.inf)
    found = np.empty((len(errors), len(asked)))
    for exponent in _EXPONENTS:
        x = sizes.astype(np.float64) ** -exponent
        spread = x - x.mean()
        factor = errors @ spread / (spread @ spread)
        floor = errors.mean(axis=1) - factor * x.mean()
        without_floor = floor < 0
        factor = np.where(without_floor, errors @ x / (x @ x), factor)
        floor = np.where(without_floor, 0.0, floor)
        level = factor < 0
        factor = np.where(level, 0.0, factor)
        floor = np.where(level, errors.mean(axis=1), floor)
        missed = ((floor[:, None] + factor[:, None] * x - errors) ** 2).sum(axis=1)
        better = missed < best
        best = np.where(better, missed, best)
        at = floor[:, None] + factor[:, None] * asked.astype(np.float64) ** -exponent
        found[better] = at[better]
    return found


def more_people_figure(path: Path, curves: Sequence[PeopleCurve]) -> None:
    """Draw accuracy by the number of training people into a PNG, a panel a set."""
    figure = canvas.new_figure(5.2 * len(curves), 4.6)
    canvas.title(figure, "How many more people?", "dots: means; dashed: the fit, 95 % shaded")
    for axes, one in zip(figure.subplots(1, len(curves), squeeze=False).flat, curves, strict=True):
        for order in one.orders:
            axes.plot(one.sizes, order, color=canvas.FAINT, linewidth=0.8)
        axes.plot(one.sizes, one.accuracy, "o", color=canvas.BLUE)
        axes.plot(one.asked, one.fitted, "--", color=canvas.ORANGE)
        if one.low is not None and one.high is not None:
            axes.fill_between(one.asked, one.low, one.high, color=canvas.AMBER, alpha=0.25)
        axes.axvline(one.sizes[-1], color=canvas.GREY, linestyle=":")
        axes.set_title(canvas.plain(one.name), fontsize=10)
        axes.set(xlabel=f"training {one.unit}s", ylabel="accuracy")
        axes.grid(color=canvas.PALE)
    canvas.save(figure, path)
