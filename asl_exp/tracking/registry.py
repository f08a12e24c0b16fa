"""Registers the kept model in a model registry: here, and on a replica that has one.

Each run becomes a version of the model of the user's name, and takes over the alias. A server that
cannot register says so once; the run carries the name in a tag everywhere, so it can be searched.
"""

from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from asl_exp.config.names import Artifact
from asl_exp.tracking.server import DeniedError, MissingError, RejectedError, Server

ALIAS: Final = "candidate"
_TAKEN: Final = "RESOURCE_ALREADY_EXISTS"


def register_here(client: MlflowClient, run_id: str, name: str) -> str:
    """Return the version that the run's model got in the local store; the same when called again.

    Raises:
        MlflowException: the store cannot be written.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != _TAKEN:
            raise
    for found in client.search_model_versions(f"run_id = '{run_id}'"):
        if found.name == name:
            return str(found.version)
    source = f"{client.get_run(run_id).info.artifact_uri}/{Artifact.MODEL}"
    version = str(client.create_model_version(name, source, run_id).version)
    client.set_registered_model_alias(name, ALIAS, version)
    return version


def register_there(server: Server, run_id: str, artifact_uri: str, name: str) -> str | None:
    """Do the same on a replica, by calls that MLflow 2.7 has; return why it cannot, or None.

    Raises:
        NotNowError: it may do it later.
    """
    try:
        _make_model(server, name)
        found = server.get("/model-versions/search", filter=f"run_id = '{run_id}'")
        if all(version["name"] != name for version in found.get("model_versions", [])):
            body = {"name": name, "source": f"{artifact_uri}/{Artifact.MODEL}", "run_id": run_id}
            made = server.post("/model-versions/create", body)["model_version"]
            alias = {"name": name, "alias": ALIAS, "version": made["version"]}
            server.post("/registered-models/alias", alias)
    except (RejectedError, MissingError, DeniedError) as error:
        return str(error)
    return None


def _make_model(server: Server, name: str) -> None:
    try:
        server.get("/registered-models/get", name=name)
    except MissingError:
        server.post("/registered-models/create", {"name": name})
