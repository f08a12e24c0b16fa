"""Asks a replica what it has of a run, and forgets as delivered what it has lost since.

The ledger remembers what was given. A server that was set up anew from an old copy, or whose disk
lost files, has less; asking for everything costs a call for each metric and each folder, so it is
done only where somebody asks to deliver these runs again.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from asl_exp.replica.api import MissingError, RejectedError, Server
from asl_exp.replica.local_run import digest, input_key
from asl_exp.replica.upload import Contents


def forget_what_was_lost(contents: Contents, run: Mapping[str, Any]) -> None:
    """Let everything count as not delivered that the replica does not have as it was given.

    Args:
        contents: of the local run, on its way into the replica's.
        run: the replica's answer to ``runs/get``.
    """
    data = run.get("data", {})
    longest_param, longest_tag = contents.server.value_lengths
    _forget(contents, "param", contents.local.params, _pairs(data, "params"), longest_param)
    _forget(contents, "tag", contents.tags_there(), _pairs(data, "tags"), longest_tag)
    _drop(contents, "metric", contents.known("metric"))  # then each is asked for its points
    contents.ledger.doubt(contents.local.run_id, contents.server.address, True)
    there = {digest(input_key(entry)) for entry in _inputs(run)}
    _drop(contents, "input", contents.known("input").keys() - there)
    info = run["info"]
    local = contents.local.run.info
    if (info.get("status"), info.get("run_name", local.run_name)) != (local.status, local.run_name):
        _drop(contents, "status", [""])
    _forget_files(contents)


def _forget(
    contents: Contents, kind: Any, here: Mapping[str, str], there: Mapping[str, str], longest: int
) -> None:
    known = contents.known(kind)
    lost = [k for k, v in here.items() if k in known and there.get(k) != v[:longest]]
    _drop(contents, kind, lost)


def _forget_files(contents: Contents) -> None:
    known = contents.known("artifact")
    if not known:
        return
    try:
        there = dict(_files(contents.server, contents.replica_run_id, ""))
    except (RejectedError, MissingError):
        return  # it does not list them
    sizes = {name: int(mark.partition(":")[0]) for name, mark in known.items()}
    _drop(contents, "artifact", [name for name, n in sizes.items() if there.get(name) != n])


def _files(server: Server, run_id: str, folder: str) -> Iterator[tuple[str, int]]:
    """Yield path and size of every file that the replica has."""
    token = ""
    while True:
        query = {"run_id": run_id, **({"path": folder} if folder else {})}
        answer = server.get("/artifacts/list", **query, **({"page_token": token} if token else {}))
        for entry in answer.get("files", []):
            if entry.get("is_dir"):
                yield from _files(server, run_id, entry["path"])
            else:
                yield entry["path"], int(entry.get("file_size", 0))
        token = answer.get("next_page_token", "")
        if not token:
            return


def _pairs(data: Mapping[str, Any], name: str) -> dict[str, str]:
    return {str(one["key"]): str(one.get("value", "")) for one in data.get(name, [])}


def _inputs(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = run.get("inputs", {}).get("dataset_inputs", [])
    return found


def _drop(contents: Contents, kind: Any, keys: Any) -> None:
    contents.ledger.drop(contents.local.run_id, contents.server.address, kind, *keys)
