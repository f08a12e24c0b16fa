"""``python -m asl_exp``: compose, check, then run the experiment; return the objective.

Everything that is wrong with the command line is said at once, before torch is imported.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asl_exp import __version__, cli
from asl_exp.config.command_line import CommandLine, parse_command_line
from asl_exp.config.errors import ConfigError, Interrupted, RunError, UserError
from asl_exp.config.process_setup import collector_paused

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PROGRAM: Final = "asl_exp"
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
        _finish_delivery(at_most_s=_PARTING_S if interrupted else None)
    return status


def _finish_delivery(at_most_s: float | None) -> None:
    """Wait for what is on its way to a replica, if anything is; an interrupt ends the waiting."""
    background = sys.modules.get("asl_exp.replica.background")
    if background is not None:
        with suppress(Interrupted):
            background.finish_delivery(print, at_most_s)


def _command(arguments: Sequence[str]) -> int:
    line = parse_command_line(arguments)
    if not _answered(line):
        import hydra

        from asl_exp.compat.hydra import register_sweeper
        from asl_exp.config.conf_folder import conf_dir
        from hydra_plugins.asl_exp_sweeper import StudySweeper

        register_sweeper(StudySweeper)

        sys.argv[1:] = line.for_hydra()
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_job)()
    return 0


def _answered(line: CommandLine) -> bool:
    """Check the command line; answer what needs no run and would take Hydra twice the time."""
    if line.version:
        print(f"{_PROGRAM} {__version__}")
        return True
    if line.help:
        from asl_exp.config.conf_folder import help_text

        print(help_text())
        return True
    if line.hydra_help:
        return False
    with collector_paused():
        composed = _checked(line)
    if composed is None or line.cfg != "job" or line.package:
        return False
    from omegaconf import OmegaConf

    print(OmegaConf.to_yaml(composed, resolve=line.resolve), end="")
    return True


def _checked(line: CommandLine) -> "DictConfig | None":
    """Raise every fault of the command line, before Hydra would say the first."""
    from asl_exp.config.compose import asks_for_study, check_overrides

    only_shown = line.cfg is not None and asks_for_study(line.overrides)
    return check_overrides(
        line.overrides,
        multirun=line.multirun or only_shown,
        searchpath=_searchpath(line.config_dir),
    )


def _searchpath(config_dir: str | None) -> list[str]:
    if config_dir is None:
        return []
    if not Path(config_dir).is_dir():
        raise ConfigError([f"--config-dir: no folder '{config_dir}'"])
    return [f"file://{Path(config_dir).resolve()}"]


def _job(composed: "DictConfig") -> float:
    """Run one experiment of a plain run or of a grid."""
    from hydra.core.hydra_config import HydraConfig

    from asl_exp.config.validate import validate

    try:
        config, faults = validate(composed)
        if config is None:
            raise ConfigError(faults)
        from asl_exp.data.sources.selection import check_source

        check_source(config.data)
        if config.tracking.mode in ("server", "dagshub"):
            with collector_paused():
                from asl_exp.replica.background import begin_delivery

            begin_delivery(config.tracking, Path(config.runs_dir), print)
        if config.trainer.devices * config.trainer.num_nodes > 1:
            from asl_exp.training.launcher import begin_forking

            begin_forking()
        with collector_paused():
            from asl_exp.training.run import run_experiment

        return run_experiment(config, Path(HydraConfig.get().runtime.output_dir))
    except (UserError, RunError) as error:
        raise SystemExit(cli.told(_PROGRAM, error)) from None


if __name__ == "__main__":
    main()
