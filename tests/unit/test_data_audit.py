"""The audit finds planted copies, shows them, and stays silent on a clean split."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_images import detailed, manifest, picture, save
from PIL import Image

from asl_exp.config.schema import DataConfig
from asl_exp.data.__main__ import main
from asl_exp.data.audit.findings import Findings, find, look_at
from asl_exp.data.dataset import load_letters

SIZE = 48


def photo_set(folder: Path, planted: str) -> Path:
    """Make 3 groups of 2 classes of 3 images; plant something alike in train and test."""
    lines = ["path,label,group,split"]
    for g, split in enumerate(["train", "val", "test"]):
        for c, label in enumerate("AB"):
            for n in range(3):
                path = folder / "an ä" / f"{split}_{label}{n}.png"
                save(detailed(1000 * g + 100 * c + n, SIZE), path)
                group = "shared" if planted == "group" and n == 0 else f"g{g}"
                lines.append(f"an ä/{path.name},{label},{group},{split}")
    target = folder / "an ä" / "test_A1.png"
    if planted == "exact":
        target.write_bytes((folder / "an ä" / "train_A2.png").read_bytes())
    if planted == "near":
        save(detailed(2, SIZE).point(lambda value: value * 0.9), target)
    return manifest(folder / "m.csv", lines)


def findings(folder: Path, planted: str) -> Findings:
    config = DataConfig(
        source="manifest", manifest=str(photo_set(folder, planted)), split="column",
        cache_dir=str(folder / "cache"),
    )  # fmt: skip
    data = load_letters(config, image_size=SIZE, interpolation="bilinear", seed=0)
    return find(data, look_at(data.splits, config, lambda done: None))


def test_a_clean_split_has_no_findings(tmp_path: Path) -> None:
    found = findings(tmp_path, "nothing")
    assert not found.leaks
    assert found.pairs.empty
    assert found.to_dict()["splits"]["train"]["classes"] == {"A": 3, "B": 3}


@pytest.mark.parametrize(("planted", "copies"), [("exact", (1, 0)), ("near", (0, 1))])
def test_planted_copies_are_found(planted: str, copies: tuple[int, int], tmp_path: Path) -> None:
    found = findings(tmp_path, planted)
    assert found.leaks
    assert found.leaked("test") == copies
    assert found.leaked("val") == (0, 0)
    (pair,) = found.to_dict()["pairs"]
    assert pair["kind"] == planted
    assert [Path(image["path"]).name for image in pair["images"]] == ["train_A2.png", "test_A1.png"]


def test_a_group_on_both_sides_leaks(tmp_path: Path) -> None:
    found = findings(tmp_path, "group")
    assert found.leaks
    assert found.cut_groups == ("shared",)
    assert found.group_mates("test") == 2


def words(folder: Path, *data: str) -> list[str]:
    size = ["backbone.name=asl_small_cnn", f"backbone.image_size={SIZE}"]
    return [*data, f"data.cache_dir={folder / 'cache'}", f"runs_dir={folder / 'runs'}", *size]


def listed(file: Path) -> list[str]:
    return words(file.parent, "data=manifest", f"data.manifest={file}", "data.split=column")


def command(folder: Path, name: str, planted: str = "nothing", more: Sequence[str] = ()) -> int:
    return main([name, *listed(photo_set(folder, planted)), "augmentation=strong", *more])


def test_images_of_nobody_known_are_counted_not_listed(tmp_path: Path) -> None:
    others = tmp_path / "others"
    for number, label in enumerate("AAABBB"):
        save(detailed(9000 + number, SIZE), others / label / f"{number}.png")
    assert command(tmp_path, "audit", more=[f"data.external=[{others}]"]) == 0
    page = (tmp_path / "runs" / "audit" / "audit.html").read_text("utf-8")
    assert "and 6 images without a group, none like another" in page
    assert "near:" not in page
    assert "g0" in page


@pytest.mark.parametrize(("planted", "status"), [("nothing", 0), ("near", 1)])
def test_the_command_writes_a_page_that_stands_alone(
    planted: str,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "64")
    assert command(tmp_path, "audit", planted) == status
    page = (tmp_path / "runs" / "audit" / "audit.html").read_text("utf-8")
    figures = json.loads((tmp_path / "runs" / "audit" / "audit.json").read_text("utf-8"))
    assert figures["leaks"] == bool(status)
    assert not re.search(r"(src|href)='(?!data:)", page)
    assert page.count("<img") == 4 + status  # three splits, augmented, and the pair
    assert ("near, " in page) == bool(status)
    said = capsys.readouterr().out
    assert "audit.html" in said
    assert "…" not in said, "a heading was cut on a narrow terminal"


def test_prepare_decodes_so_that_audit_need_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "prepare") == 0
    said = capsys.readouterr()
    assert "storing pixels: 18 images" in said.err
    assert "train 6, val 6, test 6" in said.out
    assert command(tmp_path, "audit") == 0
    assert "storing pixels" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage:"),
        (["adit"], "no command 'adit'"),
        (["audit", "data=folder", "data.root=/no/such/folder"], "there is no folder"),
        (["audit", "data.splitt=random"], "data.split"),
    ],
)
def test_mistakes_end_with_2_and_a_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.out + said.err


def test_names_from_the_data_are_escaped(tmp_path: Path) -> None:
    lines = ["path,label,group,split"]
    for number, split in enumerate(["train", "val", "test"]):
        for label in ("<b>A</b>", "B"):
            path = save(
                picture(10 * number + (label == "B")), tmp_path / f"{split}{len(lines)}.png"
            )
            lines.append(f"{path.name},{label},g{number},{split}")
    main(["audit", *listed(manifest(tmp_path / "m.csv", lines))])
    page = (tmp_path / "runs" / "audit" / "audit.html").read_text("utf-8")
    assert "<b>A</b>" not in page
    assert "&lt;b&gt;A&lt;/b&gt;" in page


def test_an_external_set_that_lacks_classes_is_audited(tmp_path: Path) -> None:
    photo_set(tmp_path, "nothing")
    for number in range(2):
        save(detailed(900 + number, SIZE), tmp_path / "out" / "A" / f"{number}.png")
    more = [f"data.external=[{tmp_path / 'out'}]"]
    assert command(tmp_path, "audit", more=more) == 0
    facts = json.loads((tmp_path / "runs" / "audit" / "audit.json").read_text("utf-8"))
    assert facts["splits"]["external/out"]["classes"] == {"A": 2}


def test_a_long_name_of_a_set_is_whole_in_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for number in range(2):
        save(detailed(900 + number, SIZE), tmp_path / "kaggle_asl_alphabet" / "A" / f"{number}.png")
    assert (
        command(tmp_path, "audit", more=[f"data.external=[{tmp_path / 'kaggle_asl_alphabet'}]"])
        == 0
    )
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "kaggle_asl_alphabet" in shown, "the second line of its cell, not cut in two"


def test_the_default_split_passes_its_own_audit(tmp_path: Path) -> None:
    """Pictures that differ a little more from file to file than from stored pixels, or less."""
    generator = np.random.default_rng(0)
    for index, name in enumerate("ABC"):
        for shot in range(6):
            base = np.asarray(detailed(100 * index + shot, 3 * SIZE), int)
            for frame in range(4):
                noisy = np.clip(base + generator.integers(-40, 41, base.shape), 0, 255)
                image = Image.fromarray(noisy.astype(np.uint8))
                save(image, tmp_path / "in" / name / f"{chr(97 + shot)}{chr(97 + frame)}.png")
    assert main(["audit", *words(tmp_path, "data=folder", f"data.root={tmp_path / 'in'}")]) == 0


@pytest.mark.heavy
def test_a_wrong_label_is_shown_beside_the_answer(tmp_path: Path) -> None:
    pytest.importorskip("cleanlab", reason="the extra audit is not installed")
    lines = ["path,label,group,split"]
    answers = []
    for n in range(30):
        path, truth = tmp_path / f"{n}.png", "AB"[n % 2]
        save(detailed(n, SIZE), path)
        said = "B" if n == 6 else truth
        lines.append(f"{path.name},{said},g{n},{('train', 'val', 'test')[n % 3]}")
        sure = 0.8 + (30 - n) / 200
        answers.append([str(path), said, sure if truth == "A" else 1 - sure])
    table = pd.DataFrame(answers, columns=["path", "label", "probability/A"])
    file = tmp_path / "predictions.parquet"
    table.assign(**{"probability/B": 1 - table["probability/A"]}).to_parquet(file)
    csv = manifest(tmp_path / "m.csv", lines)
    assert main(["audit", "--predictions", str(file), *listed(csv)]) == 0
    audit = tmp_path / "runs" / "audit"
    found = json.loads((audit / "audit.json").read_text())["likely_wrong_labels"]
    assert [Path(one["path"]).name for one in found] == ["6.png"]
    assert (found[0]["label"], found[0]["predicted"]) == ("B", "A")
    page = (audit / "audit.html").read_text()
    assert "labelled <b>B</b> (0.080), answered <b>A</b> (0.920)" in page


def test_predictions_for_rows_of_joints_are_refused_before_images_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame({"path": ["data.joints:7", "data.joints:9"], "label": ["A", "B"]})
    file = tmp_path / "predictions.parquet"
    table.assign(**{"probability/A": 0.9, "probability/B": 0.1}).to_parquet(file)
    assert main(["audit", "--predictions", str(file), "data=synthetic"]) == 2
    said = capsys.readouterr().err
    assert "rows of data.joints, which have no images to look at" in said
    assert "drawing" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["audit", "--predictions"], "--predictions: give the"),
        (["prepare", "--predictions", "x"], "--predictions belongs to audit"),
        (["audit", "--predictions", "nowhere"], "--predictions nowhere: no predictions of asl_exp"),
        (["audit", "--predictions", "~no/x"], "--predictions ~no/x: no predictions of asl_exp"),
        (["audit", "--predictions", "/"], "/: no predictions of asl_exp (no such file)"),
    ],
)
def test_what_are_no_predictions_is_refused(
    given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, given[0], more=given[1:]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "cache" / "pixels").exists(), "said before any image is decoded"
