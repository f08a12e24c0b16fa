"""The model registry of the local store and of servers of both kinds; once, however often asked."""

from pathlib import Path

import pytest
from mlflow.models import Model
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.file_utils import local_file_uri_to_path
from replicas import Store, copies
from servers.dagshub import Dagshub
from servers.fixtures import MakeProxy
from servers.mlflow_server import MlflowServer
from servers.proxy import Trouble

from asl_exp.config.compose import compose_config
from asl_exp.replica.api import Server
from asl_exp.replica.delivery import Delivery, Outcome, register_here
from asl_exp.training.run import run_experiment

pytestmark = pytest.mark.heavy


def ended_run(store: Store, name: str) -> str:
    run_id = store.make_run(registered_model=name)
    store.fill(run_id, range(3), files={"model/MLmodel": b"flavors: {}\n"})
    store.end(run_id)
    return run_id


def deliver(store: Store, address: str, run_id: str) -> Outcome:
    server = Server(address, get_default_host_creds(address), patience=(0.01,))
    return Delivery(store.client, store.ledger, server).deliver(run_id, again=True)


def test_a_run_registers_its_model_here(tiny: tuple[str, ...], tmp_path: Path) -> None:
    length = ("schedule.transfer.epochs=1", "schedule.finetune.epochs=0", "data.external=[]")
    named = "tracking.register=hands of mine"
    config = compose_config([*tiny, *length, f"runs_dir={tmp_path}", named])
    run_experiment(config, tmp_path / "run")
    store = Store(tmp_path)
    version = store.client.get_model_version_by_alias("hands of mine", "candidate")
    run = store.client.get_run(version.run_id)
    assert version.source == f"{run.info.artifact_uri}/model"
    assert run.data.tags["registered_model"] == "hands of mine"
    assert Model.load(local_file_uri_to_path(version.source)).run_id is None
    assert register_here(store.client, version.run_id, "hands of mine") == "1"
    second = run_experiment(config, tmp_path / "another")
    newer = store.client.get_model_version_by_alias("hands of mine", "candidate")
    assert second is not None
    assert int(newer.version) == 2
    assert newer.run_id != version.run_id


@pytest.mark.parametrize("kind", ["mlflow_3", "mlflow_2_7"])
def test_a_server_gets_one_version(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: MlflowServer = request.getfixturevalue(kind)
    store = Store(tmp_path)
    run_id = ended_run(store, f"letters {kind}")
    for _ in range(2):
        assert deliver(store, server.url, run_id).refused == {}
    (copy,) = copies(server.url, run_id)
    client = MlflowClient(server.url)
    version = client.get_model_version_by_alias(f"letters {kind}", "candidate")
    assert (int(version.version), version.run_id) == (1, copy.info.run_id)
    assert version.source == f"{copy.info.artifact_uri}/model"


def test_a_host_without_a_registry_says_so_and_tags_the_run(
    mlflow_3: MlflowServer, proxy: MakeProxy, tmp_path: Path
) -> None:
    between, store = proxy(mlflow_3), Store(tmp_path)
    between.trouble = Trouble(fail=1.0, statuses=(404,), only="/registered-models/")
    run_id = ended_run(store, "nowhere")
    outcome = deliver(store, between.url, run_id)
    (reason,) = outcome.refused.values()
    assert list(outcome.refused) == ["a registration as 'nowhere'"]
    assert "404" in reason
    (copy,) = copies(mlflow_3.url, run_id)
    assert copy.info.status == "FINISHED"
    assert copy.data.tags["registered_model"] == "nowhere"


def test_dagshubs_stand_in_registers_too(
    dagshub: Dagshub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", dagshub.WRITER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", dagshub.WRITER)
    store = Store(tmp_path)
    run_id = ended_run(store, "on dagshub")
    assert deliver(store, dagshub.url, run_id).refused == {}
    assert MlflowClient(dagshub.url).get_model_version_by_alias("on dagshub", "candidate")
