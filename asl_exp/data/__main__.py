"""``python -m asl_exp.data prepare|audit|cache``: decode ahead of time; look for leaks; clear up.

Exit status: 0 done; 1 audit found leaks; 2 the configuration or the data is wrong; 130 interrupted.
"""

import sys
from typing import Final

from asl_exp.config.errors import UserError

_USAGE: Final = """usage: python -m asl_exp.data prepare|audit|cache [overrides]

  prepare       decode every image of the experiment once and store its pixels
  audit         report copies and near-copies across splits, counts and contact sheets
  cache         list what is kept in data.cache_dir
  cache clear   remove it; all is made again when needed. cache clear pixels|features: only these

Overrides are those of python -m asl_exp, for example
  python -m asl_exp.data audit data=folder data.root=FOLDER data.split=random"""


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if arguments else 2
    command, *overrides = arguments
    if command not in ("prepare", "audit", "cache"):
        print(f"asl_exp.data: no command '{command}'\n{_USAGE}", file=sys.stderr)
        return 2
    try:
        return _cache(overrides) if command == "cache" else _run(command, overrides)
    except UserError as error:
        print(f"asl_exp.data: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("asl_exp.data: interrupted", file=sys.stderr)
        return 130


def _cache(arguments: list[str]) -> int:
    from pathlib import Path

    from rich.console import Console

    from asl_exp.config.compose import compose_config
    from asl_exp.data.cache_listing import asked_kinds, clear, entries, table, total

    words = [argument for argument in arguments if "=" not in argument]
    kinds = asked_kinds(words)
    data = compose_config([argument for argument in arguments if "=" in argument]).data
    folder, console = Path(data.cache_dir).expanduser(), Console(highlight=False)
    if kinds:
        n_files, n_bytes = clear(folder, kinds)
        print(f"removed {n_files:,} files, {n_bytes / 1e6:,.1f} MB, from {folder}")
    elif found := entries(folder):
        console.print(table(found))
        print(total(found, folder, data.cache_limit_gb))
    else:
        print(f"nothing is kept in {folder}")
    return 0


def _run(command: str, overrides: list[str]) -> int:
    from asl_exp.config.compose import compose_config
    from asl_exp.data.sources.selection import check_source

    config = compose_config(overrides)
    check_source(config.data)

    from rich.console import Console

    from asl_exp.data.dataset import load_letters
    from asl_exp.model.preprocessing import resolve_preprocessing

    preprocessing = resolve_preprocessing(config.backbone)
    size, interpolation = preprocessing.image_size, preprocessing.interpolation
    data = load_letters(
        config.data,
        image_size=size,
        interpolation=interpolation,
        seed=config.data.split_seed,
    )
    if command == "prepare":
        counts = ", ".join(f"{name} {len(split):,}" for name, split in data.splits.items())
        print(f"ready at {size} x {size} pixels in {config.data.cache_dir}: {counts}")
        return 0

    from asl_exp.data.audit.run import audit, audit_folder, show

    findings = audit(data, config)
    show(findings, audit_folder(config), Console())
    return int(findings.leaks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
