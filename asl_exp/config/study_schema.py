"""The typed schema of a study: what ``sweep=NAME`` chooses from sweeps/.

Like schema.py for an experiment: types, units and ranges, no rule between two fields.
"""

from typing import Annotated, Literal

from pydantic import Field

from asl_exp.config.schema import Count, Group, Many, PositiveCount, Scalar, Seed, Some

Direction = Literal["minimize", "maximize"]
Value = Scalar | None | list[Scalar]


class Objective(Group):
    """What a study looks for."""

    metric: str = Field(..., description="a metric key, such as val/accuracy or test/f1_macro")
    direction: Direction | None = Field(
        None, description="null: losses and calibration errors fall, everything else rises"
    )


class SamplerConfig(Group):
    """How the next trial's values are chosen."""

    name: Literal["tpe", "random", "grid", "gp", "cmaes", "nsga2"] = Field(
        "tpe", description="Optuna's, of that name"
    )
    seed: Seed = Field(0, description="with equal seeds trial N of two studies begins alike")
    multivariate: bool = Field(True, description="tpe: values are chosen together")


class PrunerConfig(Group):
    """When a trial that does worse than others ends early."""

    name: Literal["median", "successive_halving", "hyperband", "none"] = Field(
        "median", description="Optuna's, of that name; none: every trial is trained to its end"
    )
    warmup_epochs: Count = Field(5, description="no trial ends before it has had so many")
    startup_trials: Count = Field(5, description="median: so many trials end before any is pruned")


class SweepConfig(Group):
    """One study."""

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        max_length=100,
        description="of the study and its folder; null: made from sweep and experiment",
    )
    objectives: Annotated[list[Objective], Field(min_length=1, max_length=2)] = Field(
        default_factory=lambda: [Objective(metric="val/accuracy")],
        description="one, or two for a Pareto front",
    )
    n_trials: Many | None = Field(
        None, description="finished and pruned trials of the study; null: all points of a grid"
    )
    sampler: SamplerConfig = Field(default_factory=lambda: SamplerConfig())
    pruner: PrunerConfig = Field(default_factory=lambda: PrunerConfig())
    storage: str | None = Field(
        None,
        description="sqlite:///FILE, journal:FILE or postgresql://...; null: runs_dir/studies.db",
    )
    space: dict[str, str] = Field(
        default_factory=dict, description="key or group to values in Hydra's override grammar"
    )
    conditions: dict[str, dict[str, Scalar | list[Scalar]]] = Field(
        default_factory=dict, description="key: {other key: the values it is sampled for}"
    )
    first: list[dict[str, Value]] | None = Field(
        None, description="trials to try first; null: the configuration's own values"
    )
    agents: Some = Field(1, description="processes that try trials at once")
    max_failures: PositiveCount = Field(5, description="failed trials in a row that end the study")
    extend: bool = Field(False, description="go on with a changed space, configuration or data")
    confirm: Annotated[int, Field(ge=0, le=1000)] = Field(
        0, description="further seeds for the best trial and the default"
    )


class Study(Group):
    """What a composition has of a study, beside its experiment."""

    sweep: SweepConfig
