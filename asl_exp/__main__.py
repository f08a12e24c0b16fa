"""``python -m asl_exp``: compose, check, then run the experiment; return the objective.

Everything that is wrong with the command line is said at once, before torch is imported.
"""

import signal
import sys
from pathlib import Path
from types import FrameType

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from asl_exp.config.compose import check_overrides, conf_dir, register_bases
from asl_exp.config.errors import ConfigError, Interrupted, NonFiniteLossError, UserError
from asl_exp.config.validate import validate


def main() -> None:
    """Run the command line in ``sys.argv``; exits with 0, 1, 2, 130 or 143."""
    arguments = get_args_parser().parse_args()
    if not (arguments.help or arguments.hydra_help):
        try:
            searchpath = _searchpath(arguments.config_dir)
            check_overrides(arguments.overrides, multirun=arguments.multirun, searchpath=searchpath)
        except UserError as error:
            sys.exit(_told(error))
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupt)
    register_bases()
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(_job)()


def _searchpath(config_dir: str | None) -> list[str]:
    if config_dir is None:
        return []
    if not Path(config_dir).is_dir():
        raise ConfigError([f"--config-dir: no folder '{config_dir}'"])
    return [f"file://{Path(config_dir).resolve()}"]


def _job(composed: DictConfig) -> float:
    """Run one experiment of a plain run or of a grid."""
    try:
        config, faults = validate(composed)
        if config is None:
            raise ConfigError(faults)
        from asl_exp.data.sources import check_source

        check_source(config.data)

        from asl_exp.training.run import run_experiment

        return run_experiment(config, Path(HydraConfig.get().runtime.output_dir))
    except UserError as error:
        raise SystemExit(_told(error)) from None
    except NonFiniteLossError as error:
        print(f"asl_exp: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except Interrupted as interruption:
        print(f"asl_exp: {interruption}", file=sys.stderr)
        raise SystemExit(interruption.exit_status) from None


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(128 + signum)


def _told(error: UserError) -> int:
    print(f"asl_exp: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
