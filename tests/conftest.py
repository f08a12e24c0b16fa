"""What all tests share: a tiny experiment, the command line, real photos and weights.

The environment is set before torch is imported: two cores are shared by all tests and processes.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from made_once import make_once
from postgresql import database  # noqa: F401
from servers.fixtures import dagshub, mlflow_2_7, mlflow_3, own_dagshub, own_server, proxy  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "CUDA_VISIBLE_DEVICES": "",
    "COLUMNS": "200",
}.items():
    os.environ[_name] = _value
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of hundreds of processes would compile all
sys.dont_write_bytecode = False
FIRST = "ASL_EXP_TEST_MADE" not in os.environ  # of the session's processes
if FIRST:
    os.environ["ASL_EXP_TEST_MADE"] = tempfile.mkdtemp()

TINY = (
    "backbone.name=asl_small_cnn",
    "backbone.pretrained=false",
    "backbone.image_size=32",
    "head.hidden=[16]",
    "data.classes=A-C",
    "data.batch_size=8",
    "data.synthetic.signers=4",
    "data.synthetic.images_per_letter=4",
    "data.synthetic.external_signers=1",
)
"""Three letters of four drawn signers: 24 images to train on, 12 each in val, test, external."""

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
OwnSweep = Callable[[str], list[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker ends with it alone."""
    items.sort(key=lambda item: item.path.name != "test_demo.py")


def pytest_unconfigure() -> None:
    if FIRST:
        shutil.rmtree(os.environ["ASL_EXP_TEST_MADE"], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _made_once() -> None:
    make_once()


@pytest.fixture(autouse=True)
def _stay_away_from_the_project(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run tests of this kind in a temporary folder, so that no .cache or runs appear elsewhere."""
    if any(part in request.node.path.name for part in ("test_run_", "test_cli_", "test_training_")):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_sweep(folder: Path) -> OwnSweep:
    """Write a user's own ``sweep=mine`` and return the search path by which it is found."""

    def write(text: str) -> list[str]:
        file = folder / "own" / "sweep" / "mine.yaml"
        file.parent.mkdir(parents=True)
        head = "# @package _global_\ndefaults: [base@sweep, override /hydra/sweeper: asl_exp]\n"
        file.write_text(head + text)
        return [f"file://{folder / 'own'}"]

    return write


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Overrides of the tiny experiment; its stored pixels are shared by the session."""
    return (*TINY, f"data.cache_dir={tmp_path_factory.mktemp('cache')}")


@pytest.fixture(scope="session")
def runs_dir(tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of the tiny experiment, which differ in their seed; run0 stays as it is."""
    from asl_exp.config.compose import compose_config
    from asl_exp.training.run import run_experiment

    folder = tmp_path_factory.mktemp("runs")
    length = ("schedule.transfer.epochs=2", "schedule.finetune.epochs=0", "lr.transfer=3e-3")
    for seed in (0, 1):
        config = compose_config([*tiny, *length, f"seed={seed}", f"runs_dir={folder}"])
        run_experiment(config, folder / f"run{seed}")
    return folder


@pytest.fixture(scope="session")
def joints_file() -> Path:
    """Joints of 18 real signers, for tests alone."""
    path = SHARED / "data" / "joints" / "joints.csv.gz"
    if not path.exists():
        pytest.skip(f"no joints at {path}")
    return path


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photos with its manifest.csv."""
    folder = SHARED / "data" / "asl"
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no photos in {folder}")
    return folder


@pytest.fixture(scope="session")
def hand_model() -> Path:
    """MediaPipe's networks, with LiteRT there to run them."""
    pytest.importorskip("ai_edge_litert", reason="the extra hands is not installed")
    path = SHARED / "weights" / "hand_landmarker.task"
    if not path.is_file():
        pytest.skip(f"no networks in {path}")
    return path


@pytest.fixture(scope="session")
def real_weights() -> Callable[[str], Path]:
    """Return the file of a network's real pretrained weights."""

    def find(name: str) -> Path:
        path = SHARED / "weights" / f"{name}.safetensors"
        if not path.is_file():
            pytest.skip(f"no weights in {path}")
        return path

    return find


def faults_of(*words: str, multirun: bool = False, searchpath: Sequence[str] = ()) -> list[str]:
    """Return the faults of a command line that is wrong."""
    from asl_exp.config.errors import ConfigError
    from asl_exp.config.study_plan import check_overrides

    with pytest.raises(ConfigError) as caught:
        check_overrides(words, multirun=multirun, searchpath=searchpath)
    return list(caught.value.faults)


class Touches:
    """Makes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.file,)


@pytest.fixture
def no_room_for_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full where features are to be stored."""
    from asl_exp.data import cache_files

    reserve = cache_files._reserve

    def full(file: Path, n_bytes: int) -> None:
        if file.parent.name == "features":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(file, n_bytes)

    monkeypatch.setattr(cache_files, "_reserve", full)


def command(*arguments: str, options: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *options, "-m", "asl_exp", *arguments]


def environment() -> dict[str, str]:
    """Return the environment of a command: the package under test and no colours."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run ``python -m asl_exp`` in a temporary folder and return what it said."""

    def run(
        *arguments: str, options: tuple[str, ...] = (), cwd: Path = tmp_path, timeout: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command(*arguments, options=options), cwd=cwd, env=environment(), timeout=timeout,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run
