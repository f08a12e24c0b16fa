"""All benchmarks, small, one after another; then one table of their figures.

python benchmarks [--table] [NAME ...]

With --table nothing is measured: the kept results are shown, as in docs/benchmarks.md.
"""

import subprocess
import sys
from pathlib import Path

from measure import HEADINGS, kept_figures, markdown

ALL = ("startup", "frozen", "finetune", "study", "tracking", "growth", "data", "devices")
"""views.py, which takes an hour, and gpu_campaign.py are run alone."""

OWN_TABLES = ("growth", "views")


def main(arguments: list[str]) -> int:
    failed = []
    for name in [a for a in arguments if a != "--table"] or ALL:
        if "--table" in arguments:
            break
        print(f"\n{name}", flush=True)
        script = Path(__file__).parent / f"{name}.py"
        if subprocess.run([sys.executable, script], check=False).returncode:
            failed.append(name)
    rows = [[name, *figure.cells()] for name, figure in kept_figures() if name not in OWN_TABLES]
    print("\n" + markdown(["benchmark", *HEADINGS], rows))
    for name in failed:
        print(f"{name} failed", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
