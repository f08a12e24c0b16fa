"""Finds the runs that a replica does not hold whole, and delivers them.

To the replica that each run was started with, or to one that is named.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from asl_exp.config.errors import UserError, first_line
from asl_exp.config.names import Tag
from asl_exp.replica.api import RejectedError, ReplicaError, Server, paged
from asl_exp.replica.delivery import Delivery, Outcome
from asl_exp.replica.ledger import Entry, Ledger
from asl_exp.replica.local_run import LocalRun
from asl_exp.replica.login import open_replica
from asl_exp.replica.upload import Opened
from asl_exp.runs.result import ENDED
from asl_exp.tracking.store import every_run


@dataclass(frozen=True)
class Task:
    """One run that is to be on one replica."""

    run_id: str
    address: str


def tasks_named(
    client: MlflowClient,
    ledger: Ledger,
    run_ids: Iterable[str],
    address: str | None,
    *,
    skip_others: bool = False,
) -> list[Task]:
    """Return what is to be done for runs that were named.

    Args:
        address: of the replica; None: those that each run was started with or sent to before.
        skip_others: pass over runs that have no replica, where others have one.

    Raises:
        UserError: there are none.
    """
    tasks, without = [], []
    for run_id in run_ids:
        addresses = [address] if address else _replicas(client, ledger, run_id)
        tasks += [Task(run_id, one) for one in addresses]
        without += [] if addresses else [run_id]
    if without and not (skip_others and tasks):
        raise UserError(
            f"{without[0]}: was started without a replica; name one: tracking=server "
            "tracking.uri=... or tracking=dagshub tracking.repo=OWNER/NAME"
        )
    return tasks


def _replicas(client: MlflowClient, ledger: Ledger, run_id: str) -> list[str]:
    tagged = client.get_run(run_id).data.tags.get(Tag.REPLICA)
    asked = [entry.address for entry in ledger.entries("run_id = ?", run_id)]
    return list(dict.fromkeys([*([tagged] if tagged else []), *asked]))


def tasks_left(client: MlflowClient, ledger: Ledger, address: str | None) -> list[Task]:
    """Return what earlier commands left, on one replica or on all that were ever used."""
    found = [address] if address else _addresses(client, ledger)
    left = []
    for one in found:
        run_ids = [*undelivered(client, ledger, one, compare=True), *ledger.refusing(one)]
        left += [Task(run_id, one) for run_id in dict.fromkeys(run_ids)]
    return left


def _addresses(client: MlflowClient, ledger: Ledger) -> list[str]:
    asked = [entry.address for entry in ledger.entries()]
    tagged = every_run(client, f"tags.{Tag.REPLICA} LIKE 'http%'")
    return sorted({*asked, *(run.data.tags[Tag.REPLICA] for run in tagged)})


def forget_lost(client: MlflowClient, ledger: Ledger, address: str | None) -> None:
    """Forget what a replica was given and no longer knows, so that it is delivered again."""
    for one in [address] if address else _addresses(client, ledger):
        try:
            known = _known_runs(open_replica(one))
        except ReplicaError:
            continue  # its tasks will say so
        for entry in ledger.entries("address = ? AND replica_run_id IS NOT NULL", one):
            if entry.replica_run_id not in known:
                ledger.of(entry.run_id, one).forget()
                ledger.of(entry.run_id, one).ask()


def _known_runs(server: Server) -> set[str]:
    """Return the ids of all runs with our tag, those that were deleted there included."""
    every = {"view_type": "ALL", "max_results": 1000}
    listed = paged(lambda page: server.post("/experiments/search", every | page), "experiments")
    ids = [str(experiment["experiment_id"]) for experiment in listed]
    query = {
        "experiment_ids": ids,
        "filter": f"tags.{Tag.LOCAL_RUN} LIKE '%'",
        "run_view_type": "ALL",
        "max_results": 1000,
    }
    runs = paged(lambda page: server.post("/runs/search", query | page), "runs") if ids else ()
    return {str(run["info"]["run_id"]) for run in runs}


def deliver_tasks(
    client: MlflowClient, ledger: Ledger, tasks: Sequence[Task], open_file: Opened
) -> Iterator[tuple[Task, Outcome]]:
    """Deliver each; a replica that cannot be reached is not asked again for every run."""
    unreachable: dict[str, str] = {}
    for task in tasks:
        outcome = Outcome(task.run_id, task.run_id)
        ledger.of(task.run_id, task.address).ask()
        if task.address in unreachable:
            outcome.pending = unreachable[task.address]
            yield task, outcome
            continue
        try:
            delivery = Delivery(client, ledger, open_replica(task.address), open_file)
            outcome = delivery.deliver(task.run_id, again=True)
        except (RejectedError, MlflowException) as error:
            outcome.pending = first_line(error)
        except ReplicaError as error:
            outcome.pending = unreachable[task.address] = str(error)
        yield task, outcome


def meant_for(client: MlflowClient, address: str) -> Iterator[Run]:
    """Yield the runs that were started with this replica, oldest first."""
    for run in every_run(client, f"tags.{Tag.REPLICA} = '{address.replace(chr(39), '')}'"):
        if run.data.tags.get(Tag.REPLICA) == address:
            yield run


def undelivered(
    client: MlflowClient, ledger: Ledger, address: str, *, compare: bool = False
) -> list[str]:
    """Return the ids of ended runs that wait for delivery, oldest first.

    Args:
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
        ledger.of(entry.run_id, entry.address).forget()
        return False
