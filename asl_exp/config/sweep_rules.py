"""Rules between the fields of a study: what is allowed alone but not together."""

import math
from collections.abc import Iterator, Sequence

from asl_exp.config.metrics import EVERY_EPOCH, metric_fault
from asl_exp.config.preflight import visible_gpus
from asl_exp.config.schema import Config
from asl_exp.config.search_space import Parameter
from asl_exp.config.sweep_schema import SweepConfig

STORAGES = ("sqlite:///", "journal:", "postgresql://")


def sweep_faults(sweep: SweepConfig, space: Sequence[Parameter]) -> list[str]:
    """Return one sentence for each contradiction within a study."""
    return [
        *_objectives(sweep),
        *_pruner(sweep),
        *_sampler(sweep, space),
        *_budget(sweep, space),
        *_storage(sweep),
    ]


def _objectives(sweep: SweepConfig) -> Iterator[str]:
    metrics = [objective.metric for objective in sweep.objectives]
    for number, metric in enumerate(metrics):
        if fault := metric_fault(metric):
            yield f"sweep.objectives.{number}.metric: {fault}"
    if len(set(metrics)) < len(metrics):
        yield f"sweep.objectives: {metrics[0]} is given twice; two objectives must differ"


def _pruner(sweep: SweepConfig) -> Iterator[str]:
    if sweep.pruner.name == "none":
        return
    if len(sweep.objectives) > 1:
        yield (
            f"sweep.pruner.name: {sweep.pruner.name} compares trials by one metric, but there are "
            "two objectives; set it to none"
        )
    elif (metric := sweep.objectives[0].metric) not in EVERY_EPOCH and not metric_fault(metric):
        yield (
            f"sweep.pruner.name: {sweep.pruner.name} compares trials after every epoch, but "
            f"{metric} is known only at the end; set it to none"
        )


def _sampler(sweep: SweepConfig, space: Sequence[Parameter]) -> Iterator[str]:
    name = sweep.sampler.name
    if name == "grid":
        for parameter in space:
            if parameter.size() is None:
                yield (
                    f"sweep.space.{parameter.key}: {parameter.text} has no end of values, which a "
                    "grid needs; use choice(x,y) or range(a,b,step), or another sweep.sampler.name"
                )
        if sweep.conditions:
            yield (
                "sweep.conditions: a grid tries every value with every other; leave them out, or "
                "choose another sweep.sampler.name"
            )
    if name == "cmaes" and len(sweep.objectives) > 1:
        yield "sweep.sampler.name: cmaes knows one objective; use tpe, gp, random or nsga2 for two"
    if name == "cmaes" and space and all(p.kind == "choice" for p in space):
        yield "sweep.sampler.name: cmaes moves numbers, but the space has only choices; use tpe"


def _budget(sweep: SweepConfig, space: Sequence[Parameter]) -> Iterator[str]:
    if sweep.sampler.name != "grid":
        if sweep.n_trials is None:
            yield "sweep.n_trials: is missing; give the number of trials"
        return
    sizes = [parameter.size() for parameter in space]
    points = math.prod(size or 0 for size in sizes)
    if None not in sizes and sweep.n_trials is not None and sweep.n_trials > points:
        yield (
            f"sweep.n_trials: got {sweep.n_trials}, but the grid has {points} points; give at most "
            f"{points}, or null for all"
        )


def _storage(sweep: SweepConfig) -> Iterator[str]:
    given = sweep.storage
    if given is not None and not any(given.startswith(s) and given != s for s in STORAGES):
        yield (
            f"sweep.storage: cannot store a study in '{_without_password(given)}'; allowed: "
            "sqlite:///FILE, journal:FILE, postgresql://USER@HOST/DATABASE"
        )


def _without_password(url: str) -> str:
    scheme, slashes, rest = url.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}" if "@" in rest else url


def machine_faults(sweep: SweepConfig, base: Config) -> list[str]:
    """Return the contradictions between a study and the experiment of each of its trials."""
    trainer, gpus, faults = base.trainer, visible_gpus(), []
    if trainer.num_nodes > 1:
        faults.append(
            f"trainer.num_nodes: a trial runs on one machine, got {trainer.num_nodes}; start the "
            "same study on each machine with sweep.storage=postgresql://..."
        )
    if base.resume is not False:
        faults.append("resume: a study goes on where it was left by itself; leave resume out")
    on_gpus = trainer.accelerator != "cpu" and gpus > 0
    if on_gpus and trainer.devices > 1 and sweep.agents * trainer.devices > gpus:
        faults.append(
            f"sweep.agents: {sweep.agents} agents with {trainer.devices} devices each need "
            f"{sweep.agents * trainer.devices} GPUs, but this machine shows {gpus}"
        )
    return faults
