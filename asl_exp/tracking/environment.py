"""What a run was made with: command, commit, machine and package versions."""

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def git_commit() -> str | None:
    """Return the commit of the working folder, with ``-dirty`` if it differs; None outside git."""
    commit = _git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git("status", "--porcelain") else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def write_environment(folder: Path) -> None:
    """Write ``packages.txt`` (name==version) and ``machine.json`` into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    packages = {f"{d.metadata['Name']}=={d.version}" for d in metadata.distributions()}
    (folder / "packages.txt").write_text("\n".join(sorted(packages, key=str.lower)) + "\n")
    about = {
        "command": ["python", "-m", "asl_exp", *sys.argv[1:]],
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }
    (folder / "machine.json").write_text(json.dumps(about, indent=2) + "\n")
