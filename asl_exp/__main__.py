"""``python -m asl_exp``: compose, check, then run the experiment; return the objective.

Everything that is wrong with the command line is said at once, before torch is imported.
"""

import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asl_exp import __version__, cli
from asl_exp.config.command_line import CommandLine, parse_command_line
from asl_exp.config.errors import ConfigError, Interrupted, RunError, UserError, nearest
from asl_exp.config.process_setup import collector_paused

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from asl_exp.config.compose import Checked
    from asl_exp.config.schema import Config

_PROGRAM: Final = "asl_exp"
_LOCK: Final = ".lock"
"""What a run that has not begun leaves in its folder."""

_NOTHING_ASKED: Final = """nothing is asked for. For example
  python -m asl_exp experiment=demo                     drawn hands on the CPU, in a minute
  python -m asl_exp data=folder data.root=PHOTOS        your photos, a sub-folder for each letter
  python -m asl_exp data=synthetic                      the defaults: EfficientNet-B0, 200 epochs
--help lists all groups and choices"""

_PARTING_S: Final = 3.0  # for delivery, where the command was interrupted


def main() -> None:
    """Run the command line in ``sys.argv``; exits with 0, 1, 2, 130 or 143."""
    cli.start(run)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and wait for what is on its way to a replica; return the status."""
    status = 1
    try:
        status = cli.answered(_PROGRAM, lambda: _command(arguments))
    finally:
        interrupted = status > 128
        finish_delivery(at_most_s=_PARTING_S if interrupted else None)
    return status


def finish_delivery(at_most_s: float | None) -> None:
    """Wait for what is on its way to a replica, if anything is; an interrupt ends the waiting."""
    background = sys.modules.get("asl_exp.replica.background")
    if background is not None:
        with suppress(Interrupted):
            background.finish_delivery(print, at_most_s)


def _command(arguments: Sequence[str]) -> int:
    line = parse_command_line(arguments)
    if not line.overrides and not line.shows and line.config_dir is None:
        raise UserError(_NOTHING_ASKED)
    if not _answered(line):
        import hydra

        from asl_exp.compat.hydra import load_launchers, register_sweeper
        from asl_exp.config.compose import register_bases
        from asl_exp.config.conf_folder import conf_dir
        from hydra_plugins.asl_exp_sweeper import GridSweeper, StudySweeper

        register_sweeper(StudySweeper)
        register_sweeper(GridSweeper)

        register_bases()
        if line.hydra_help or line.info:
            load_launchers()
        line = replace(line, overrides=_expanded(line), multirun=line.multirun and not line.cfg)
        sys.argv[1:] = line.for_hydra()
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_job)()
    return 0


def _answered(line: CommandLine) -> bool:
    """Check the command line; answer what needs no run and would take Hydra twice the time."""
    if line.version:
        print(f"{_PROGRAM} {__version__}")
        return True
    if line.help:
        _help(line.overrides)
        return True
    if line.shell_completion:
        from asl_exp.config.completion import completion

        print(completion(line.shell_completion))
        return True
    if line.hydra_help:
        return False
    from asl_exp.compat.quick_start import checked_quickly

    with collector_paused(), checked_quickly():
        checked = checked_line(line)
    if line.cfg:
        _refuse_several(checked, line)
    if checked is None or line.cfg != "job":
        return False
    _show(checked, line)
    return True


def _help(asked: Sequence[str]) -> None:
    """Print how the command is used, or what the keys that are asked for mean."""
    if not asked:
        from asl_exp.config.conf_folder import help_text

        print(help_text())
        return
    from asl_exp.config.keys import key_help, nearest_key, usual_keys

    for word in asked:
        told = key_help(word.partition("=")[0])
        if told is None:
            hint = nearest_key(word, usual_keys())
            raise ConfigError([f"--help {word}: no such key or group{hint}"])
        print(told)


def _refuse_several(checked: "Checked | None", line: CommandLine) -> None:
    """Refuse to show the configuration of what has many."""
    from asl_exp.config.overrides import parse

    if checked is not None and len(checked.jobs) > 1:
        told = (
            f"this grid has {len(checked.jobs)} or more configurations; give each key one value to "
            "see one of them"
        )
        raise ConfigError([f"--cfg {line.cfg}: {told}"])
    for override in parse(line.overrides).overrides:
        if checked is None and override.is_sweep_override():
            told = "is shown before a trial has its values; leave it out, or give one value"
            raise ConfigError([f"--cfg {line.cfg}: a study {told} ({override.input_line})"])


def _show(checked: "Checked", line: CommandLine) -> None:
    """Print the composed configuration, or a part of it."""
    from omegaconf import OmegaConf

    shown, package = checked.config, line.package or "_global_"
    part = shown if package == "_global_" else OmegaConf.select(shown, package)
    if package != "_global_":
        if part is None:
            hint = nearest(package, map(str, shown))
            allowed = ", ".join(map(str, shown))
            raise ConfigError([f"--package: no group '{package}'{hint}; allowed: {allowed}"])
        print(f"# @package {package}")
    if OmegaConf.is_config(part):
        print(OmegaConf.to_yaml(part, resolve=line.resolve), end="")
    else:
        print(part)


def _expanded(line: CommandLine) -> list[str]:
    """Return the overrides for Hydra: patterns written out, and who runs a grid.

    A study names its sweeper in its own file, which one in config.yaml would overrule.
    """
    from asl_exp.config.compose import asks_for_study, expand_patterns
    from asl_exp.config.overrides import as_hydra_reads

    overrides = expand_patterns(as_hydra_reads(line.overrides), _searchpath(line.config_dir))
    if line.multirun and not asks_for_study(overrides):
        return ["hydra/sweeper=asl_exp_grid", *overrides]
    return overrides


def checked_line(line: CommandLine) -> "Checked | None":
    """Raise every fault of the command line, before Hydra would say the first."""
    from asl_exp.config.compose import asks_for_study
    from asl_exp.config.study_plan import check_overrides

    only_shown = line.cfg is not None and asks_for_study(line.overrides)
    checked = check_overrides(
        line.overrides,
        multirun=line.multirun or only_shown,
        searchpath=_searchpath(line.config_dir),
    )
    if checked is not None and line.cfg is None and line.info is None:
        _check_data(checked)
        _check_records(checked)
    return checked


def _check_data(checked: "Checked") -> None:
    """Refuse data that are not there before Hydra makes a folder for the run."""
    from asl_exp.data.sources.selection import check_source

    for data in {job.data.model_dump_json(): job.data for job in checked.jobs}.values():
        check_source(data)


def _check_records(checked: "Checked") -> None:
    """Refuse a record that no run could be written to, and a run that is none, likewise."""
    from asl_exp.tracking.store_file import check_store

    for given in {job.resume for job in checked.jobs if isinstance(job.resume, str)}:
        from asl_exp.runs.run_folder import resumed_run

        resumed_run(given)
    for folder in {job.runs_dir for job in checked.jobs if job.tracking.mode != "off"}:
        check_store(Path(folder))


def _searchpath(config_dir: str | None) -> list[str]:
    if config_dir is None:
        return []
    if not Path(config_dir).is_dir():
        raise ConfigError([f"--config-dir: no folder '{config_dir}'"])
    return [f"file://{Path(config_dir).resolve()}"]


def _job(composed: "DictConfig") -> float:
    """Run one experiment of a plain run or of a grid; a grid goes on where one of them fails."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return experiment(config_of(composed), folder)
    except Exception as error:
        told = error if isinstance(error, UserError | RunError) else cli.path_fault(error)
        if told is not None:
            _remove_empty(folder)
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            if told is None:
                raise
            raise SystemExit(cli.told(_PROGRAM, told)) from None
        if told is not None:
            cli.told(f"{_PROGRAM}: job {HydraConfig.get().job.num}", told)
            raise RunError(str(told)) from None
        traceback.print_exc()
        raise RunError(f"{type(error).__name__}: {error}") from None


