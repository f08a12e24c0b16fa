"""Every configuration key on one Markdown page, made from the schema and the files of conf/.

``python -m asl_exp.config.reference`` prints it; ``make docs`` makes the site's page Reference of
it anew, so that it says what this version takes. ``--help KEY`` has the same in the terminal.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Final

import yaml
from pydantic import BaseModel

from asl_exp.config.conf_folder import conf_dir
from asl_exp.config.documents import markdown_table
from asl_exp.config.keys import is_machine_key, key_facts, model_at, opening_line, shown
from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.config.study_schema import Objective, SweepConfig

_OPENING: Final = """# Reference

Every key of an experiment (`key=value` on the command line), then those of a study. A group's
choices are files of `conf/`: `optimizer=adamw` takes `conf/optimizer/adamw.yaml`. *Default* is what
holds where neither the command line nor a file says otherwise. Unknown keys, wrong types and values
out of range are refused, all at once. Keys with * say where or how fast a run goes, not what it
computes: runs that differ in them alone have one signature.
"""
_PHASE: Final = "schedule.<phase>"


def reference_page() -> str:
    """Return the page."""
    return "\n".join([_OPENING, *_experiment(), *_study()])


def _experiment() -> Iterator[str]:
    single = []
    for name in Config.model_fields:
        if name == "schedule":
            yield from _section("schedule", "Phases, in order; each key is one of a phase.")
            yield from _table(PhaseConfig, f"{_PHASE}.")
        elif key_facts(name, Config) is None:
            model = Config.model_fields[name].annotation
            yield from _section(name, opening_line(model))
            yield from _table(model, f"{name}.")
        else:
            single.append(name)
    yield "\n## Keys of no group\n"
    yield _rows(Config, "", single)


def _study() -> Iterator[str]:
    yield "\n## sweep\n\nA study: `--multirun sweep=NAME` takes `sweeps/NAME.yaml`.\n"
    files = sorted((conf_dir() / "sweep").glob("*.yaml"))
    yield _text_table(["choice", "searches"], [[f"`{f.stem}`", _searches(f)] for f in files])
    yield ""
    yield from _table(SweepConfig, "sweep.")
    yield "\nEach of `sweep.objectives`:\n"
    yield from _table(Objective, "")


def _searches(file: Path) -> str:
    """Return what a study's comment says after the word Searches."""
    found = re.search(r"^# Searches +(.*(?:\n#  +.*)*)", file.read_text("utf-8"), re.MULTILINE)
    return re.sub(r"\s*\n# +", " ", found[1]) if found else ""


def _section(name: str, about: str) -> Iterator[str]:
    yield f"\n## {name}\n\n{about}\n"
    choices = [_choice(name, file) for file in sorted((conf_dir() / name).glob("*.yaml"))]
    if len(choices) > 1:
        yield _text_table(["choice", "what it is", "sets"], choices) + "\n"


def _choice(group: str, file: Path) -> list[str]:
    """Return a file's name, the comment that opens it, and its values."""
    text = file.read_text(encoding="utf-8")
    lines = text.removeprefix("# @package _global_\n").splitlines()
    comment = takewhile(lambda line: line.startswith("#"), lines)
    content = yaml.safe_load(text) or {}
    content.pop("defaults", None)
    values = " ".join(f"`{key}={shown(value)}`" for key, value in _flat(content, (group,)))
    return [f"`{file.stem}`", " ".join(line.strip("# ") for line in comment), values]


def _flat(content: Mapping[str, object], path: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    """Yield a file's keys and values; of a phase, which is written whole, those of note."""
    fields = PhaseConfig.model_fields if model_at(path) is PhaseConfig else {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*path, key))
        elif key not in fields or value != fields[key].get_default(call_default_factory=True):
            yield ".".join((*path, key)[1:]), value


def _table(model: object, prefix: str) -> Iterator[str]:
    """Yield the table of a group's keys, those of the groups inside it under their full names."""
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    inside = [name for name in model.model_fields if key_facts(name, model) is None]
    yield _rows(model, prefix, [name for name in model.model_fields if name not in inside])
    for name in inside:
        inner = model.model_fields[name].annotation
        yield f"\n### {prefix}{name}\n\n{opening_line(inner)}\n"
        yield from _table(inner, f"{prefix}{name}.")


def _rows(model: type[BaseModel], prefix: str, names: list[str]) -> str:
    rows = []
    for name in names:
        told = key_facts(name, model)
        assert told is not None
        key = f"{prefix}{name}"
        machine = " *" if is_machine_key(key) else ""
        default = "required" if told.default is None else f"`{told.default}`"
        rows.append([f"`{key}`{machine}", told.allowed, default, told.about])
    return _text_table(["key", "takes", "default", "what for"], rows)


def _text_table(header: list[str], rows: Iterable[list[str]]) -> str:
    return markdown_table(header, rows, numbers=False)


if __name__ == "__main__":
    print(reference_page())
