"""Delivery to real MLflow servers, old and new, behind connections that fail."""

import multiprocessing
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from replicas import FILES, Store, copies, differences
from servers.mlflow_server import MlflowServer
from servers.proxy import Answer, Proxy, Trouble

from asl_exp.replica import api as server_module
from asl_exp.replica.api import NotNowError, ReplicaError, Server
from asl_exp.replica.backlog import undelivered
from asl_exp.replica.delivery import Delivery, Outcome
from asl_exp.tracking.recorder import Begin, Recorder
from asl_exp.tracking.store import open_store
from asl_exp.tracking.store_file import DATABASE

LONGEST = {"3": 6000, "2.7.1": 500}


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    open_store(folder)
    return folder / DATABASE


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Store:
    (tmp_path / "runs").mkdir()
    shutil.copyfile(empty_store, tmp_path / "runs" / DATABASE)
    return Store(tmp_path / "runs")


@pytest.fixture(params=["3", pytest.param("2.7.1", marks=pytest.mark.heavy)], ids=["new", "old"])
def server(request: pytest.FixtureRequest) -> MlflowServer:
    name = {"3": "mlflow_3", "2.7.1": "mlflow_2_7"}[request.param]
    found: MlflowServer = request.getfixturevalue(name)
    return found


def delivery_to(store: Store, address: str) -> Delivery:
    login = get_default_host_creds(address)
    return Delivery(store.client, store.ledger, Server(address, login, patience=(0.01, 0.02, 0.05)))


def delivered(store: Store, address: str, *, n_epochs: int) -> tuple[Delivery, str, str]:
    """Return a delivery that has delivered a run of n_epochs, the run and its copy."""
    run_id = store.make_run()
    store.fill(run_id, range(n_epochs))
    store.end(run_id)
    delivery = delivery_to(store, address)
    copy = delivery.deliver(run_id).replica_run_id
    assert copy is not None
    return delivery, run_id, copy


def deliver_until_whole(store: Store, address: str, run_id: str, tries: int = 50) -> Outcome:
    for _ in range(tries):
        with suppress(NotNowError):
            outcome = delivery_to(store, address).deliver(run_id)
            if outcome.pending is None:
                return outcome
        time.sleep(0.02)
    raise AssertionError("not delivered")


def test_the_copy_equals_the_run(store: Store, server: MlflowServer) -> None:
    run_id = store.make_run()
    store.fill(run_id, range(600))
    store.end(run_id, "FAILED")
    outcome = delivery_to(store, server.url).deliver(run_id)
    assert (outcome.pending, outcome.refused) == (None, {})
    assert (outcome.sent.points, outcome.sent.params, outcome.sent.artifacts) == (2400, 131, 5)
    longest = LONGEST[server.version]
    assert differences(store.client, run_id, server.url, longest=longest) == []
    assert not delivery_to(store, server.url).deliver(run_id).sent, "nothing is left to send"


def test_what_changes_is_delivered_and_nothing_else(store: Store, server: MlflowServer) -> None:
    run_id, delivery = store.make_run(), delivery_to(store, server.url)
    store.fill(run_id, range(5))
    delivery.deliver(run_id)
    assert copies(server.url, run_id)[0].info.status == "RUNNING"
    store.epochs(run_id, range(5, 7))
    store.client.set_tag(run_id, "phase", "finetune")
    store.client.set_tag(run_id, "failure", "soon mended")
    store.write(run_id, "config/resolved.yaml", b"seed: 1\n")
    sent = delivery.deliver(run_id).sent
    assert (sent.points, sent.params, sent.tags, sent.artifacts) == (8, 0, 2, 1)
    store.client.delete_tag(run_id, "failure")
    store.end(run_id)
    delivery.deliver(run_id)
    assert differences(store.client, run_id, server.url, longest=LONGEST[server.version]) == []


def test_a_point_of_a_clock_that_was_set_back(store: Store, mlflow_3: MlflowServer) -> None:
    run_id, delivery = store.make_run(), delivery_to(store, mlflow_3.url)
    store.epochs(run_id, range(5))
    delivery.deliver(run_id)
    store.epochs(run_id, range(5, 6), first_ms=1_600_000_000_000)
    store.end(run_id)
    assert delivery.deliver(run_id).sent.points == 4
    assert differences(store.client, run_id, mlflow_3.url) == []


