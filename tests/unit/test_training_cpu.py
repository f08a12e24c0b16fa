"""On the CPU: out-of-memory errors name the settings that help; cores where none are told."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import OutOfMemoryError
from asl_exp.config.study_plan import plan_study
from asl_exp.data.decode_pool import n_cores
from asl_exp.study.agent_launch import share_machine
from asl_exp.training.device import one_thread, set_up
from asl_exp.training.launcher import first_error
from asl_exp.training.phase import memory_named

CONFIG = compose_config(["data.batch_size=96", "trainer.accumulate=2"])


def on_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def on_the_cpu() -> None:
    """Ask torch's allocator for what no machine has: 4 exabytes."""
    torch.empty(2**60, dtype=torch.float32)


def in_python() -> None:
    raise MemoryError


@pytest.mark.parametrize("ask", [on_the_gpu, on_the_cpu, in_python])
def test_the_message_says_what_to_change(ask: Callable[[], None]) -> None:
    with pytest.raises(OutOfMemoryError) as caught, memory_named(CONFIG, "finetune"):
        ask()
    for told in ("phase 'finetune'", "trainer.accumulate (now 2; 4 halves", "now 96",
                 "backbone.image_size"):  # fmt: skip
        assert told in str(caught.value)


def test_other_errors_stay_themselves() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_named(CONFIG, "finetune"):
        raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.parametrize(("told", "threads"), [("", 3), ("1", 1), ("2,4", 2), ("all", 3)])
def test_a_system_that_binds_no_process_to_cores(
    told: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS: runs take all cores, or as many threads as they are told; agents as well."""
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sched_setaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    trainer = CONFIG.trainer.model_copy(update={"devices": 2})
    with one_thread(True):
        set_up(torch.device("cpu"), trainer)
        assert torch.get_num_threads() == threads
    share_machine(plan_study(["sweep=nadam_l2_dropout", "trainer.accelerator=cpu"]), 1)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 6),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 6),
        ({"cpu.max": "unreadable"}, 6),
        ({}, 6),
    ],
)
def test_a_containers_limit_counts(
    limit: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``docker run --cpus=2`` leaves all cores to be seen, and stops whoever uses them."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, content in limit.items():
        (tmp_path / name).write_text(content)
    assert n_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ([0, 1], "rank 0: its process was terminated from outside (SIGTERM)"),
        ([0], "worker 1 of this machine: its process ended with no error of its own"),
    ],
)
def test_a_worker_that_was_killed_is_named_not_the_one_ended_for_it(
    tmp_path: Path, ended: list[int], said: str
) -> None:
    told = {"kind": "Interrupted", "message": "terminated", "traceback": ""}
    (tmp_path / "rank0.json").write_text(json.dumps(told))
    for rank in ended:
        (tmp_path / f"ended{rank}").touch()
    assert said in str(first_error(tmp_path, 2))


FORKED = """
import multiprocessing
from asl_exp.training.forking import METHOD, begin_forking
class Broken:
    def __init__(self, *reads):
        self.reads = reads
    def __reduce__(self):
        return self.reads
if __name__ == "__main__":
    begin_forking()
    for reads in ((open, ("/no/such/lock",)), (__import__("pickle").loads, (b"\\x80",)),
                  (int, ("a bug of ours",))):
        process = multiprocessing.get_context(METHOD).Process(target=print, args=(Broken(*reads),))
        process.start()
        process.join()
"""


@pytest.mark.heavy
def test_a_forked_process_whose_caller_is_gone_is_silent(tmp_path: Path) -> None:
    """It reads its work while the caller, interrupted, ends: its locks and its pipe are gone."""
    (tmp_path / "calls.py").write_text(FORKED)
    done = subprocess.run(
        [sys.executable, "calls.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr.count("Traceback") == 1
    assert "a bug of ours" in done.stderr


WORKER = """
import os, signal
from pathlib import Path
from asl_exp.config.compose import compose_config
from asl_exp.training import launcher
tell = launcher._tell_parent
def strike():
    os.kill(os.getpid(), signal.SIGTERM)
def told(faults, error):
    strike()
    tell(faults, error)
def partner_is_lost(*_):
    raise RuntimeError("a partner is lost")
def trained(*_):
    return .5
launcher._tell_parent, launcher._as_rank = told, {rank}
values = compose_config(["data=synthetic"]).model_dump()
print(launcher.work(values, "", ".", None, None), flush=True)
{after}
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("rank", "after", "status", "kind"),
    [
        ("partner_is_lost", "", 1, "RuntimeError"),
        ("lambda *_: strike()", "", 143, "Interrupted"),
        ("trained", "strike()", -signal.SIGTERM, None),
    ],
)
def test_a_worker_that_is_terminated_while_it_ends_says_what_it_ended_of(
    rank: str, after: str, status: int, kind: str | None, tmp_path: Path
) -> None:
    """The launcher sends SIGTERM when another is lost: while this one tells, or when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER.format(rank=rank, after=after)], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RANK": "0", "LOCAL_RANK": "0"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (status, "")
    assert (tmp_path / "ended0").exists()
    told = tmp_path / "rank0.json"
    assert (json.loads(told.read_text())["kind"] if told.exists() else None) == kind
