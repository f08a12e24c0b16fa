"""Makes a replica's run equal to a local one: compares what is there with what was delivered.

Everything can be repeated: a delivery that was cut off anywhere is completed by the next one,
from this process or another, without doubles. The ledger remembers what was given. A server that
was set up anew from an old copy, or whose disk lost files, has less; asking for everything costs a
call for each metric, each folder and each file that programs read, so it is done only where
somebody asks to deliver these runs again.

Also registers the kept model, here and on a replica that has a registry: each run becomes a version
of the model of the user's name, and takes over the alias. A server that cannot register says so
once; the run carries the name in a tag everywhere, so it can be searched.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from asl_exp.config.names import Artifact, Tag
from asl_exp.replica.api import DeniedError, MissingError, NotNowError, RejectedError, Server, paged
from asl_exp.replica.ledger import Account, Kind, Ledger
from asl_exp.replica.local_run import LocalRun, digest, input_key
from asl_exp.replica.upload import Contents, Opened, Sent, Uploads, open_plainly
from asl_exp.tracking.store import experiment_tags, run_path


@dataclass
class Outcome:
    """What became of one run's delivery.

    Attributes:
        refused: what the server will not take, by name, and why.
        pending: why it is not finished; None if it is.
        address: of the replica's page of the run; None where it was not asked.
    """

    run_id: str
    name: str
    replica_run_id: str | None = None
    sent: Sent = field(default_factory=Sent)
    refused: dict[str, str] = field(default_factory=dict)
    pending: str | None = None
    ended: bool = False
    address: str | None = None


class Delivery:
    """Brings local runs to one replica."""

    def __init__(
        self, client: MlflowClient, ledger: Ledger, server: Server, open_file: Opened = open_plainly
    ) -> None:
        self.client, self.ledger, self.server = client, ledger, server
        self.open_file = open_file
        self._experiments: dict[str, str] = {}

    def deliver(self, run_id: str, *, again: bool = False) -> Outcome:
        """Send what the replica lacks of a run; its parent run first.

        Args:
            again: ask the replica what it has still, and try also what it refused before.

        Raises:
            ReplicaError: the server could not be asked, or did not take the run.
        """
        with self.ledger.claim(run_id) as mine:
            if not mine:
                return Outcome(run_id, run_id, pending="another process delivers it")
            local = LocalRun.read(self.client, run_id)
            outcome = Outcome(run_id, local.name, ended=local.ended)
            account = self._account(run_id)
            settled = local.ended and account.entry().settled == local.fingerprint()
            if settled and not again:
                return outcome
            account.settle(None)
            try:
                self._send(local, outcome, again=again)
            except MissingError:  # the server has lost its database: all over again
                account.forget()
                self._experiments.clear()
                self._send(local, outcome, again=again)
            return outcome

    def _account(self, run_id: str) -> Account:
        return self.ledger.of(run_id, self.server.address)

    def _send(self, local: LocalRun, outcome: Outcome, *, again: bool) -> None:
        fingerprint = local.fingerprint() if local.ended else None
        parent_id = self._parent(local)
        with self.server.reading():
            run = self._replica_run(local)
            page = run_path(str(run["experiment_id"]), run["run_id"])
            artifacts = str(run["artifact_uri"])
        outcome.replica_run_id = run["run_id"]
        outcome.address = f"{self.server.address}/{page}"
        server, account, sent = self.server, self._account(local.run_id), outcome.sent
        contents = Contents(local, run["run_id"], parent_id, server, account, sent)
        uploads = Uploads(local, artifacts, server, account, sent, self.open_file)
        unlisted = None
        if again:
            with server.reading():
                forget_what_was_lost(contents, server.get("/runs/get", run_id=run["run_id"])["run"])
                unlisted = forget_lost_files(contents, uploads)
        contents.send()
        try:
            outcome.refused = uploads.send(refused_too=again)
        except NotNowError as error:
            outcome.pending = str(error)
            return
        outcome.refused |= {f"metric {k}": _altered(n) for k, n in contents.altered.items()}
        if unlisted is not None:
            outcome.refused["a list of its files"] = f"{unlisted}; they were not compared"
        self._status(local, run["run_id"])
        if local.ended and Tag.REGISTERED in local.tags:
            name = local.tags[Tag.REGISTERED]
            reason = register_there(server, run["run_id"], artifacts, name)
            if reason is not None:
                outcome.refused[f"a registration as '{name}'"] = reason
        if local.ended:
            self._remove_doubles(local, run)
            account.settle(fingerprint)

    def _parent(self, local: LocalRun) -> str | None:
        """Return the replica's id of the parent run, which is delivered first."""
        if local.parent_id is None:
            return None
        parent = self._account(local.parent_id)
        known = parent.entry().replica_run_id
        if known and self._account(local.run_id).entry().replica_run_id is None:
            known = self._still_there(parent, known)
        if known is None:
            try:
                self.deliver(local.parent_id)
            except MlflowException:
                return None  # it was deleted from the local store
            known = parent.entry().replica_run_id
        if known is None:
            raise NotNowError("another process delivers the parent run")
        return known

    def _still_there(self, account: Account, replica_run_id: str) -> str | None:
        """Return the id if the replica knows it; else forget what it was given of the run."""
        try:
            self.server.get("/runs/get", run_id=replica_run_id)
        except MissingError:
            account.forget()
            return None
        return replica_run_id

    def _replica_run(self, local: LocalRun) -> dict[str, Any]:
        """Return the replica's run: the one written down, the one with our tag, or a new one."""
        account = self._account(local.run_id)
        known = account.entry().replica_run_id
        if known is not None:
            return self._info(self.server.get("/runs/get", run_id=known))
        experiment_id = self._experiment(local.experiment)
        info: dict[str, Any] = self.server.repeated(
            lambda: self._found_or_made(experiment_id, local)
        )
        account.begin(info["run_id"])
        return info

    def _found_or_made(self, experiment_id: str, local: LocalRun) -> dict[str, Any]:
        """Look before making one: the answer of an earlier call may have been lost."""
        found = self._search(experiment_id, local.run_id)
        if found:
            self._account(local.run_id).doubt(True)  # it may hold anything
            return found[0]
        return self._create(experiment_id, local)

    def _info(self, answer: dict[str, Any]) -> dict[str, Any]:
        info: dict[str, Any] = answer["run"]["info"]
        if info.get("lifecycle_stage") == "deleted":
            raise RejectedError("the run was deleted on the server, and stays so")
        return info

    def _create(self, experiment_id: str, local: LocalRun) -> dict[str, Any]:
        body = {
            "experiment_id": experiment_id,
            "run_name": local.name,
            "start_time": local.run.info.start_time,
            "tags": [{"key": Tag.LOCAL_RUN, "value": local.run_id}],
        }
        return self._info(self.server.post_once("/runs/create", body))

    def _search(self, experiment_id: str, run_id: str) -> list[dict[str, Any]]:
        body = {
            "experiment_ids": [experiment_id],
            "filter": f"tags.{Tag.LOCAL_RUN} = '{run_id}'",
            "max_results": 10,
        }
        with self.server.reading():
            found = self.server.post("/runs/search", body).get("runs", [])
            return [run["info"] for run in found]

    def _remove_doubles(self, local: LocalRun, run: dict[str, Any]) -> None:
        """Delete empty runs that a call without an answer made after all."""
        for other in self._search(run["experiment_id"], local.run_id):
            if other["run_id"] != run["run_id"]:
                self.server.post("/runs/delete", {"run_id": other["run_id"]})

    def _status(self, local: LocalRun, replica_run_id: str) -> None:
        info, account = local.run.info, self._account(local.run_id)
        mark = f"{info.status} {info.end_time} {info.run_name}"
        if account.items("status").get("") == mark:
            return
        body = {"run_id": replica_run_id, "status": info.status, "run_name": info.run_name}
        if info.end_time is not None:
            body["end_time"] = info.end_time
        self.server.post("/runs/update", body)
        account.note("status", {"": mark})

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            self._experiments[name] = experiment_there(self.server, name)
        return self._experiments[name]