@pytest.mark.heavy
def test_a_server_that_fails_and_loses_answers(
    store: Store, server: MlflowServer, proxy: Callable[[MlflowServer], Proxy]
) -> None:
    run_id, unreliable = store.make_run(), proxy(server)
    unreliable.trouble = Trouble(fail=0.15, cut_before=0.05, cut_after=0.1)
    store.fill(run_id, range(300))
    for step in range(300, 330):
        store.epochs(run_id, range(step, step + 1))
        with suppress(NotNowError):
            delivery_to(store, unreliable.url).deliver(run_id)
    store.end(run_id)
    deliver_until_whole(store, unreliable.url, run_id)
    assert differences(store.client, run_id, server.url, longest=LONGEST[server.version]) == []


@pytest.mark.parametrize("call", ["runs/create", "runs/log-batch", "runs/log-inputs", "artifacts"])
def test_an_answer_that_is_lost_makes_no_double(
    store: Store, server: MlflowServer, proxy: Callable[[MlflowServer], Proxy], call: str
) -> None:
    run_id, unreliable = store.make_run(), proxy(server)
    store.fill(run_id)
    store.end(run_id)
    unreliable.trouble = Trouble(cut_after=1.0, only=call)
    with suppress(NotNowError):
        delivery_to(store, unreliable.url).deliver(run_id)
    assert "cut" in {one.answer for one in unreliable.seen}
    unreliable.trouble = Trouble()
    deliver_until_whole(store, unreliable.url, run_id)
    assert differences(store.client, run_id, server.url, longest=LONGEST[server.version]) == []


def test_a_lost_ledger_makes_no_double(store: Store, mlflow_3: MlflowServer) -> None:
    run_id = store.make_run()
    store.fill(run_id)
    delivery_to(store, mlflow_3.url).deliver(run_id)
    (store.runs_dir / "outbox" / "ledger.db").unlink()
    again = Store(store.runs_dir)
    again.end(run_id)
    delivery_to(again, mlflow_3.url).deliver(run_id)
    assert differences(again.client, run_id, mlflow_3.url) == []


@pytest.mark.heavy
def test_a_server_that_lost_its_database(
    store: Store, own_server: Callable[[str], MlflowServer]
) -> None:
    server, parent = own_server("3"), store.make_run("study")
    run_id = store.make_run("trial", **{"mlflow.parentRunId": parent})
    store.fill(run_id)
    delivery_to(store, server.url).deliver(run_id)
    server.kill()
    with pytest.raises(NotNowError):
        delivery_to(store, server.url).deliver(run_id)
    server.lose_database()
    server.start()
    for ended in (run_id, parent):
        store.end(ended)
        deliver_until_whole(store, server.url, ended)
        assert differences(store.client, ended, server.url) == []


def test_children_come_after_their_parent(store: Store, server: MlflowServer) -> None:
    parent = store.make_run("study")
    children = [store.make_run(f"trial {i}", **{"mlflow.parentRunId": parent}) for i in range(2)]
    for child in children:
        store.end(child)
        delivery_to(store, server.url).deliver(child)
    store.end(parent)
    delivery_to(store, server.url).deliver(parent)
    for run_id in (parent, *children):
        assert differences(store.client, run_id, server.url) == []


def test_a_file_over_the_limit_is_listed_and_the_rest_goes_through(
    store: Store, mlflow_3: MlflowServer, proxy: Callable[[MlflowServer], Proxy]
) -> None:
    run_id, small = store.make_run(), proxy(mlflow_3)
    small.trouble = Trouble(largest_body=200_000)
    store.fill(run_id)
    store.end(run_id)
    outcome = delivery_to(store, small.url).deliver(run_id)
    assert list(outcome.refused) == ["checkpoints/finetune.ckpt"]
    assert "413" in outcome.refused["checkpoints/finetune.ckpt"]
    assert outcome.sent.artifacts == len(FILES) - 1
    (different,) = differences(store.client, run_id, mlflow_3.url)
    assert different[0] == "files"
    uploads = small.calls.total()
    delivery_to(store, small.url).deliver(run_id)
    assert small.calls.total() == uploads, "what was refused is not tried again and again"
    small.trouble = Trouble()
    assert delivery_to(store, small.url).deliver(run_id, again=True).refused == {}
    assert differences(store.client, run_id, mlflow_3.url) == []


