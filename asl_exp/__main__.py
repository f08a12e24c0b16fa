"""``python -m asl_exp``: compose, check, then run the experiment; return the objective.

Everything that is wrong with the command line is said at once, before torch is imported.
"""

import signal
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from asl_exp.config.conf_folder import conf_dir, help_text
from asl_exp.config.errors import ConfigError, Interrupted, RunError, UserError
from asl_exp.config.process_setup import collector_paused, raise_interrupts
from asl_exp.config.redact import scrubbed

_PARTING_S = 3.0  # for delivery, where the command was interrupted


def main() -> None:
    """Run the command line in ``sys.argv``; exits with 0, 1, 2, 130 or 143."""
    raise_interrupts(signal.SIGINT, signal.SIGTERM)
    try:
        if _answered(get_args_parser().parse_args()):
            return
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_job)()
    except Interrupted as interruption:
        print(f"asl_exp: {interruption}", file=sys.stderr)
        _finish_delivery(at_most_s=_PARTING_S)
        sys.exit(interruption.exit_status)
    finally:
        _finish_delivery()


def _finish_delivery(at_most_s: float | None = None) -> None:
    """Wait for what is on its way to a replica, if anything is; an interrupt ends the waiting."""
    background = sys.modules.get("asl_exp.replica.background")
    if background is not None:
        with suppress(Interrupted):
            background.finish_delivery(print, at_most_s)


def _answered(arguments: Namespace) -> bool:
    """Check the command line; answer what needs no run and would take Hydra twice the time."""
    if arguments.help:
        print(help_text())
        return True
    if arguments.hydra_help:
        return False
    with collector_paused():
        composed = _checked(arguments)
    own = arguments.config_name or arguments.config_path or arguments.multirun
    if composed is None or own or arguments.cfg != "job" or arguments.package:
        return False
    print(OmegaConf.to_yaml(composed, resolve=arguments.resolve), end="")
    return True


def _checked(arguments: Namespace) -> DictConfig | None:
    """Say every fault of the command line and exit, before Hydra would say the first."""
    from asl_exp.config.compose import asks_for_study, check_overrides

    overrides = arguments.overrides
    only_shown = arguments.cfg is not None and asks_for_study(overrides)
    try:
        searchpath = _searchpath(arguments.config_dir)
        multirun = arguments.multirun or only_shown
        return check_overrides(overrides, multirun=multirun, searchpath=searchpath)
    except UserError as error:
        sys.exit(_told(error))


def _searchpath(config_dir: str | None) -> list[str]:
    if config_dir is None:
        return []
    if not Path(config_dir).is_dir():
        raise ConfigError([f"--config-dir: no folder '{config_dir}'"])
    return [f"file://{Path(config_dir).resolve()}"]


def _job(composed: DictConfig) -> float:
    """Run one experiment of a plain run or of a grid."""
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
    except UserError as error:
        raise SystemExit(_told(error)) from None
    except RunError as error:
        print(f"asl_exp: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _told(error: UserError) -> int:
    print(f"asl_exp: {scrubbed(str(error))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
