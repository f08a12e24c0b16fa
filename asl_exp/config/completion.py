"""Completion of the command line by the shell: groups, their choices, keys and their values.

Hydra's own completes scripts and installed programs; ``python -m`` is neither. The answers come
from the names of conf/'s files and the schema alone, so that the shell does not wait for Hydra.
"""

import os
import typing
from collections.abc import Iterator
from typing import Any, Final, Literal

from asl_exp.config.conf_folder import conf_dir
from asl_exp.config.keys import GROUPS, model_at, schema_keys
from asl_exp.config.schema import PhaseConfig

_OPTIONS: Final = ("--help", "--version", "--multirun", "--cfg", "--config-dir", "--info")

_SCRIPT: Final = r"""_asl_exp_complete() {
    local line="${COMP_LINE:0:$COMP_POINT}" word
    COMPREPLY=()
    case "$line" in *" -m asl_exp "*) ;; *) return ;; esac
    word="${line##* }"
    local IFS=$'\n'
    COMPREPLY=($(COMP_LINE="$line" "${COMP_WORDS[0]}" -m asl_exp -sc query=bash 2>/dev/null))
    case "$word" in *=*) COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}") ;; esac
}
complete -o nospace -o default -F _asl_exp_complete python python3"""

_ZSH: Final = "autoload -U +X bashcompinit && bashcompinit\n"
_REMOVAL: Final = "complete -r python python3; unset -f _asl_exp_complete"


def completion(asked: str) -> str:
    """Return what ``-sc install=bash`` prints for the shell to evaluate, or answers to a query.

    A query reads the line so far from the environment, ``COMP_LINE``, as Hydra's does.
    """
    what, _, shell = asked.partition("=")
    if what == "query":
        return "\n".join(candidates(os.environ.get("COMP_LINE", "").rpartition(" ")[2]))
    script = _SCRIPT if what == "install" else _REMOVAL
    return _ZSH + script if shell == "zsh" and what == "install" else script


def candidates(word: str) -> list[str]:
    """Return what a word of the command line can go on as."""
    key, equals, _ = word.partition("=")
    if word.startswith("-"):
        every: Iterator[str] = iter(_OPTIONS)
    elif equals:
        every = (f"{key}={value}" for value in _values(key))
    else:
        every = _names()
    return sorted(name for name in every if name.startswith(word))


def _names() -> Iterator[str]:
    """Yield groups that have choices, and all keys."""
    yield from (f"{group}=" for group in GROUPS)
    yield from (f"{key}=" for key in schema_keys() if key not in GROUPS)
    for phase in ("transfer", "finetune", "last_layers", "scratch"):
        yield from (f"schedule.{phase}.{name}=" for name in PhaseConfig.model_fields)


def _values(key: str) -> Iterator[str]:
    """Yield the choices of a group, or the values of a key that has few."""
    if key in GROUPS:
        yield from (file.stem for file in (conf_dir() / key).glob("*.yaml"))
        return
    *groups, leaf = key.split(".")
    model = model_at(tuple(groups))
    if model is not None and leaf in model.model_fields:
        yield from _listed(model.model_fields[leaf].annotation)


def _listed(annotation: Any) -> Iterator[str]:
    if typing.get_origin(annotation) is Literal:
        yield from map(str, typing.get_args(annotation))
    elif annotation is bool:
        yield from ("true", "false")
    elif annotation is type(None):
        yield "null"
    else:
        for one in typing.get_args(annotation):
            yield from _listed(one) if not isinstance(one, str) else ()
