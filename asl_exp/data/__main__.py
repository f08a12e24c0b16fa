"""``python -m asl_exp.data prepare|audit|joints|cache``: what can be done with images alone.

Exit status: 0 done; 1 audit found leaks; 2 the configuration or the data is wrong; 130 interrupted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asl_exp import cli
from asl_exp.config import readable
from asl_exp.config.conf_folder import home_expanded
from asl_exp.config.errors import UserError, nearest

_COMMANDS: Final = ("prepare", "audit", "joints", "cache")
_USAGE: Final = """usage: python -m asl_exp.data prepare|audit|joints|cache [overrides]

  prepare       decode every image of the experiment once and store its pixels
  audit         report copies and near-copies across splits, counts and contact sheets
                --predictions FILE: and labels that are likely wrong, by the answers of folds
                (evaluation/folds/predictions.parquet of a run with data.folds)
  joints FILE   find the hand in every image and write its joints, without the images, to a
                .csv, .csv.gz or .parquet file that data.joints reads
                --video CLIP --label A [--signer NAME]: in the frames of a recording instead; may be
                given for several, one after the other; --every S: seconds between frames (0.2)
                --drawn N: in pictures of N drawn signers instead, who are nobody
  cache         list what is kept in data.cache_dir
  cache clear   remove it; all is made again when needed. Only some of it:
                cache clear pixels|features|hands

Overrides are those of python -m asl_exp, for example
  python -m asl_exp.data audit data=folder data.root=FOLDER data.split=random"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    return cli.answered("asl_exp.data", lambda: _command(arguments))


