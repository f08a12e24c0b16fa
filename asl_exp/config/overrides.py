"""``key=value`` as Hydra reads it, texts as they are typed, and Hydra's own keys.

Hydra's grammar gives ``= ( [ { , # $ ~`` a meaning of its own and knows no letters but a-z in
unquoted values, so paths that people have are often no values to it: such a text is quoted here,
and where it could mean something else the exact quoting is told. Of its own keys the command
line may change where runs go and what starts their jobs; the others change how the program works
and have an option of asl_exp's in their place, or end in Hydra's own words.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from shlex import quote
from typing import Any, Final, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from asl_exp.config.conf_folder import conf_dir
from asl_exp.config.errors import nearest
from asl_exp.config.keys import GROUPS, nearest_key, takes_text_alone, usual_keys, value_kind
from asl_exp.config.redact import SECRET_KEPT, holds_secret
from asl_exp.config.rules import LARGEST_GRID

_KEY: Final = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@-]*")


class Parsed(NamedTuple):
    """What the words of a command line mean.

    Attributes:
        overrides: those that can be read, texts quoted where Hydra needs it; one at fault that can
            be read once it is quoted is among them, so that no other rule finds its key missing.
        faults: a sentence for each that cannot be read as it stands.
    """

    overrides: list[Override]
    faults: list[str]


def parse(words: Sequence[str]) -> Parsed:
    """Read the words of a command line, one by one."""
    parser, parsed = OverridesParser.create(), Parsed([], [])
    left = list(words)
    while left:
        word = left.pop(0)
        if rest := _rest_of_list(word, left):
            whole = re.sub(r"[\s,]+", ",", " ".join([word, *rest]))
            told = quote(re.sub(r"(?<=[\[({]),|,(?=[\])}])", "", whole))
            parsed.faults.append(f"{word.partition('=')[0]}: a blank ends a word; write {told}")
            del left[: len(rest)]
            continue
        if word.startswith("="):
            parsed.faults.append(f"'{word}': begins with '='; write KEY=VALUE without blanks")
            continue
        try:
            override = parser.parse_override(word)
        except HydraException:
            _unreadable(word, parser, parsed)
        else:
            number = isinstance(override.value(), int | float)
            if number and takes_text_alone(override.key_or_group):
                override = parser.parse_override(quoted_override(*word.split("=", 1)))
            parsed.overrides.append(override)
    return parsed


def as_hydra_reads(words: Sequence[str]) -> list[str]:
    """Return the words of a faultless command line with texts quoted where Hydra needs it."""
    return [str(override.input_line) for override in parse(words).overrides]


def _rest_of_list(word: str, after: Sequence[str]) -> Sequence[str]:
    """Return the words that end a list which a shell has cut at its blanks; none where none is."""
    rest = [word, *takewhile(lambda one: "=" not in one, after)]
    whole = (n for n in range(1, len(rest) + 1) if _is_whole(" ".join(rest[:n])))
    return rest[1 : next(whole, 1)] if "=" in word.strip("=") else ()


def _is_whole(text: str) -> bool:
    """Return whether every bracket is closed and no comma waits for a value."""
    closed = all(text.count(one) <= text.count(two) for one, two in ("[]", "()", "{}"))
    return closed and not text.endswith(",")


_LIKENESSES: Final = str.maketrans(
    "\u2010\u2011\u2012\u2013\u2014\u2212\u201c\u201d\u201e\u2018\u2019\u201a\u200b\ufeff",
    "------" + '"' * 3 + "'" * 3 + "  ",
)
"""What editors and chats make of hyphens, minus signs, quotes and blanks."""


def _typed(word: str) -> str:
    """Return a word with the characters of a keyboard for those that only look like them."""
    return unicodedata.normalize("NFKC", word).translate(_LIKENESSES).strip()


def _retyped(word: str, parser: OverridesParser) -> str | None:
    """Return a fault for a word that can be read once characters of the keyboard are in it."""
    plain, key = _typed(word), _typed(word).partition("=")[0]
    known = key.lstrip("+") in (*usual_keys(), *GROUPS)
    kept = value_kind(key) == "text" and key not in GROUPS and _typed(key) == key  # a path may
    if plain == word or not known or (kept and not re.search("=[\u201c\u201e\u2018]", word)):
        return None
    try:
        parser.parse_override(plain)
    except HydraException:
        return None
    told = "has a blank too many, or characters that only look like those meant"
    return f"{word}: {told}; write {quote(plain)}"


def _unreadable(word: str, parser: OverridesParser, parsed: Parsed) -> None:
    key, equals, value = word.partition("=")
    kind = value_kind(key.lstrip("+"))
    if told := _retyped(word, parser):
        parsed.faults.append(told)
        return
    if not equals or not _KEY.fullmatch(key):
        parsed.faults.append(_no_assignment(word, first=not parsed.overrides))
        return
    if value.startswith("=") and (kind == "other" or key in GROUPS):
        parsed.faults.append(f"{word}: has two '='; write {key}={value.lstrip('=')}")
        return
    if kind == "other" or (kind == "texts" and not _is_closed(value)):
        parsed.faults.append(f"{key}: '{value}' cannot be read; {_way_to_write(value)}")
        return
    bracketed = kind == "texts" and value.startswith("[") and value.endswith("]")
    quoted = _quoted_list(key, value) if bracketed else quoted_override(key, value)
    try:
        parsed.overrides.append(parser.parse_override(quoted))
    except HydraException:
        parsed.faults.append(_no_assignment(word, first=not parsed.overrides))
        return
    if bracketed or _is_one_text(value):
        return
    if kind != "unknown" and (key not in GROUPS or ".y" in value):  # no choice needs quotes
        told = f"{key}: its value must be quoted; write {quote(quoted)}"
        parsed.faults.append(told)


_MEANS_MORE: Final = re.compile(r"^[=\[{]|[,'\"`]|\$\{|\s[\w.]+=")
"""A list, several values, quotes, another key's value, or a second ``key=value`` in one word."""


