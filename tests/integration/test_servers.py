"""The servers that other tests rely on are what they say: real, and as troublesome as told."""

from pathlib import Path

import httpx
import pytest
from mlflow.tracking import MlflowClient
from servers.dagshub import Dagshub
from servers.fixtures import MakeProxy, OwnServer
from servers.mlflow_server import MlflowServer
from servers.proxy import Trouble

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("version", ["3", "2.7.1"])
def test_a_server_keeps_its_runs_when_killed_and_loses_them_with_its_database(
    own_server: OwnServer, version: str
) -> None:
    server = own_server(version)
    given = httpx.get(f"{server.url}/version").text
    assert given.startswith(version)
    client = MlflowClient(server.url)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "a text", "folder/text.txt")
    server.kill()
    server.start()
    assert client.get_run(run.info.run_id).info.run_id == run.info.run_id
    query = {"run_id": run.info.run_id, "path": "folder"}
    listed = httpx.get(f"{server.url}/api/2.0/mlflow/artifacts/list", params=query).json()
    assert [file["path"] for file in listed["files"]] == ["folder/text.txt"]
    server.kill()
    server.lose_database()
    server.start()
    assert client.search_runs(["0"]) == []


def test_a_proxy_is_as_troublesome_as_told(mlflow_3: MlflowServer, proxy: MakeProxy) -> None:
    between = proxy(mlflow_3)
    create = f"{between.url}/api/2.0/mlflow/runs/create"
    search = {"json": {"experiment_ids": ["0"]}}

    def made() -> int:
        answer = httpx.post(f"{mlflow_3.url}/api/2.0/mlflow/runs/search", **search)
        return len(answer.json().get("runs", []))

    def ask() -> int:
        return httpx.post(create, json={"experiment_id": "0"}, timeout=5).status_code

    before = made()
    assert ask() == 200
    between.trouble = Trouble(fail=1.0, statuses=(429,))
    assert ask() == 429
    between.trouble = Trouble(largest_body=5)
    assert ask() == 413
    between.trouble = Trouble(cut_before=1.0)
    with pytest.raises(httpx.TransportError):
        ask()
    assert made() == before + 1
    between.trouble = Trouble(cut_after=1.0)
    with pytest.raises(httpx.TransportError):
        ask()
    assert made() == before + 2
    between.trouble = Trouble(hang=True)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{between.url}/version", timeout=0.3)
    between.trouble = Trouble(fail=1.0, only="POST")
    assert httpx.get(f"{between.url}/version").status_code == 200
    between.down()
    with pytest.raises(httpx.ConnectError):
        ask()
    between.up()
    between.trouble = Trouble(fail=0.3)
    asked = [httpx.get(f"{between.url}/version", verify=False) for _ in range(200)]
    failed = sum(answer.status_code != 200 for answer in asked)
    assert 40 <= failed <= 80
    assert between.calls["POST /api/2.0/mlflow/runs/create"] == 5


def test_dagshub_asks_who_comes(
    dagshub: Dagshub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, repo = f"{dagshub.host}/api/v1", f"{dagshub.host}/api/v1/repos/ada/hands"

    def status(url: str, token: str) -> int:
        return httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code

    assert httpx.get(f"{api}/user").status_code == 401
    assert status(f"{api}/user", "wrong") == 401
    assert status(f"{api}/user", dagshub.WRITER) == 200
    assert status(repo, dagshub.STRANGER) == 404
    assert status(f"{api}/repos/ada/nothing", dagshub.WRITER) == 404
    assert status(f"{dagshub.url}/version", dagshub.READER) == 200
    create = f"{dagshub.url}/api/2.0/mlflow/runs/create"
    said = httpx.post(create, json={"experiment_id": "0"}, auth=("reader", dagshub.READER))
    assert said.status_code == 403
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", dagshub.WRITER)
    client = MlflowClient(dagshub.url)
    run = client.create_run("0")
    client.log_text(run.info.run_id, "a text", "folder/text.txt")
    path = client.download_artifacts(run.info.run_id, "folder/text.txt", str(tmp_path))
    assert Path(path).read_text() == "a text"


def test_dagshubs_own_client_finds_its_way(
    dagshub: Dagshub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in dagshub.environment(None, tmp_path).items():
        monkeypatch.setenv(name, value)
    from dagshub.auth.token_auth import HTTPBearerAuth
    from dagshub.common.api.repo import RepoAPI
    from dagshub.common.api.user import UserAPI

    auth = HTTPBearerAuth(dagshub.READER)
    info = RepoAPI("ada/hands", host=dagshub.host, auth=auth).get_repo_info()
    assert info.permissions == {"admin": False, "push": False, "pull": True}
    assert UserAPI.get_user_from_token(auth, host=dagshub.host).username == "reader"
