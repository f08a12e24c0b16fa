"""What is said before training where the replica would not take the run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.dagshub import Dagshub
from servers.mlflow_server import MlflowServer
from servers.proxy import Proxy, Trouble

from asl_exp.config.errors import ConfigError, UserError
from asl_exp.config.schema import TrackingConfig
from asl_exp.replica import api as server_module
from asl_exp.replica import background, login


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing is known of earlier logins, no thread is left, no login of this machine is read."""
    monkeypatch.setattr(login, "_opened", {})
    monkeypatch.setattr(login, "_FIRST_TRIES_S", (0.01,))
    monkeypatch.setattr(background, "_threads", {})
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "DAGSHUB_USER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield
    background.finish_delivery(lambda line: None, 0)


@pytest.fixture
def hub(
    mlflow_3: MlflowServer,
    own_dagshub: Callable[[MlflowServer], Dagshub],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Dagshub:
    hub = own_dagshub(mlflow_3)
    for name, value in hub.environment(None, tmp_path).items():
        monkeypatch.setenv(name, value)
    from dagshub.common import config

    monkeypatch.setattr(config, "cache_location", str(tmp_path / "dagshub-tokens"))
    return hub


def begin(tmp_path: Path, **values: Any) -> list[str]:
    said: list[str] = []
    background.begin_delivery(TrackingConfig(**values), tmp_path / "runs", said.append)
    return said


def refused(tmp_path: Path, **values: Any) -> str:
    """Return what is said, and make sure that with required=false it is a warning."""
    with pytest.raises(UserError) as error:
        begin(tmp_path, **values)
    (warning,) = begin(tmp_path, **values, required=False)
    assert warning.split(";")[0] == str(error.value).split(";")[0]
    assert "required=false" in str(error.value)
    return str(error.value)


def test_a_server_that_takes_runs(tmp_path: Path, mlflow_3: MlflowServer) -> None:
    assert begin(tmp_path, mode="server", uri=f"{mlflow_3.url}/") == []


def test_nothing_listens(tmp_path: Path) -> None:
    told = refused(tmp_path, mode="server", uri="http://127.0.0.1:9")
    assert "tracking.uri: http://127.0.0.1:9: nothing listens there" in told


def test_no_such_host(tmp_path: Path) -> None:
    assert "no such host" in refused(tmp_path, mode="server", uri="http://no-such-host.invalid")


def test_no_mlflow_server(
    tmp_path: Path, mlflow_3: MlflowServer, proxy: Callable[[MlflowServer], Proxy]
) -> None:
    told = refused(tmp_path, mode="server", uri=f"{proxy(mlflow_3).url}/a/wrong/path")
    assert "is that the address of an MLflow server?" in told


def test_a_server_that_never_answers(
    tmp_path: Path,
    mlflow_3: MlflowServer,
    proxy: Callable[[MlflowServer], Proxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "_ANSWER_S", 0.3)
    silent = proxy(mlflow_3)
    silent.trouble = Trouble(hang=True)
    assert "does not answer" in refused(tmp_path, mode="server", uri=silent.url)


def test_a_server_that_fails_now_and_then(
    tmp_path: Path,
    mlflow_3: MlflowServer,
    proxy: Callable[[MlflowServer], Proxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(login, "_FIRST_TRIES_S", (0.01,) * 8)
    unreliable = proxy(mlflow_3)
    unreliable.trouble = Trouble(fail=0.4, cut_before=0.1)
    assert begin(tmp_path, mode="server", uri=unreliable.url) == []


def test_a_server_that_asks_for_a_login(
    tmp_path: Path, hub: Dagshub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSHUB_CLIENT_HOST", "https://dagshub.com")
    assert "MLFLOW_TRACKING_USERNAME" in refused(tmp_path, mode="server", uri=hub.url)
    monkeypatch.setattr(login, "_opened", {})
    monkeypatch.setattr(background, "_threads", {})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", hub.READER)
    assert "403" in refused(tmp_path, mode="server", uri=hub.url)
    monkeypatch.setattr(login, "_opened", {})
    monkeypatch.setattr(background, "_threads", {})
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", hub.WRITER)
    assert begin(tmp_path, mode="server", uri=hub.url) == []


@pytest.mark.parametrize(
    ("token", "repo", "told"),
    [
        (None, "ada/hands", "no token for DagsHub"),
        ("not-a-token", "ada/hands", "DagsHub does not know the token"),
        (Dagshub.STRANGER, "ada/hands", "shows no repository 'ada/hands' to stranger"),
        (Dagshub.WRITER, "ada/feet", "shows no repository 'ada/feet' to ada"),
        (Dagshub.READER, "ada/hands", "reader may not write to 'ada/hands'"),
    ],
)
def test_dagshub_refuses(
    tmp_path: Path, hub: Dagshub, monkeypatch: pytest.MonkeyPatch, token: str | None, repo: str,
    told: str,
) -> None:  # fmt: skip
    if token:
        monkeypatch.setenv("DAGSHUB_USER_TOKEN", token)
    said = refused(tmp_path, mode="dagshub", repo=repo)
    assert told in said
    assert said.startswith("tracking.repo: ")
    assert token is None or token not in said


def test_dagshub_is_logged_in_to_with_its_clients_own_token(
    tmp_path: Path, hub: Dagshub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken from its store, and not deleted from there where DagsHub fails."""
    store = tmp_path / "dagshub-tokens"
    entry = {"access_token": hub.WRITER, "expiry": "never", "token_type": "app-token"}
    store.write_text(yaml.dump({"version": "1", hub.host: [entry]}))
    before = store.read_text()
    hub.trouble = Trouble(fail=1.0, statuses=(500,))
    assert "status 500" in refused(tmp_path, mode="dagshub", repo="ada/hands")
    assert store.read_text() == before
    hub.trouble = Trouble()
    monkeypatch.setattr(background, "_threads", {})
    assert begin(tmp_path, mode="dagshub", repo="ada/hands") == []


def test_a_line_of_netrc_does_not_replace_the_token(
    tmp_path: Path, hub: Dagshub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git users have one for DagsHub; requests prefers it to a header."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login bob password other\n")
    monkeypatch.setenv("DAGSHUB_USER_TOKEN", hub.WRITER)
    assert begin(tmp_path, mode="dagshub", repo="ada/hands") == []


def test_no_repository_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ConfigError, match=r"tracking\.repo: is not given"):
        login.replica_address(TrackingConfig(mode="dagshub"))