def _command(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(_USAGE)
        return 0
    command, *overrides = arguments or [""]
    if command not in _COMMANDS:
        fault = f"no command '{command}'{nearest(command, _COMMANDS)}"
        raise UserError(f"{fault if command else 'what is to be done?'}\n{_USAGE}")
    if command == "joints":
        return _joints(overrides)
    if command == "cache":
        return _cache(overrides)
    if "--predictions" in overrides and command != "audit":
        raise UserError("--predictions belongs to audit")
    overrides, predictions = _taken(overrides, "--predictions")
    if predictions == "":
        raise UserError("--predictions: give the predictions.parquet of folds")
    return _run(command, overrides, predictions)


def _taken(words: list[str], option: str) -> tuple[list[str], str | None]:
    """Return the words without an option, and its value: "" where it has none, None without it."""
    if option not in words:
        return words, None
    at = words.index(option)
    return words[:at] + words[at + 2 :], "".join(words[at + 1 : at + 2])


def _joints(arguments: list[str]) -> int:
    from asl_exp.config.compose import compose_config

    arguments, drawn = _taken(arguments, "--drawn")
    n_drawn = 0 if drawn is None else _n_drawn(drawn)
    if n_drawn and "--video" in arguments:
        raise UserError("joints: give --drawn or --video, not both")
    arguments, recorded, every_s = _recorded(arguments)
    files = [argument for argument in arguments if "=" not in argument]
    if len(files) != 1:
        raise UserError(f"joints: give one file to write, not {len(files)}\n{_USAGE}")
    overrides = [argument for argument in arguments if "=" in argument]
    config = compose_config(["hand=joints", *overrides])

    from asl_exp.data.hands.hand_store import hand_source
    from asl_exp.data.hands.joint_export import Clip, export_clips, export_drawn, export_joints
    from asl_exp.data.hands.joint_rows import require_place

    file = home_expanded(files[0])
    require_place(file)
    source = hand_source(config.hand, config.data.cache_dir)
    if n_drawn:
        told = export_drawn(n_drawn, source, file)
    elif recorded:
        clips = [Clip(one.label, one.signer, _frames(one.video, every_s)) for one in recorded]
        told = export_clips(clips, config.data, source, file)
    else:
        told = export_joints(config.data, source, file)
    print(f"{files[0]}: {told}")
    return 0


def _n_drawn(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(f"joints: --drawn: got '{text}'; must be a number of signers, 1 or more")
    return int(text)


@dataclass
class _Recorded:
    """A recording as it was given."""

    video: Path
    label: str = ""
    signer: str = ""


_EVERY_S: Final = 0.2  # the default of --every


def _recorded(words: list[str]) -> tuple[list[str], list[_Recorded], float]:
    """Return the words without what is said of recordings, the recordings, seconds of a frame."""
    left, found, every_s, rest = [], list[_Recorded](), _EVERY_S, iter(words)
    for word in rest:
        if not word.startswith("--"):
            left.append(word)
            continue
        if word not in (options := ("--video", "--label", "--signer", "--every", "--drawn")):
            raise UserError(f"joints: no option '{word}'{nearest(word, options)}\n{_USAGE}")
        if (value := next(rest, None)) is None:
            raise UserError(f"joints: {word} has no value\n{_USAGE}")
        if word == "--every":
            every_s = _seconds(value)
        elif word == "--video":
            found.append(_Recorded(home_expanded(value), signer=Path(value).stem))
        elif not found:
            raise UserError(f"joints: {word} {value} belongs to a recording; give --video first")
        else:
            setattr(found[-1], word[2:], value)
    for one in found:
        if not one.label:
            raise UserError(f"joints: --video {one.video} has no --label; give the letter it shows")
        if not one.video.is_file():
            raise UserError(f"joints: --video: there is no file '{one.video}'")
    return left, found, every_s


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"joints: --every: got '{text}'; must be a number of seconds above 0")
    return seconds


def _frames(video: Path, every_s: float) -> Iterator[bytes]:
    from asl_exp.data.decode import UnreadableImageError
    from asl_exp.serving.inputs import frames

    try:
        for shown in frames(video, every_s):
            assert isinstance(shown.image, bytes)
            yield shown.image
    except UnreadableImageError as error:
        raise UserError(f"joints: --video: {error}") from error


def _cache(arguments: list[str]) -> int:
    from asl_exp.config.compose import compose_config
    from asl_exp.config.console import Console
    from asl_exp.data.cache_listing import asked_kinds, clear, entries, table, total

    words = [argument for argument in arguments if "=" not in argument]
    kinds = asked_kinds(words)
    data = compose_config([argument for argument in arguments if "=" in argument]).data
    folder, console = home_expanded(data.cache_dir), Console()
    if kinds:
        n_files, n_bytes = clear(folder, kinds)
        print(f"removed {n_files:,} files, {readable.size(n_bytes)}, from {folder}")
    elif found := entries(folder):
        console.print(table(found))
        print(total(found, folder, data.cache_limit_gb))
    else:
        print(f"nothing is kept in {folder}")
    return 0


def _run(command: str, overrides: list[str], predictions: str | None) -> int:
    from asl_exp.config.compose import compose_config
    from asl_exp.data.sources.selection import check_source

    config = compose_config(overrides)
    check_source(config.data)
    answers = None
    if predictions:
        from asl_exp.data.audit.run import read_predictions

        answers = read_predictions(home_expanded(predictions))

    from asl_exp.config.console import Console
    from asl_exp.data.dataset import load_letters
    from asl_exp.model.own_weights import resolve_preprocessing

    preprocessing = resolve_preprocessing(config.backbone)
    size, interpolation = preprocessing.image_size, preprocessing.interpolation
    seed = config.data.split_seed
    data = load_letters(
        config.data, image_size=size, interpolation=interpolation, seed=seed, hand=config.hand
    )
    for note in data.notes:
        print(note)
    if command == "prepare":
        counts = ", ".join(f"{name} {len(split):,}" for name, split in data.splits.items())
        print(f"ready at {size} x {size} pixels in {config.data.cache_dir}: {counts}")
        return 0

    from asl_exp.data.audit.run import audit, audit_folder, show

    findings = audit(data, config, answers)
    show(findings, audit_folder(config), Console())
    return int(findings.leaks)


if __name__ == "__main__":
    cli.start(main)
