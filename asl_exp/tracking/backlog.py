"""Finds the runs that a replica does not hold whole."""

from collections.abc import Iterator

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from asl_exp.config.names import Tag
from asl_exp.tracking.ledger import Entry, Ledger
from asl_exp.tracking.local_run import ENDED, LocalRun


def meant_for(client: MlflowClient, address: str) -> Iterator[Run]:
    """Yield the runs that were started with this replica, oldest first."""
    for run in every_run(client, f"tags.{Tag.REPLICA} = '{address.replace(chr(39), '')}'"):
        if run.data.tags.get(Tag.REPLICA) == address:
            yield run


def every_run(client: MlflowClient, condition: str = "") -> Iterator[Run]:
    """Yield all runs of the local store, or those of which a condition is true, oldest first."""
    experiments = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)]
    token = None
    while True:
        page = client.search_runs(
            experiments, condition, max_results=1000, order_by=["start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def undelivered(
    client: MlflowClient, ledger: Ledger, address: str, *, compare: bool = False
) -> list[str]:
    """Return the ids of ended runs that wait for delivery, oldest first.

    Args:
        client: of the local store.
        ledger: of the same folder.
        address: of the replica.
        compare: look also whether runs that were delivered whole have changed since.
    """
    known = {e.run_id: e for e in ledger.entries("address = ?", address)}
    waiting = []
    for run in meant_for(client, address):
        entry = known.pop(run.info.run_id, None)
        settled = entry.settled if entry else None
        if settled is None or (compare and settled != LocalRun(client, run).fingerprint()):
            waiting.append(run)
    asked_for = [e for e in known.values() if e.settled is None and _is_there(client, ledger, e)]
    ended = [run.info.run_id for run in waiting if run.info.status in ENDED]
    return ended + [entry.run_id for entry in asked_for]


def _is_there(client: MlflowClient, ledger: Ledger, entry: Entry) -> bool:
    """Return whether a run is still in the local store; of one that is not, nothing is kept."""
    try:
        return bool(client.get_run(entry.run_id).info.lifecycle_stage == "active")
    except MlflowException:
        ledger.forget(entry.run_id, entry.address)
        return False
