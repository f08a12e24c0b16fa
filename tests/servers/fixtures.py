"""The fixtures that give servers to tests; ``servers`` says what each is for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from servers.dagshub import Dagshub
from servers.mlflow_server import OLD, MlflowServer
from servers.proxy import Proxy

P = TypeVar("P", bound=Proxy)
OwnServer = Callable[[str], MlflowServer]
MakeProxy = Callable[[MlflowServer], Proxy]
MakeDagshub = Callable[[MlflowServer], Dagshub]


def _started(version: str, folder: Path) -> MlflowServer:
    if version == "2.7.1" and not (OLD.parent / ".ready").exists():
        pytest.skip("MLflow 2.7.1 is not installed: make mlflow-2.7.1")
    return MlflowServer(version, folder).start()


@pytest.fixture(scope="session")
def mlflow_3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = _started("3", tmp_path_factory.mktemp("mlflow-3"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def mlflow_2_7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = _started("2.7.1", tmp_path_factory.mktemp("mlflow-2.7"))
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with ExitStack() as ended:

        def start(version: str) -> MlflowServer:
            server = _started(version, tmp_path_factory.mktemp(f"own-mlflow-{version}"))
            ended.callback(server.kill)
            return server

        yield start


@pytest.fixture
def proxy() -> Iterator[MakeProxy]:
    yield from _each_closed(Proxy)


@pytest.fixture
def own_dagshub() -> Iterator[MakeDagshub]:
    yield from _each_closed(Dagshub)


def _each_closed(kind: type[P]) -> Iterator[Callable[[MlflowServer], P]]:
    with ExitStack() as ended:

        def make(server: MlflowServer) -> P:
            made = kind(server.url)
            ended.callback(made.close)
            return made

        yield make


@pytest.fixture
def dagshub(mlflow_2_7: MlflowServer, own_dagshub: MakeDagshub) -> Dagshub:
    return own_dagshub(mlflow_2_7)
