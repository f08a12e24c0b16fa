"""What a person sees of a study: a line for each trial that ended, a bar at a terminal.

Everything is read from the storage, so it is the same whoever tried the trial.
"""

from optuna.trial import FrozenTrial, TrialState
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from asl_exp.config.redact import without_login
from asl_exp.study.claims import COUNTED, in_order
from asl_exp.study.results import Survey, brief, score
from asl_exp.study.study import OpenStudy
from asl_exp.study.trial_facts import failure, took
from asl_exp.training.terminal import console


class Lines:
    """Prints what is new in a study, each time it is asked."""

    def __init__(self, opened: OpenStudy) -> None:
        self.opened = opened
        self._told = {trial.number for trial in self._ended()}
        self._bar: Progress | None = None

    def _ended(self) -> list[FrozenTrial]:
        return in_order(self.opened.study.get_trials(deepcopy=False))

    def __enter__(self) -> "Lines":
        """Say what the study is, and open the bar at a terminal."""
        plan, ended = self.opened.plan, self._ended()
        counted = sum(trial.state in COUNTED for trial in ended)
        total = plan.n_wanted
        goes_on = f", {counted} of them done before" if counted else ""
        where = without_login(plan.storage)
        console.say(f"study {plan.name}: {total} trials{goes_on}; in {where}")
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", style="bold", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.completed:.0f}/{task.total:.0f} trials"),
                TextColumn("{task.fields[best]}", markup=False),
                TimeElapsedColumn(),
                console=console,
                expand=True,
            )
            self._bar.start()
            self._bar.add_task(plan.name, total=total, completed=counted, best=self._best(ended))
        return self

    def __exit__(self, *_: object) -> None:
        """Say what is still new, and close the bar."""
        self.show()
        if self._bar is not None:
            self._bar.stop()

    def show(self) -> None:
        """Print a line for each trial that ended since the last time."""
        ended = self._ended()
        for position, trial in enumerate(ended):
            if trial.number not in self._told:
                self._told.add(trial.number)
                console.say(self._line(trial, ended[: position + 1]))
        if self._bar is not None:
            counted = sum(trial.state in COUNTED for trial in ended)
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=counted, best=self._best(ended))

    def _line(self, trial: FrozenTrial, ended: list[FrozenTrial]) -> str:
        told = [f"trial {trial.number}", self._outcome(trial), brief(trial.params), took(trial)]
        if trial.state in COUNTED:
            told.append(self._best(ended))
        return " | ".join(part for part in told if part)

    def _outcome(self, trial: FrozenTrial) -> str:
        if trial.state == TrialState.FAIL:
            return f"failed: {failure(trial)}"
        values = zip(self.opened.plan.metrics, trial.values or (), strict=False)
        told = ", ".join(f"{metric} {score(value)}" for metric, value in values)
        if trial.state == TrialState.PRUNED:
            epochs = f"after {len(trial.intermediate_values)} epochs"
            return f"pruned {epochs}{f', {told}' if told else ''}"
        return told

    def _best(self, ended: list[FrozenTrial]) -> str:
        seen = Survey(self.opened.study, self.opened.plan.metrics, (), tuple(ended))
        if seen.best is None:
            return ""
        if len(seen.metrics) > 1:
            return f"{len(seen.front)} on the front"
        return f"best {score(seen.best.values[0])} (trial {seen.best.number})"
