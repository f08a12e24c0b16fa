"""Repeats the best trial and the default with other seeds (``sweep.confirm=3``).

Each repetition has a folder of its own, named by what it computes, so one that is finished is never
run again, and one that was interrupted goes on.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from asl_exp.config.errors import RunError
from asl_exp.config.metrics import needs_scores
from asl_exp.config.names import Tag
from asl_exp.config.plan import Plan
from asl_exp.config.schema import Config
from asl_exp.config.signature import signature
from asl_exp.sweep.best import trial_config
from asl_exp.sweep.noise import Comparison
from asl_exp.sweep.parent import CONFIRMATION, child_tags
from asl_exp.sweep.study import DATA_DIGEST
from asl_exp.sweep.survey import Survey
from asl_exp.training.result import Result
from asl_exp.training.run import run_experiment
from asl_exp.training.watching import Depth

FOLDER = "confirm"
DEFAULT = "default"

Say = Callable[[str], None]


@dataclass
class _Onlooker:
    """Gives a repetition its tags and ends none."""

    tags: Mapping[str, str]

    def after_epoch(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Let it go on."""
        return False


def confirm(plan: Plan, survey: Survey, parent_id: str | None, say: Say) -> list[Comparison]:
    """Repeat the winner and the default with ``sweep.confirm`` other seeds.

    Args:
        plan: of the study.
        survey: of the study.
        parent_id: of the study's MLflow run.
        say: takes a line for each repetition.

    Returns:
        One comparison for each objective; none where no trial finished.

    Raises:
        Interrupted: the same command goes on with the repetition that was on its way.
    """
    best = survey.best
    if best is None or not plan.sweep.confirm:
        return []
    winner = trial_config(plan, best)
    same = signature(winner) == signature(plan.base)
    data = str(survey.study.user_attrs.get(DATA_DIGEST, ""))
    repeat = Repeater(plan, data, parent_id, say)
    found = {str(best.number): dict(repeat(winner, str(best.number)))}
    if not same:
        found[DEFAULT] = dict(repeat(plan.base, DEFAULT))
    return [
        Comparison(
            metric,
            survey.falls[place],
            best.number,
            best.values[place],
            _values(found[str(best.number)], metric),
            None if same else _values(found[DEFAULT], metric),
        )
        for place, metric in enumerate(survey.metrics)
    ]


def _values(found: Mapping[int, Result], metric: str) -> dict[int, float]:
    return {seed: result.metrics[metric] for seed, result in found.items()
            if metric in result.metrics}  # fmt: skip


@dataclass(frozen=True)
class Repeater:
    """Runs one configuration with other seeds.

    Attributes:
        plan: of the study.
        data: digest of the images; other images are other repetitions.
        parent_id: of the study's MLflow run.
        say: takes a line for each repetition.
    """

    plan: Plan
    data: str
    parent_id: str | None
    say: Say

    def __call__(self, config: Config, who: str) -> Iterator[tuple[int, Result]]:
        """Yield the seed and the result of each repetition that finished."""
        name = who if who == DEFAULT else f"trial {who}"
        computed = f"{signature(config)[:8]}{self.data[:4]}"
        tags = {**child_tags(self.plan, self.parent_id, who), Tag.ROLE: CONFIRMATION}
        for seed in range(config.seed + 1, config.seed + 1 + self.plan.sweep.confirm):
            seeded = config.model_copy(update={"seed": seed, "name": f"confirm {name} seed={seed}"})
            folder = self.plan.folder / FOLDER / f"{computed}_seed{seed}"
            try:
                yield seed, self._run(seeded, folder, tags)
            except RunError as error:
                self.say(f"confirm {name}, seed {seed}: failed: {error}")

    def _run(self, config: Config, folder: Path, tags: Mapping[str, str]) -> Result:
        """Return what a repetition came to; it is run unless it is finished."""
        known = Result.read(folder)
        if known is None or known.status != "FINISHED":
            self.say(f"{config.name} ...")
            resume = str(folder) if known is not None else False
            depth: Depth = "scores" if needs_scores(self.plan.sweep.objectives) else "validation"
            run_experiment(
                config.model_copy(update={"resume": resume}),
                folder,
                watcher=_Onlooker(tags),
                depth=depth,
            )
            known = Result.read(folder)
        assert known is not None
        return known
