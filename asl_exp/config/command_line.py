"""The options of ``python -m asl_exp``: those of Hydra that make sense here, in any order.

Hydra's own parser wants all overrides in one place, answers ``--version`` with its own, reads a
pickle with ``--experimental-rerun``, and ends in tracebacks where two options contradict.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NoReturn

from asl_exp.config.errors import ConfigError, nearest

_WITH_VALUE: Final = ("--cfg", "--package", "--config-dir", "--info", "--shell-completion")
_SWITCHES: Final = ("--help", "--version", "--multirun", "--resolve", "--run", "--hydra-help")
_SHORT: Final = {
    "--help": "-h", "--cfg": "-c", "--package": "-p", "--config-dir": "-cd", "--info": "-i",
    "--multirun": "-m", "--run": "-r", "--shell-completion": "-sc",
}  # fmt: skip
_OWN_FILES: Final = (
    "your own files go into a folder with --config-dir FOLDER, one preset with experiment=FILE.yaml"
)
_REFUSED: Final = {
    "--config-path": ("-cp", f"the configuration is asl_exp's own; {_OWN_FILES}"),
    "--config-name": ("-cn", f"the configuration is asl_exp's own; {_OWN_FILES}"),
    "--experimental-rerun": (
        "",
        "is not offered (it runs what a file holds); python -m asl_exp experiment=FILE.yaml runs "
        "a saved configuration",
    ),
}
_DEBUG: Final = re.compile(r"^\+debug=")
"""As people know it from other programs, where the group is added."""
_COMPLETED: Final = re.compile(r"(install|uninstall|query)=(bash|zsh)")
_CFG: Final = ("job", "hydra", "all")
_INFO: Final = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass(frozen=True)
class CommandLine:
    """What was asked for.

    Attributes:
        overrides: ``key=value`` and ``group=choice``, in their order.
        help: ``--help``; words beside it are what help is wanted for.
        cfg: which configuration is shown in place of a run: job, hydra or all.
        shell_completion: install=SHELL, uninstall=SHELL, or query=SHELL by the shell itself.
    """

    overrides: list[str]
    help: bool = False
    version: bool = False
    multirun: bool = False
    run: bool = False
    resolve: bool = False
    hydra_help: bool = False
    cfg: str | None = None
    package: str | None = None
    config_dir: str | None = None
    info: str | None = None
    shell_completion: str | None = None

    @property
    def shows(self) -> bool:
        """Whether something is printed in place of a run."""
        shown = (self.version, self.hydra_help, self.cfg, self.info, self.shell_completion)
        return bool(self.help or any(shown))

    def for_hydra(self) -> list[str]:
        """Return the same with all options first, as Hydra's parser needs it."""
        told = [f"--{name.replace('_', '-')}" for name in _TRUTHS if getattr(self, name)]
        for option in _WITH_VALUE:
            value = getattr(self, option.strip("-").replace("-", "_"))
            told += [] if value is None else [option, value]
        return [*told, "--", *self.overrides] if self.overrides else told


_TRUTHS: Final = ("help", "multirun", "run", "resolve", "hydra_help")


_NO_COMPLETION: Final = (
    "--shell-completion: give install=bash or install=zsh, or uninstall=...; for this shell: "
    'eval "$(python -m asl_exp -sc install=bash)"'
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError([_in_our_words(message)])


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """Return what a command line asks for.

    Raises:
        ConfigError: an unknown or refused option, or two that contradict.
    """
    parser = _Parser(prog="python -m asl_exp", add_help=False, allow_abbrev=False)
    for option in _SWITCHES:
        parser.add_argument(*_spellings(option), action="store_true")
    for option in ("--package", "--config-dir", "--shell-completion"):
        parser.add_argument(*_spellings(option))
    parser.add_argument(*_spellings("--cfg"), choices=_CFG)
    parser.add_argument(*_spellings("--info"), nargs="?", const="all", choices=_INFO)
    refused = [told for argument in arguments if (told := _refusal(argument))]
    if refused:
        raise ConfigError(list(dict.fromkeys(refused)))
    given, words = parser.parse_known_args([one for one in arguments if one != "--"])
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        raise ConfigError([_unknown(option) for option in unknown])
    overrides = [_DEBUG.sub("debug=", word) for word in words]
    line = CommandLine(overrides=overrides, **vars(given))
    if faults := list(_contradictions(line)):
        raise ConfigError(faults)
    return line


def _spellings(option: str) -> tuple[str, ...]:
    return (_SHORT[option], option) if option in _SHORT else (option,)


def _refusal(argument: str) -> str | None:
    for option, (short, why) in _REFUSED.items():
        if argument.partition("=")[0] in (option, *filter(None, [short])):
            return f"{option}: {why}" if " is " in why[:40] else f"{option} {why}"
    return None


def _unknown(option: str) -> str:
    name = option.partition("=")[0]
    known = [*_SWITCHES, *_WITH_VALUE]
    short = next((full for full, one in _SHORT.items() if one == name.lower()), None)
    if short:
        return f"{name}: no such option; did you mean '{name.lower()}' ({short})?"
    if name.lstrip("-") and "=" in option and not option.startswith("--"):
        return f"{option}: begins with '-'; a key is changed by key=value, without it"
    if get_close_matches(name, known, n=1, cutoff=0.75):
        return f"{name}: no such option{nearest(name, known)}; allowed: {', '.join(known)}"
    from asl_exp.config.keys import GROUPS, nearest_key, usual_keys

    key = name.strip("-")
    exact = key in usual_keys() and key not in GROUPS
    hint = f"; write {key}=VALUE" if exact else nearest_key(key, usual_keys())
    return f"{name}: no such option; settings are KEY=VALUE, without dashes, --help lists all{hint}"


def _in_our_words(message: str) -> str:
    """Turn argparse's message into one of ours."""
    option = message.removeprefix("argument ").partition(":")[0].rpartition("/")[2]
    if "ignored explicit argument" in message and option == "--help":
        return "--help: write the key or group after a blank, such as --help lr"
    if "ignored explicit argument" in message:
        return f"{option}: is a switch and takes no value; write {option} alone"
    told = {
        "--cfg": f"--cfg: give what to show: {', '.join(_CFG)}",
        "--info": f"--info: give what to show: {', '.join(_INFO)}",
        "--config-dir": "--config-dir: give a folder, --config-dir FOLDER",
        "--package": "--package: give a group of the configuration, such as --package data",
        "--shell-completion": _NO_COMPLETION,
    }
    return told.get(option, message)


def _contradictions(line: CommandLine) -> Iterator[str]:
    if line.resolve and line.cfg != "job":
        yield "--resolve: belongs to --cfg job; add it, or leave --resolve out"
    if line.package is not None and line.cfg != "job":
        yield "--package: belongs to --cfg job; add it, or leave --package out"
    if line.info and (line.cfg or line.multirun):
        yield "--info: shows and runs nothing; give it without --cfg and --multirun"
    if line.shell_completion and not _COMPLETED.fullmatch(line.shell_completion):
        yield _NO_COMPLETION
    if line.hydra_help and (line.overrides or line.cfg):
        yield "--hydra-help: shows Hydra's own options; give it alone"
    if line.run and line.multirun:
        yield "--run: is one run and --multirun many; leave one of the two out"
