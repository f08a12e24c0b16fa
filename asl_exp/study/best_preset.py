"""best.yaml: the configuration of a trial as a preset that ``experiment=FILE`` runs again.

It chooses an option of every group and adds each value that differs from that option's own, so it
depends on neither the study nor the preset that the study began with. Keys of the machine are left
to whoever runs it.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial

from asl_exp.config.compose import Composition, compose_config, compose_parts, hydra_opened
from asl_exp.config.overrides import quoted_override
from asl_exp.config.schema import Config
from asl_exp.config.signature import compared_settings, flatten, signature
from asl_exp.config.study_plan import Plan
from asl_exp.runs.run_folder import CONFIG_FILE, read_config
from asl_exp.study import trial_facts
from asl_exp.study.results import Survey, score

BEST = "best.yaml"
_OWN_GROUPS = ("experiment", "sweep")
_LEFT_TO_THE_USER = (*_OWN_GROUPS, "tracking", "debug")


def write_best(plan: Plan, survey: Survey) -> list[str]:
    """Write best.yaml, and with two objectives best_N.yaml for every trial N of the front.

    Returns:
        A sentence for each file that does not give what its trial had.
    """
    for left_over in plan.folder.glob("best*.yaml"):
        left_over.unlink()
    if survey.best is None:
        return []
    points = {BEST: survey.best}
    if len(survey.metrics) > 1:
        points |= {f"best_{trial.number}.yaml": trial for trial in survey.front}
    plan.folder.mkdir(parents=True, exist_ok=True)
    return [fault for name, trial in points.items() for fault in _write(plan, survey, name, trial)]


def _write(plan: Plan, survey: Survey, name: str, trial: FrozenTrial) -> list[str]:
    path, config = plan.folder / name, trial_config(plan, trial)
    path.write_text(_header(plan, survey, trial, path) + _preset(plan, trial, config))
    again = compose_config([experiment(path)], plan.searchpath)
    if signature(again) == signature(config):
        return []
    now, then = compared_settings(again), compared_settings(config)
    keys = sorted(k for k in now.keys() | then.keys() if now.get(k) != then.get(k))
    return [f"{path} does not give trial {trial.number} again; it differs in {', '.join(keys)}"]


def trial_config(plan: Plan, trial: FrozenTrial) -> Config:
    """Return what a trial ran with: as its folder has it, or composed anew where that is gone."""
    folder = trial_facts.run_folder(trial)
    if folder is not None and (folder / CONFIG_FILE).is_file():
        return read_config(folder)
    return compose_config(plan.overrides_of(trial.params), plan.searchpath)


def experiment(path: Path) -> str:
    """Return the override that runs a file, quoted for Hydra where it must be."""
    text = str(path)
    plain = re.fullmatch(r"[\w/.-]+", text, re.ASCII)
    return f"experiment={text}" if plain else quoted_override("experiment", text)


def command(plan: Plan, *words: str) -> str:
    """Return a whole command, quoted for a shell, that finds the user's own configuration files."""
    own = [f"--config-dir={folder.removeprefix('file://')}" for folder in plan.searchpath]
    return shlex.join(["python", "-m", "asl_exp", *own, *words])


def _header(plan: Plan, survey: Survey, trial: FrozenTrial, path: Path) -> str:
    values = zip(survey.metrics, trial.values, strict=True)
    measured = ", ".join(f"{metric} {score(value)}" for metric, value in values)
    return (
        "# @package _global_\n"
        f"# Command   {command(plan, experiment(path))}\n"
        f"# Study     {plan.name}, trial {trial.number}; {survey.counted()}\n"
        f"# Measured  {measured}, the best of the study: with another seed expect less\n"
    )


def _preset(plan: Plan, trial: FrozenTrial, config: Config) -> str:
    with hydra_opened(plan.searchpath):
        choices = _choices(compose_parts(plan.overrides_of(trial.params)))
        base = compose_parts([f"{group}={option}" for group, option in choices.items()]).config
    defaults = [{f"override /{group}": option} for group, option in choices.items()]
    values = _differing(base, compared_settings(config))
    content = OmegaConf.create({"defaults": defaults, "name": f"{plan.name} trial {trial.number}"})
    for key, value in values.items():
        OmegaConf.update(content, key, value, force_add=True)
    return OmegaConf.to_yaml(content)


def _choices(composition: Composition) -> dict[str, str]:
    """Return the option of every group of an experiment, in the order of config.yaml."""
    return {
        group: option
        for group, option in reversed(composition.choices.items())
        if option and group not in _LEFT_TO_THE_USER and not group.startswith(("hydra", "sweep"))
    }


def _differing(base: DictConfig, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be set on a composition to come to the settings that are wanted.

    Keys that refer to others (``${lr.transfer}``) follow them wherever that gives what is wanted.
    """
    raw = flatten(_plain(base, resolve=False))
    referring = {key for key, value in raw.items() if isinstance(value, str) and "${" in value}
    absent = object()
    values = {
        key: value
        for key, value in wanted.items()
        if key not in referring and raw.get(key, absent) != value
    }
    followed = base.copy()
    for key, value in values.items():
        OmegaConf.update(followed, key, value, force_add=True)
    resolved = flatten(_plain(followed, resolve=True))
    return values | {k: wanted[k] for k in referring & wanted.keys() if resolved[k] != wanted[k]}


def _plain(config: DictConfig, *, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items() if key not in _OWN_GROUPS}
