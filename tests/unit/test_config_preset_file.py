"""``experiment=FILE``: a preset that lies outside conf/."""

from pathlib import Path

import pytest
from conftest import Cli

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import ConfigError

PRESET = """\
# @package _global_
defaults:
  - override /backbone: vgg16
  - override /head: flatten
lr: {transfer: 2e-4}
"""


@pytest.mark.parametrize(
    "place", ["mine.yaml", "sub/mine.yaml", "../mine.yaml", "mine.yml", "a b/c=d/mine.yaml", "~"]
)
def test_a_file_is_a_preset_wherever_it_lies(
    folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent if place == "~" else folder)
    path = folder / "mine.yaml" if place == "~" else Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PRESET)
    config = compose_config([f"experiment='{path}'", "head.hidden=[8]"])
    assert (config.backbone.name, config.lr.transfer) == ("vgg16", 2e-4)
    assert config.head.hidden == [8], "the command line comes after the file"
    assert config.schedule["transfer"].lr == 2e-4


def test_a_changed_file_is_read_again(folder: Path) -> None:
    Path("mine.yaml").write_text(PRESET)
    assert compose_config(["experiment=mine.yaml"]).lr.transfer == 2e-4
    Path("mine.yaml").write_text(PRESET.replace("2e-4", "3e-4"))
    assert compose_config(["experiment=mine.yaml"]).lr.transfer == 3e-4


def test_a_file_does_not_stand_for_a_preset_of_its_name(folder: Path) -> None:
    Path("demo.yaml").write_text(PRESET)
    with pytest.raises(ConfigError, match=str(folder / "demo.yaml")):
        compose_config(["experiment=demo.yaml"])
    assert compose_config([f"experiment={folder / 'demo.yaml'}"]).backbone.name == "vgg16"


def test_a_preset_named_as_a_file_is_suggested(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"demoo\.yaml: no such file; did you mean 'demo'"):
        compose_config(["experiment=demoo.yaml"])


def test_the_command_line_takes_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(PRESET)
    done = cli("experiment=mine.yaml", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "name: vgg16" in done.stdout
