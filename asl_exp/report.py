"""``python -m asl_exp.report RUN...``: compare finished runs, as a page and as Markdown.

RUN is a run folder, a folder of runs (a grid, a study) or an MLflow run id. Writes report.html,
report.md and report.json into --out and prints the Markdown.

``--verify FILE`` recomputes every score of an evaluation/certificate.json from the predictions
beside it and says what does not hold.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from asl_exp import cli
from asl_exp.config.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write and print the report; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m asl_exp.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="*", help="run folders, folders of runs, or MLflow run ids")
    parser.add_argument("--out", type=Path, default=Path("runs/report"), help="folder to write to")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where ids are known")
    parser.add_argument("--verify", type=Path, metavar="FILE", help="a certificate.json to check")
    given = parser.parse_args(arguments)
    return cli.answered("asl_exp.report", lambda: _report(given))


def _report(given: argparse.Namespace) -> int:
    if given.verify is not None:
        from asl_exp.evaluation.certificate import verify

        faults = verify(given.verify)
        print("\n".join(faults) if faults else f"{given.verify}: every score holds")
        return 1 if faults else 0
    if not given.run:
        raise UserError("give the runs to compare: run folders, folders of runs, or MLflow run ids")
    from asl_exp.evaluation import comparison, comparison_page

    runs = comparison.read_runs(comparison.find_folders(given.run, given.runs_dir))
    found = comparison.pairs(runs)
    given.out.mkdir(parents=True, exist_ok=True)
    told = comparison_page.markdown(runs, found)
    (given.out / "report.md").write_text(told, encoding="utf-8")
    (given.out / "report.html").write_text(comparison_page.html_page(runs, found), encoding="utf-8")
    content = json.dumps(comparison.as_json(runs, found), indent=2, ensure_ascii=False)
    (given.out / "report.json").write_text(content + "\n", encoding="utf-8")
    print(told)
    print(f"page: {given.out / 'report.html'}")
    return 0


if __name__ == "__main__":
    cli.start(main)