def _altered(count: int) -> str:
    points = "1 point has another value" if count == 1 else f"{count:,} points have other values"
    return (
        f"{points} there, and MLflow changes none; delete the run on the server for good, then "
        "sync again"
    )


def experiment_there(server: Server, name: str) -> str:
    """Return the id of the server's experiment of a name, made where there is none."""
    try:
        found = server.get("/experiments/get-by-name", experiment_name=name)["experiment"]
    except MissingError:
        try:
            return _make_experiment(server, name)
        except RejectedError:  # another process was faster, or an answer was lost
            found = server.get("/experiments/get-by-name", experiment_name=name)["experiment"]
    if found.get("lifecycle_stage") == "deleted":
        raise RejectedError(
            f"tracking.experiment: '{name}' was deleted on the server; restore it there, or choose "
            "another name"
        )
    return str(found["experiment_id"])


def _make_experiment(server: Server, name: str) -> str:
    made = str(server.post("/experiments/create", {"name": name})["experiment_id"])
    for key, value in experiment_tags(made).items():
        body = {"experiment_id": made, "key": key, "value": value}
        server.post("/experiments/set-experiment-tag", body)
    return made


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
        with server.reading():
            _make_model(server, name)
            found = server.get("/model-versions/search", filter=f"run_id = '{run_id}'")
            if all(version["name"] != name for version in found.get("model_versions", [])):
                source = f"{artifact_uri}/{Artifact.MODEL}"
                body = {"name": name, "source": source, "run_id": run_id}
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


