"""Two models on the same images: McNemar, the interval of the difference, and the sentence."""

import re

import numpy as np
import pytest
from scipy.stats import binomtest

from asl_exp.evaluation import intervals
from asl_exp.evaluation.differences import difference, holm, is_shown, sentence


def answers(n_both: int, n_first: int, n_second: int, n_none: int) -> tuple[np.ndarray, np.ndarray]:
    first = [1] * n_both + [1] * n_first + [0] * n_second + [0] * n_none
    second = [1] * n_both + [0] * n_first + [1] * n_second + [0] * n_none
    return np.array(first, bool), np.array(second, bool)


def test_mcnemar_counts_the_images_on_which_they_differ() -> None:
    found = difference(*answers(80, 12, 3, 5), None)
    assert (found.only_first, found.only_second, found.n_images) == (12, 3, 100)
    assert found.value == pytest.approx(0.09)
    assert found.p == pytest.approx(binomtest(3, 15).pvalue)
    assert found.interval is not None
    assert found.interval[0] < 0.09 < found.interval[1]
    assert is_shown(found, found.p)


def test_few_groups_show_less_than_many_images() -> None:
    first, second = answers(80, 20, 5, 5)
    one_odd_signer = ["a"] * 80 + ["b"] * 20 + ["c"] * 5 + ["d"] * 5
    assert is_shown(difference(first, second, None), 0.01)
    assert not is_shown(difference(first, second, one_odd_signer), 0.01)
    assert difference(first, second, ["a"] * 110).interval is None


def test_two_equal_models_rarely_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "N_DRAWS", 10)  # p is what is asked
    generator = np.random.default_rng(0)
    shown = 0
    for _ in range(300):
        first, second = generator.random((2, 120)) < 0.7
        found = difference(first, second, None)
        shown += is_shown(found, found.p)
    assert shown / 300 < 0.06  # McNemar's exact test holds its 5 %, and mostly less


def test_holm_corrects_for_the_number_of_comparisons() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("counts", "groups", "said"),
    [
        ((80, 12, 3, 5), None, "A is better than B on test by 9.0 points, 95 % "),
        ((80, 3, 12, 5), None, "B is better than A on test by 9.0 points, 95 % "),
        ((80, 5, 5, 10), None, "A and B are equally good on test, 95 % "),
        (
            (8, 1, 0, 1),
            ["one"] * 10,
            "all 10 images are of one group, which says nothing of others",
        ),
    ],
)
def test_the_sentence(
    counts: tuple[int, int, int, int], groups: list[str] | None, said: str
) -> None:
    found = difference(*answers(*counts), groups)
    told = sentence("A", "B", "test", found, found.p)
    assert said in told
    if groups is None:
        low, high = re.search(r"95 % (-?[\d.]+) to (-?[\d.]+)", told).groups()
        assert float(low) < float(high)


def test_equal_answers_have_no_interval_to_tell() -> None:
    found = difference(*answers(8, 0, 0, 2), None)
    told = sentence("A", "B", "test", found, found.p)
    assert told == "A and B are right on the same images of test (10 images)"


def test_answers_of_different_images_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="3 and 2 answers"):
        difference(np.ones(3, bool), np.ones(2, bool), None)