def test_what_is_left_is_found(store: Store, mlflow_3: MlflowServer) -> None:
    here = {"replica": mlflow_3.url}
    whole, changed, living = (store.make_run(name, **here) for name in ("a", "b", "c"))
    elsewhere, asked_for = store.make_run("d", replica="http://elsewhere"), store.make_run("e")
    for run_id in (whole, changed, elsewhere, asked_for):
        store.fill(run_id, range(2))
        store.end(run_id)
    for run_id in (whole, changed):
        delivery_to(store, mlflow_3.url).deliver(run_id)
    store.client.set_tag(changed, "mlflow.note.content", "seen again")
    store.ledger.of(asked_for, mlflow_3.url).ask()
    left = partial(undelivered, store.client, store.ledger, mlflow_3.url)
    assert left() == [asked_for]
    assert left(compare=True) == [changed, asked_for], f"neither {whole} nor {living}"
    for run_id in left(compare=True):
        delivery_to(store, mlflow_3.url).deliver(run_id)
    assert left(compare=True) == []
    assert undelivered(store.client, store.ledger, "http://elsewhere") == [elsewhere]


def test_the_folder_of_all_runs_was_moved(store: Store, mlflow_3: MlflowServer) -> None:
    run_id = store.make_run()
    store.fill(run_id, range(2))
    moved = Store(store.runs_dir.rename(store.runs_dir.with_name("elsewhere")))
    moved.end(run_id)
    assert delivery_to(moved, mlflow_3.url).deliver(run_id).sent.artifacts == len(FILES)
    assert differences(moved.client, run_id, mlflow_3.url) == []


def test_a_damaged_ledger_is_begun_anew(store: Store, mlflow_3: MlflowServer) -> None:
    run_id = store.make_run()
    store.fill(run_id, range(2))
    delivery_to(store, mlflow_3.url).deliver(run_id)
    (store.runs_dir / "outbox" / "ledger.db").write_bytes(b"not a database" * 100)
    again = Store(store.runs_dir)
    again.end(run_id)
    delivery_to(again, mlflow_3.url).deliver(run_id)
    assert differences(again.client, run_id, mlflow_3.url) == []