def forget_what_was_lost(contents: Contents, run: Mapping[str, Any]) -> None:
    """Let everything count as not delivered that the replica does not have as it was given.

    Args:
        contents: of the local run, on its way into the replica's.
        run: the replica's answer to ``runs/get``.
    """
    data, account = run.get("data", {}), contents.account
    longest_param, longest_tag = contents.server.value_lengths
    _forget(account, "param", contents.local.params, _pairs(data, "params"), longest_param)
    _forget(account, "tag", contents.tags_there(), _pairs(data, "tags"), longest_tag)
    account.drop("metric", *account.items("metric"))  # then each is asked for its points
    account.doubt(True)
    inputs = run.get("inputs", {}).get("dataset_inputs", [])
    there = {digest(input_key(entry)) for entry in inputs}
    account.drop("input", *account.items("input").keys() - there)
    info = run["info"]
    local = contents.local.run.info
    if (info.get("status"), info.get("run_name", local.run_name)) != (local.status, local.run_name):
        account.drop("status", "")


def _forget(
    account: Account, kind: Kind, here: Mapping[str, str], there: Mapping[str, str], longest: int
) -> None:
    known = account.items(kind)
    lost = [k for k, v in here.items() if k in known and there.get(k) != v[:longest]]
    account.drop(kind, *lost)


def forget_lost_files(contents: Contents, uploads: Uploads) -> str | None:
    """Do the same for files: those of another size, and of another content where it is cheap.

    Returns:
        Why the server does not list them; None where it does.
    """
    known = contents.account.items("artifact")
    if not known:
        return None
    try:
        with contents.server.reading():
            there = dict(_files(contents.server, contents.replica_run_id, ""))
    except (RejectedError, MissingError) as error:
        return str(error)
    sizes = {name: int(mark.partition(":")[0]) for name, mark in known.items()}
    lost = [n for n, size in sizes.items() if there.get(n) != size or uploads.is_other(n)]
    contents.account.drop("artifact", *lost)
    return None


def _files(server: Server, run_id: str, folder: str) -> Iterator[tuple[str, int]]:
    """Yield path and size of every file that the replica has."""
    query = {"run_id": run_id, **({"path": folder} if folder else {})}
    for entry in paged(lambda page: server.get("/artifacts/list", **query, **page), "files"):
        if not entry["path"].startswith(f"{folder}/" if folder else ""):
            raise ValueError(f"{entry['path']} is listed in {folder}")
        if entry.get("is_dir"):
            yield from _files(server, run_id, entry["path"])
        else:
            yield entry["path"], int(entry.get("file_size", 0))


def _pairs(data: Mapping[str, Any], name: str) -> dict[str, str]:
    return {str(one["key"]): str(one.get("value", "")) for one in data.get(name, [])}
