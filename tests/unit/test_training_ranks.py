"""What ranks send each other: JSON and tensors, and nothing that runs code where it arrives."""

import pickle
from pathlib import Path

import pytest
from conftest import Touches

from asl_exp.config.errors import RanksDifferError
from asl_exp.training.ranks import received


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_a_value_that_runs_code_where_it_is_unpickled(protocol: int, tmp_path: Path) -> None:
    with pytest.raises(RanksDifferError, match=r"rank 1 sent .* that are no JSON: no process of"):
        received(1, pickle.dumps(Touches(tmp_path / "ran"), protocol))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[1,", b"[" * 100_000, b"1 2", b"\0" * 9])
def test_what_no_rank_sends(text: bytes) -> None:
    with pytest.raises(RanksDifferError, match="a network of their own"):
        received(0, text)