def test_several_at_once_make_one_copy(store: Store, mlflow_3: MlflowServer) -> None:
    run_id = store.make_run()
    store.fill(run_id)
    store.end(run_id)
    threads = [
        threading.Thread(target=deliver_until_whole, args=(store, mlflow_3.url, run_id, 2000))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert differences(store.client, run_id, mlflow_3.url) == []


def test_a_server_that_never_answers_is_given_up_soon(
    store: Store,
    mlflow_3: MlflowServer,
    proxy: Callable[[MlflowServer], Proxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "_ANSWER_S", 0.3)
    monkeypatch.setattr(server_module, "_SLOW_S", 0.2)
    run_id, silent = store.make_run(), proxy(mlflow_3)
    silent.trouble = Trouble(hang=True)
    with pytest.raises(NotNowError, match="does not answer"):
        delivery_to(store, silent.url).deliver(run_id)
    assert len(silent.seen) <= 1, "a call that failed slowly is not repeated at once"


def test_a_run_that_was_deleted_on_the_server_stays_so(
    store: Store, mlflow_3: MlflowServer
) -> None:
    run_id = store.make_run()
    delivery_to(store, mlflow_3.url).deliver(run_id)
    MlflowClient(mlflow_3.url).delete_run(copies(mlflow_3.url, run_id)[0].info.run_id)
    store.end(run_id)
    with pytest.raises(ReplicaError, match="deleted on the server"):
        delivery_to(store, mlflow_3.url).deliver(run_id)
    assert copies(mlflow_3.url, run_id) == []


def test_ten_processes_write_to_the_ledger_at_once(store: Store) -> None:
    def write(number: int) -> None:
        for step in range(30):
            store.ledger.of(f"run{number}", "http://x").note("param", {f"key{step}": "mark"})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "one waits for a lock for ever"
    assert all(len(store.ledger.of(f"run{n}", "http://x").items("param")) == 30 for n in range(10))


def _record(runs_dir: str, number: int) -> None:
    folder = Path(runs_dir) / f"run{number}"
    folder.mkdir(parents=True)
    recorder = Recorder.open(Begin(Path(runs_dir), "ten", f"run {number}", folder), run_id=None)
    recorder.params({f"key{i}": i for i in range(150)})
    for epoch in range(20):
        recorder.metrics({"train/loss": 1.0 / (epoch + 1), "val/loss": 2.0}, step=epoch)
    recorder.end("FINISHED")


@pytest.mark.heavy
def test_ten_processes_record_into_one_store_at_once(
    tmp_path: Path, mlflow_3: MlflowServer
) -> None:
    """The store and its experiment are made by whoever comes first."""
    runs = tmp_path / "runs"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["asl_exp.tracking.recorder"])
    processes = [context.Process(target=_record, args=(str(runs), n)) for n in range(10)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    store = Store(runs)
    (experiment,) = [e for e in store.client.search_experiments() if e.name == "ten"]
    recorded = store.client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in recorded) == sorted(f"run {n}" for n in range(10))
    for run in recorded:
        points = store.client.get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in points] == list(range(20))
        delivery_to(store, mlflow_3.url).deliver(run.info.run_id)
        assert differences(store.client, run.info.run_id, mlflow_3.url) == []


def sql(server: MlflowServer, statement: str, *values: str) -> None:
    with sqlite3.connect(server.folder / "mlflow.db", timeout=30) as database:
        assert database.execute(statement, values).rowcount > 0


def files_of(server: MlflowServer, copy: str) -> Path:
    (found,) = (server.folder / "artifacts").glob(f"*/{copy}/artifacts")
    return found


LOST: dict[str, Callable[[MlflowServer, str], object]] = {
    "a tag": lambda s, run: sql(s, "DELETE FROM tags WHERE run_uuid=? AND key='phase'", run),
    "another value of a tag": lambda s, run: sql(
        s, "UPDATE tags SET value='x' WHERE run_uuid=? AND key='phase'", run
    ),
    "params": lambda s, run: sql(s, "DELETE FROM params WHERE run_uuid=?", run),
    "points of a metric": lambda s, run: sql(
        s, "DELETE FROM metrics WHERE run_uuid=? AND key='lr' AND step>1", run
    ),
    "the status": lambda s, run: sql(s, "UPDATE runs SET status='RUNNING' WHERE run_uuid=?", run),
    "the datasets": lambda s, run: sql(s, "DELETE FROM inputs WHERE destination_id=?", run),
    "a file": lambda s, run: (files_of(s, run) / "config" / "resolved.yaml").unlink(),
    "a file's end": lambda s, run: (files_of(s, run) / "checkpoints" / "finetune.ckpt").write_bytes(
        b""
    ),
    "all files": lambda s, run: shutil.rmtree(files_of(s, run)),
}