def _is_one_text(value: str) -> bool:
    """Return whether a value that Hydra cannot read can only be meant as it is typed."""
    return _is_closed(value) and not _MEANS_MORE.search(value)


def _is_closed(value: str) -> bool:
    return all(value.count(opened) == value.count(closed) for opened, closed in ("()", "[]", "{}"))


def _way_to_write(value: str) -> str:
    if not _is_closed(value) or any(value.count(mark) % 2 for mark in "'\""):
        return "close every bracket and quote"
    return (
        "write one value, or [a,b] for a list; with --multirun a,b or range(START,STOP,STEP) for a "
        "grid, and for a study interval(LOW,HIGH)"
    )


_VERBS: Final = ("train", "fit", "run", "start")


def _no_assignment(word: str, *, first: bool) -> str:
    if not word.strip():
        return f"'{word}': an empty word among the arguments; leave it out (a variable unset?)"
    if "=" not in word and Path(word).is_dir():
        given = f"photos in a folder are given as data=folder {quote(f'data.root={word}')}"
        return f"{word}: is not of the form key=value; {given}, an unfinished run by resume={word}"
    if "=" not in word and (Path(word).suffix in (".yaml", ".yml") or "/" in word):
        hint = "; a preset is chosen by experiment=FILE.yaml"
        return f"{word}: is not of the form key=value{hint if Path(word).suffix else ''}"
    key = re.split("[=:]", word, maxsplit=1)[0]
    if word in GROUPS:
        return f"{word}: is not of the form key=value; write {word}=CHOICE without blanks"
    if word in usual_keys():
        return f"{word}: is not of the form key=value; write {word}=VALUE"
    if word[len(key) :].startswith(":") and key in (*usual_keys(), *GROUPS):
        return f"{word}: is not of the form key=value; write {quote(word.replace(':', '=', 1))}"
    if chosen := [
        f"{f.parent.name}={word}" for f in sorted(conf_dir().glob("*/*.yaml")) if f.stem == word
    ]:
        return f"{word}: is not of the form key=value; did you mean {' or '.join(chosen[:3])}?"
    hint = "" if word in _VERBS else nearest_key(key, usual_keys())
    if first:
        return f"{word}: is not of the form key=value; --help lists all there are{hint}"
    return f"{word}: is not of the form key=value; quote values with spaces{hint}"


def _quoted_list(key: str, value: str) -> str:
    items = [one.strip().strip("'\"") for one in value[1:-1].split(",") if one.strip()]
    return f"{key}=[{','.join(quoted_override('', item)[1:] for item in items)}]"


def quoted_override(key: str, value: str) -> str:
    """Return ``key="value"``: Hydra reads exactly this text, whatever is in it."""
    bare = value
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        bare = value[1:-1]  # quotes that hold an unescaped one
    mark = '"' if '"' not in bare else "'"
    text, backslashes = [], 0
    for character in bare:
        if character == mark:
            text.append("\\" * backslashes + "\\")  # each backslash before a quote counts twice
        text.append(character)
        backslashes = backslashes + 1 if character == "\\" else 0
    return f"{key}={mark}{''.join(text)}{chr(92) * backslashes}{mark}".replace("${", "\\${")


def text_hint(faults: Iterable[str], overrides: Iterable[Override]) -> list[str]:
    """Return faults that say "(quote it)" with the quoting that works for that very word."""
    given = {o.key_or_group: str(o.input_line) for o in overrides}
    return [_with_quoting(fault, given) for fault in faults]


def _with_quoting(fault: str, given: dict[str, str]) -> str:
    key = fault.partition(":")[0]
    if "text (quote it)" not in fault or key not in given or "${" in given[key]:
        return fault
    _, _, value = given[key].partition("=")
    if key.startswith("backbone.options.") and value[:1] in ("[", "{"):
        return fault  # as a text it would mean nothing
    if value[:1] in ("'", '"') or value == "null" or value_kind(key) != "text":
        return fault
    return f"{fault}; write {quote(quoted_override(key, value))}"


