"""Opens a replica: logs in, and finds out before training what would go wrong after it."""

from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import MlflowHostCreds

from asl_exp.config.schema import TrackingConfig
from asl_exp.tracking.address import dagshub_host, dagshub_repo, replica_address
from asl_exp.tracking.dagshub_login import check_repository, dagshub_login
from asl_exp.tracking.delivery import experiment_there
from asl_exp.tracking.server import DeniedError, NotNowError, ReplicaError, Server

_FIRST_TRIES_S = (0.3, 0.6, 1.2, 2.4)

_opened: dict[str, Server] = {}


def open_replica(address: str, *, interactive: bool = False) -> Server:
    """Return a server that knows our login; asked once in a process.

    Raises:
        ReplicaError: no login, or the repository is not there.
    """
    if address not in _opened:
        _opened[address] = _logged_in(address, interactive=interactive)
    return _opened[address]


def _logged_in(address: str, *, interactive: bool) -> Server:
    repo = dagshub_repo(address)
    if repo is None:
        return Server(address, get_default_host_creds(address))  # type: ignore[no-untyped-call]
    nobody = MlflowHostCreds(address)  # type: ignore[no-untyped-call]
    asker = Server(address, nobody, _FIRST_TRIES_S)
    login: MlflowHostCreds = asker.repeated(
        lambda: dagshub_login(dagshub_host(), address, interactive=interactive)
    )
    asker.repeated(lambda: check_repository(dagshub_host(), repo, login))
    return Server(address, login)


def refusal(tracking: TrackingConfig) -> str | None:
    """Return why a configuration's replica would not take a run, and how to mend it; else None."""
    address = replica_address(tracking)
    if address is None:
        return None
    try:
        _check(open_replica(address, interactive=True), tracking.experiment)
    except ReplicaError as error:
        key = "tracking.repo" if tracking.mode == "dagshub" else "tracking.uri"
        said = str(error) if str(error).startswith("tracking.") else f"{key}: {error}"
        return said + _mend(error, tracking)
    return None


def _check(server: Server, experiment: str) -> None:
    """Ask for the experiment, and write something harmless to it."""
    patient = Server(server.address, server.login, _FIRST_TRIES_S)
    experiment_id = experiment_there(patient, experiment)
    body = {"experiment_id": experiment_id, "key": "written_by", "value": "asl_exp"}
    patient.post("/experiments/set-experiment-tag", body)


def _mend(error: ReplicaError, tracking: TrackingConfig) -> str:
    if isinstance(error, NotNowError):
        return "; is the address right, and the server up?"
    if isinstance(error, DeniedError) and tracking.mode == "server":
        return (
            "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, in the environment"
        )
    if tracking.mode == "server":
        return "; is that the address of an MLflow server?"
    return ""
