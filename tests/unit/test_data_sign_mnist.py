"""Sign Language MNIST: its two tables as files, letters and splits; faulty tables refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import DataError
from asl_exp.config.schema import DataConfig
from asl_exp.data.dataset import load_letters
from asl_exp.data.sources.selection import check_source, list_images

LETTERS = "ABCDEFGHIKLMNOPQRSTUVWXY"
HEADER = ",".join(["label", *(f"pixel{number}" for number in range(1, 785))])


def picture(label: int, number: int) -> np.ndarray:
    return np.random.default_rng([label, number]).integers(0, 256, 784)


def copy_of_it(folder: Path, each: int = 3) -> Path:
    """Write tables of the set's form; pictures are noise."""
    for split, n_images in (("train", 4 * each), ("test", each)):
        lines = [HEADER]
        for number in range(n_images):
            for label in (ord(letter) - ord("A") for letter in LETTERS):
                pixels = picture(label, number + 100 * (split == "test"))
                lines.append(",".join(map(str, [label, *pixels])))
        file = folder / f"sign_mnist_{split}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
    return folder


def given(root: Path) -> DataConfig:
    overrides = ["data=sign_mnist", f"data.root={root}", f"data.cache_dir={root.parent / 'cache'}"]
    return compose_config(overrides).data


def test_both_tables_are_read_as_letters_and_splits(tmp_path: Path) -> None:
    config = given(copy_of_it(tmp_path / "set"))
    check_source(config)
    assert not (tmp_path / "cache").exists()
    data = load_letters(config, image_size=28, interpolation="nearest", seed=0)
    assert data.classes == tuple(LETTERS)
    assert data.split_rule == "column"
    assert len(data.splits["test"]) == 3 * 24
    assert len(data.splits["train"]) + len(data.splits["val"]) == 12 * 24
    assert "leak" in data.caution
    row = data.splits["test"].table["key"].tolist().index("test/C/00002.png")
    expected = picture(2, 100).reshape(28, 28)
    assert np.array_equal(data.splits["test"].gather(np.array([row]))[0, ..., 0], expected)


def test_it_is_unpacked_once(tmp_path: Path) -> None:
    config = given(copy_of_it(tmp_path / "set" / "versions" / "1", each=1).parents[1])
    files = list_images(config).images["path"].tolist()
    times = [Path(file).stat().st_mtime_ns for file in files]
    assert list_images(config).images["path"].tolist() == files
    assert [Path(file).stat().st_mtime_ns for file in files] == times


def without_test(folder: Path) -> None:
    (folder / "sign_mnist_test.csv").unlink()


def line(folder: Path, place: int, text: str) -> None:
    file = folder / "sign_mnist_train.csv"
    lines = file.read_text().splitlines()
    lines[place] = text
    file.write_text("\n".join(lines))


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (without_test, "has no sign_mnist_test.csv"),
    (lambda folder: line(folder, 0, "path,label"), "has the columns path, label"),
    (lambda folder: line(folder, 0, HEADER + ",more"), "Sign Language MNIST has label"),
    (lambda folder: line(folder, 1, ",".join(["9"] + ["0"] * 784)), "has the labels 9"),
    (lambda folder: line(folder, 1, ",".join(["0"] + ["300"] * 784)), "not of 0 to 255"),
    (lambda folder: line(folder, 1, ",".join(["A"] + ["0"] * 784)), "no table of whole numbers"),
    (lambda folder: (folder / "sign_mnist_train.csv").write_text(HEADER), "but no rows"),  # type: ignore[arg-type,return-value]
]


def checked_and_listed(config: DataConfig) -> None:
    check_source(config)
    list_images(config)


@pytest.mark.parametrize(("spoil", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_faulty_copies_are_refused(
    spoil: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    folder = copy_of_it(tmp_path / "set", each=1)
    spoil(folder)
    with pytest.raises(DataError) as caught:
        checked_and_listed(given(folder))
    assert said in str(caught.value)
