"""What tracking costs a run: off, on this machine, and with servers that are slow, failing or dead.

python benchmarks/tracking.py [--epochs 100] [--classes signs|A-F] [--rounds 3]

One run of a frozen phase, in CPU seconds of this process, delivery's thread included. The slow and
the failing server are a real MLflow server behind proxies; waiting for delivery at the end of a
command, which trains nothing, is not counted. Runs differ by some per cent among themselves, so the
time that training waits for the record is counted as well, call by call.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from measure import ROOT, Clock, Figure, in_turn, keep
from phase import Bench

DELAY_S = 0.5
CALLS = ("open", "last_step", "params", "inputs", "tags", "points", "artifacts", "end")


class Waited:
    """Seconds on the wall that the training thread spends in the calls of a class."""

    def __init__(self, kind: type, names: tuple[str, ...]) -> None:
        self.seconds, self._inside = 0.0, False
        for name in names:
            setattr(kind, name, self._counted(kind.__dict__[name]))

    def _counted(self, call: Any) -> Any:
        if isinstance(call, classmethod):
            return classmethod(self._counted(call.__func__))

        @wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._inside or threading.current_thread() is not threading.main_thread():
                return call(*args, **kwargs)
            began, self._inside = time.perf_counter(), True
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds, self._inside = self.seconds + time.perf_counter() - began, False

        return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--classes", default="signs")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(ROOT / "tests"))
    from servers.mlflow_server import MlflowServer, free_port
    from servers.proxy import Proxy, Trouble

    from asl_exp.replica.background import finish_delivery
    from asl_exp.tracking.recorder import Recorder
    from asl_exp.training.run import run_experiment

    waited, waits = Waited(Recorder, CALLS), {}  # type: ignore[var-annotated]
    losses: dict[str, list[float]] = {}
    walls: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(
            folder, f"data.classes={asked.classes}", "data.split=random", "data.external=[]",
            "augmentation=none", f"schedule.transfer.epochs={asked.epochs}",
            "schedule.finetune.epochs=0",
        )  # fmt: skip
        server = MlflowServer("3", folder / "server").start()
        proxy = Proxy(server.url)
        proxy.trouble = Trouble(delay_s=DELAY_S)
        failing = Proxy(server.url)
        failing.trouble = Trouble(fail=0.2, cut_before=0.05, cut_after=0.05)
        dead = f"http://127.0.0.1:{free_port()}"
        kinds = {
            "off": ("tracking=off",),
            "on this machine": ("tracking=local",),
            "a server that answers in 500 ms": ("tracking=server", f"tracking.uri={proxy.url}"),
            "a server that fails 3 of 10 calls": (
                "tracking=server", f"tracking.uri={failing.url}",
            ),
            "a dead server": (
                "tracking=server", f"tracking.uri={dead}", "tracking.required=false",
            ),
        }  # fmt: skip

        def run(kind: str) -> Callable[[], None]:
            def work() -> None:
                began, waited.seconds = time.perf_counter(), 0.0
                number = len(losses.setdefault(kind, []))
                runs = folder / kind.replace(" ", "_")
                config = bench.configured(*kinds[kind], f"runs_dir={runs}")
                losses[kind].append(
                    run_experiment(config, runs / str(number), evaluate="validation")
                )
                walls.setdefault(kind, []).append(time.perf_counter() - began)
                waits.setdefault(kind, []).append(waited.seconds)

            return work

        try:
            works = {kind: run(kind) for kind in kinds}
            in_turn(works, 1, Clock())  # features, stores, first delivery
            seconds = in_turn(works, asked.rounds, Clock())
        finally:
            finish_delivery(lambda line: None, at_most_s=0.0)
            proxy.close()
            failing.close()
            server.kill()
    if len({loss for found in losses.values() for loss in found}) > 1:
        raise SystemExit(f"tracking changed what was trained: {losses}")
    figures = [
        Figure(f"a run of {asked.epochs} short epochs, tracked {kind}", "tracking off",
               [100 * (a / b - 1) for a, b in zip(seconds[kind], seconds["off"], strict=True)],
               "% more", 1.0, "least",
               f"{statistics.median(walls[kind]):.1f} s on the wall, off "
               f"{statistics.median(walls['off']):.1f} s")
        for kind in list(kinds)[1:]
    ]  # fmt: skip
    figures += [
        Figure(f"training's wait for the record, tracked {kind}", "the whole run (wall)",
               [100 * one / whole for one, whole in zip(waits[kind], walls[kind], strict=True)][1:],
               "% of it", 1.0, "least", f"{statistics.median(waits[kind][1:]):.2f} s")
        for kind in list(kinds)[1:]
    ]  # fmt: skip
    keep("tracking", figures,
         {"epochs": asked.epochs, "cpu_s": seconds, "wall_s": walls, "waits_s": waits})  # fmt: skip


if __name__ == "__main__":
    main()