def comma_hint(override: Override) -> str:
    """Return how a value with commas is given where it is one text."""
    key, _, value = str(override.input_line).partition("=")
    return quote(quoted_override(key, value))


def grid_fault(overrides: Sequence[Override]) -> str | None:
    """Return why the values of a grid cannot be listed, or are too many; None where they can."""
    sizes = {str(o.input_line): _n_values(o.value()) for o in overrides if o.is_sweep_override()}
    for given, size in sizes.items():
        if not size:
            return (
                f"{given}: no value lies in this range, or endless many; write "
                "range(START,STOP,STEP), where STOP itself is not among the values"
            )
    if (size := math.prod(sizes.values())) > LARGEST_GRID:
        return (
            f"{' '.join(sizes)}: a grid of {size:,} jobs, of which one command starts at most "
            f"{LARGEST_GRID:,}; give fewer values, or search them in a study (sweep=NAME)"
        )
    return None


def _n_values(values: object) -> int:
    if isinstance(values, ChoiceSweep):
        return len(values.list)
    if not isinstance(values, RangeSweep):
        return 1  # a pattern of choices, which are few
    start, stop, step = (float(one or 0) for one in (values.start, values.stop, values.step))
    steps = (stop - start) / step if step else math.inf
    return max(0, math.ceil(steps)) if math.isfinite(steps) else 0


def grid_values(override: Override) -> list[Any]:
    """Return the values of a grid as each job reads its own: quotes are none of a text."""
    read, key = OverridesParser.create().parse_override, override.key_or_group
    return [read(f"{key}={text}").value() for text in override.sweep_string_iterator()]


def is_range(override: Override) -> bool:
    """Return whether a key is given an interval, which only a study can search."""
    return isinstance(override.value(), IntervalSweep)


def is_glob(override: Override) -> bool:
    """Return whether choices are given by a pattern."""
    return isinstance(override.value(), Glob)


def expanded(override: Override, loader: ConfigLoader) -> str | None:
    """Return ``group=a,b`` for ``group=glob(*)``; None where nothing of the group matches."""
    pattern: Any = override.value()
    options = [o for o in loader.get_group_options(override.key_or_group) if o != "base"]
    matching = pattern.filter(options)
    if not matching:
        return None
    return f"{override.input_line.partition('=')[0]}={','.join(matching)}"  # type: ignore[union-attr]


_FOLDERS: Final = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_ALLOWED: Final = (*_FOLDERS, "hydra/launcher", "hydra.launcher.KEY", "hydra.job.name")
_INSTEAD: Final = {
    "hydra.mode": "write --multirun for a grid, and nothing for one run",
    "hydra.searchpath": "write --config-dir FOLDER",
    "hydra.sweeper": "list values with commas for a grid, or choose a study by sweep=NAME",
    "hydra/sweeper": "list values with commas for a grid, or choose a study by sweep=NAME",
    "hydra.job.chdir": "commands stay in the folder where they are typed",
    "hydra.help": "--help lists every group and choice",
}
_EXTRAS: Final = {
    "joblib": "joblib", "ray": "ray", "ray_aws": "ray", "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}  # fmt: skip


def is_hydras(key: str) -> bool:
    """Return whether a key is one of Hydra's own."""
    return key.split("@")[0].partition(".")[0].partition("/")[0] == "hydra"


def hydra_fault(override: Override, launchers: Sequence[str]) -> str | None:
    """Return why an override of Hydra's is not taken, or None."""
    key, value = override.key_or_group, override.value()
    if override.is_delete():
        return f"~{key}: keys cannot be deleted"
    if override.is_sweep_override():
        return f"{key}: has one value for all jobs; got several ({override.input_line})"
    if key == "hydra/launcher":
        return None if value in launchers else _no_launcher(str(value), launchers)
    if key.startswith("hydra.launcher.") and "_target_" not in str(override.input_line):
        return None
    if key in _FOLDERS and not (isinstance(value, str) and value.strip()):
        return f"{key}: got '{'' if value is None else value}'; give a folder"
    if key in _FOLDERS[:2] and Path(str(value)).resolve() in (Path.cwd(), *Path.cwd().parents):
        return (
            f"{key}: '{value}' is the folder where the command is typed, or above it, and a run's "
            "files would lie among others; give a folder of its own"
        )
    if key in (*_FOLDERS, "hydra.job.name", "hydra.verbose"):
        return f"{key}: {SECRET_KEPT}" if holds_secret(str(value)) else None
    for name, why in _INSTEAD.items():
        if key == name or key.startswith((f"{name}.", f"{name}/")):
            return f"{key}: is not changed here; {why}"
    return f"{key}: is not changed here; of Hydra's own keys these are: {', '.join(_ALLOWED)}"


def _no_launcher(given: str, launchers: Sequence[str]) -> str:
    hint = nearest(given, launchers)
    if extra := _EXTRAS.get(given):
        hint = f"; it needs the extra '{extra}': pip install 'asl-exp[{extra}]'"
    return f"hydra/launcher={given}: no such launcher{hint}; there are {', '.join(launchers)}"