def config_of(composed: "DictConfig") -> "Config":
    """Return the typed configuration of a composition.

    Raises:
        ConfigError: with every fault.
    """
    from asl_exp.config.validate import validate

    config, faults = validate(composed)
    if config is None:
        raise ConfigError(faults)
    return config


def experiment(config: "Config", folder: Path) -> float:
    """Run an experiment, or all its folds, in a folder of its own; return the objective."""
    if config.trainer.devices * config.trainer.num_nodes > 1:
        _begin_workers()
    if config.tracking.mode in ("server", "dagshub"):
        with collector_paused():
            from asl_exp.replica.background import begin_delivery

        begin_delivery(config.tracking, Path(config.runs_dir), print)
    _load_training()
    from asl_exp.training.folds import run_whole

    return run_whole(config, folder)


def _load_training() -> None:
    cli.load_packages("timm", "pytorch_lightning", "mlflow")
    with collector_paused():
        import asl_exp.training.folds  # noqa: F401


def _begin_workers() -> None:
    """Begin what workers are forked from: this process itself, before it has done anything."""
    fresh = "torch" not in sys.modules
    _load_training()
    from asl_exp.training.forking import begin_forking

    begin_forking(from_here=fresh)


def _remove_empty(folder: Path) -> None:
    """Remove a run folder in which no run has begun; Hydra made it."""
    from asl_exp.runs.writing import remove_empty

    left = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    if left <= {_LOCK}:
        with suppress(OSError):
            (folder / _LOCK).unlink(missing_ok=True)
            remove_empty(folder)


if __name__ == "__main__":
    main()