@pytest.mark.parametrize("what", LOST)
def test_what_a_server_lost_is_sent_again_where_it_is_asked(
    what: str, store: Store, server: MlflowServer
) -> None:
    delivery, run_id, copy = delivered(store, server.url, n_epochs=5)
    longest = LONGEST[server.version]
    LOST[what](server, copy)
    assert differences(store.client, run_id, server.url, longest=longest) != []
    assert not delivery.deliver(run_id).sent, "by what was noted, nothing is left"
    delivery.deliver(run_id, again=True)
    assert differences(store.client, run_id, server.url, longest=longest) == []
    assert not delivery.deliver(run_id, again=True).sent, "once"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("value=0.5 WHERE key='val/accuracy'", "5 points have other values"),
        ("value=-value WHERE key='val/accuracy'", "5 points have other values"),
        ("value=0, is_nan=1 WHERE key='val/accuracy'", "5 points have other values"),
        ("value=1.7976931348623157e308 WHERE key='val/accuracy'", "5 points have other values"),
        ("value=0.5 WHERE key='val/accuracy' AND step=3", "1 point has another value"),
        ("value=0.5 WHERE key='val/loss'", "5 points have other values"),
        ("value=-value WHERE key='val/loss'", "5 points have other values"),
        ("value=1, is_nan=0 WHERE key='train/loss'", "5 points have other values"),
        ("value=value*(1+1e-8) WHERE key='val/accuracy'", ""),
    ],
)
def test_values_that_were_changed_on_the_server_are_told(
    change: str, told: str, store: Store, server: MlflowServer
) -> None:
    delivery, run_id, copy = delivered(store, server.url, n_epochs=5)
    sql(server, f"UPDATE metrics SET {change} AND run_uuid=?", copy)
    key = change.split("'")[1]
    for again in range(2):
        outcome = delivery.deliver(run_id, again=True)
        assert not outcome.sent.points, f"a second point at the epoch, time {again}"
        assert outcome.refused.keys() == ({f"metric {key}"} if told else set())
        assert outcome.refused.get(f"metric {key}", "").startswith(told)


ANSWERS = {
    "a page to log in": b"<html>log in</html>",
    "nothing": b"{}",
    "nested deep": b'{"run":' + b"[" * 100_000,
    "other kinds": b'{"run": 5, "metrics": 5, "files": 5, "runs": {"a": 1}}',
    "nulls": b'{"run": {"info": null}, "metrics": [null], "files": [{"path": null}], "runs": [1]}',
    "itself for ever": b'{"run": {"info": {}}, "metrics": [], "runs": [{"info": 5}], '
    b'"files": [{"path": "a", "is_dir": true}], "next_page_token": "a"}',
}


@pytest.mark.parametrize("call", ["runs/get", "metrics/get-history", "artifacts/list"])
@pytest.mark.parametrize("content", ANSWERS.values(), ids=ANSWERS)
def test_answers_that_are_none_of_mlflow(
    content: bytes,
    call: str,
    store: Store,
    mlflow_3: MlflowServer,
    proxy: Callable[[MlflowServer], Proxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sentence each; a server that lists no files does not count as one that has them."""
    between = proxy(mlflow_3)
    delivery, run_id, _ = delivered(store, between.url, n_epochs=2)
    answer = between.answer

    def other(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        kind = {"Content-Type": "application/json"}
        return Answer(200, kind, content) if call in path else answer(method, path, headers, body)

    monkeypatch.setattr(between, "answer", other)
    told = "answers, but not as an MLflow server does"
    if call == "artifacts/list" and content != b"{}":
        refused = delivery.deliver(run_id, again=True).refused
        assert told in refused["a list of its files"]
    elif content == b"{}" and call != "runs/get":  # in MLflow's form: nothing is there
        sent = delivery.deliver(run_id, again=True).sent
        assert sent.artifacts if call == "artifacts/list" else sent.points
    else:
        with pytest.raises(ReplicaError, match=told):
            delivery.deliver(run_id, again=True)


@pytest.mark.parametrize("file", ["config/resolved.yaml", "checkpoints/finetune.ckpt"])
def test_other_bytes_of_the_same_size_are_told_where_programs_read_them(
    file: str, store: Store, server: MlflowServer
) -> None:
    delivery, run_id, copy = delivered(store, server.url, n_epochs=2)
    damaged = files_of(server, copy) / file
    damaged.write_bytes(b"x" * len(FILES[file]))
    assert delivery.deliver(run_id, again=True).sent.artifacts == 1
    assert damaged.read_bytes() == FILES[file]
    assert not delivery.deliver(run_id, again=True).sent, "once"


def test_a_file_that_does_not_arrive_is_named(store: Store, mlflow_3: MlflowServer) -> None:
    delivery, run_id, copy = delivered(store, mlflow_3.url, n_epochs=2)
    place = files_of(mlflow_3, copy) / "empty.txt"
    place.unlink()
    place.mkdir()
    outcome = delivery.deliver(run_id, again=True)
    assert outcome.pending is not None
    assert "empty.txt: " in outcome.pending
