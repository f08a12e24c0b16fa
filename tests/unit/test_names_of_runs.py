"""What a person reads of an experiment: its name, its settings in short, its page's address."""

import socket
from pathlib import Path

import pytest

from asl_exp.config import readable
from asl_exp.config.compose import compose_config
from asl_exp.config.errors import UserError
from asl_exp.config.names import external_means, metric_fault
from asl_exp.config.signature import run_name, told_settings
from asl_exp.evaluation.figures.mistakes import _image_name
from asl_exp.runs.result import Result
from asl_exp.tracking.description import Story, description
from asl_exp.tracking.local_server import ui_address, ui_port

DATA = {
    "photos": "folder {cwd}/photos",
    "day1/images": "folder day1/images",
    "day2/images": "folder day2/images",
    "/data/me/set_a": "folder me/set_a",
    "./photos": "folder {cwd}/photos",
}


@pytest.mark.parametrize("root", DATA)
def test_a_run_of_photos_is_named_by_their_folder(root: str) -> None:
    config = compose_config(["data=folder", f"data.root={root}", "seed=2"])
    told = DATA[root].format(cwd=Path.cwd().name)
    assert run_name(config) == f"efficientnet_b0 {told} seed=2"


def test_a_run_of_a_table_is_named_by_it_and_the_sources_chosen() -> None:
    given = ["data=manifest", "data.manifest=in/all.csv"]
    assert run_name(compose_config(given)) == "efficientnet_b0 manifest in/all"
    some = compose_config([*given, "data.sources=[a,b]"])
    assert run_name(some) == "efficientnet_b0 manifest in/all a+b"
    assert run_name(compose_config([])) == "efficientnet_b0 synthetic"


IDLE = {
    "lr.plateau_patience": (
        ["lr=cosine", "lr.plateau_patience=5"],
        ["lr=plateau", "lr.plateau_patience=5"],
    ),
    "lr.final_fraction": (["lr.final_fraction=0.1"], ["lr=cosine", "lr.final_fraction=0.1"]),
    "optimizer.weight_decay": (
        ["optimizer.weight_decay=0.1"],
        ["optimizer=adamw", "optimizer.weight_decay=0.1"],
    ),
    "data.synthetic.signers": (
        ["data=folder", "data.root=x", "data.external=[]", "data.synthetic.signers=5"],
        ["data.synthetic.signers=5"],
    ),
    "schedule.finetune.patience": (
        ["schedule.finetune.epochs=0", "schedule.finetune.patience=3"],
        ["schedule.finetune.patience=3"],
    ),
    "head.activation": (["head.hidden=[]", "head.activation=relu"], ["head.activation=relu"]),
}


@pytest.mark.parametrize("key", IDLE)
def test_a_setting_is_told_where_it_does_something(key: str) -> None:
    def told(overrides: list[str]) -> bool:
        group, _, name = key.rpartition(".")
        return name in told_settings(compose_config(overrides)).get(group, {})

    idle, busy = IDLE[key]
    assert not told(idle)
    assert told(busy)


def test_what_is_told_of_the_demo_fits_a_small_terminal() -> None:
    told = told_settings(compose_config(["experiment=demo"]))
    width = 22
    lines = sum(1 + sum(len(f"{k}={v}  ") for k, v in group.items()) // (79 - width)
                for group in told.values())  # fmt: skip
    assert lines <= 16
    assert told["backbone"]["name"] == "asl_small_resnet"
    assert told["schedule.finetune"]["epochs"] == "7"


def test_the_mean_over_external_sets_has_one_key() -> None:
    scores = {"external/a/accuracy": 0.2, "external/b c/accuracy": 0.4, "external/a/ece": 0.1,
              "test/accuracy": 1.0}  # fmt: skip
    means = external_means(scores)
    assert means == {"external/accuracy": pytest.approx(0.3), "external/ece": 0.1}
    assert external_means(scores | means) == means, "means are no sets"
    assert metric_fault("external/accuracy") is None
    assert external_means({"test/accuracy": 1.0}) == {}


SHARES = {
    1.0: "1.000", 0.9996: ">0.999", 0.9994: "0.999", 0.0: "0.000", 0.0004: "<0.001", 0.5: "0.500",
}  # fmt: skip


@pytest.mark.parametrize("value", SHARES)
def test_a_share_below_one_is_not_written_as_one(value: float) -> None:
    assert readable.score(value) == SHARES[value]


PERCENTS = {1.0: "100%", 0.997: ">99%", 0.994: "99%", 0.0: "0%", 0.001: "<1%"}


@pytest.mark.parametrize("value", PERCENTS)
def test_a_percentage_below_all_is_not_written_as_all(value: float) -> None:
    assert readable.percent(value) == PERCENTS[value]


def test_sizes_times_and_intervals_are_told_in_few_digits() -> None:
    assert [readable.size(n) for n in (3_140_000, 1_236_000_000)] == ["3.1 MB", "1.24 GB"]
    assert [readable.duration(s) for s in (41.23, 754, 12_600)] == ["41.2 s", "13 min", "3.5 h"]
    assert readable.interval((0.912, 0.98)) == "0.91 to 0.98"
    assert [readable.score(None), readable.score(float("nan")), readable.interval(None)] == [
        "-"
    ] * 3
    assert readable.score(1234.5) == "1,234"


def test_a_drawn_hand_is_named_by_who_shows_it() -> None:
    drawn = "synthetic:synthetic/home/signer03/session1/A/0002@seed0"
    assert _image_name(drawn) == "signer03, take 1.2"
    assert _image_name("/photos/0002@seed0.jpg") == "0002@seed0.jpg"


@pytest.mark.parametrize("given", ["0", "65536", "http", "-1", "5000.5", "²"])
def test_a_port_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UI_PORT", given)
    with pytest.raises(UserError, match="UI_PORT: got"):
        ui_port()


def test_a_port_that_is_taken_is_said_with_one_that_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("UI_PORT", str(port))
        with pytest.raises(UserError, match=rf"port {port} cannot be used .*UI_PORT=\d+"):
            ui_port()
        assert ui_address("#/x") == f"http://127.0.0.1:{port}/#/x"


def test_a_set_whose_name_has_a_bar_stays_in_its_cell(tmp_path: Path) -> None:
    scores = {"external/a|b/accuracy": 0.5}
    told = description(Story("id", tmp_path, Result("", "", metrics=scores), "", ()))
    assert "| external/a\\|b | 0.500 |" in told
