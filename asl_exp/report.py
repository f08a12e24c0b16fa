"""``python -m asl_exp.report RUN...``: compare finished runs, as a page and as Markdown.

RUN is a run folder, a folder of runs (a grid, a study), an MLflow run id or the name of a study;
--experiment NAME means all finished runs of an MLflow experiment. Writes report.html, report.md and
report.json into --out and prints the Markdown.

One run's evaluation/ gets more by

  --leak RUN        what near-duplicates of test images in training were worth, in points
  --people RUN      what more training people would be worth, extrapolated
  --embedding RUN   all its images in two dimensions, as an interactive page

``--verify FILE`` recomputes every score and interval of an evaluation/certificate.json from the
predictions beside it and says what does not hold.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from asl_exp import cli
from asl_exp.config.errors import UserError

_OF_ONE_RUN = ("leak", "people", "embedding")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write and print the report; return the exit status."""
    parser = cli.parser("asl_exp.report", __doc__)
    parser.add_argument("run", nargs="*", help="run folders, folders of runs, or MLflow run ids")
    parser.add_argument("--out", type=Path, default=Path("runs/report"), help="folder to write to")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where ids are known")
    parser.add_argument("--experiment", metavar="NAME", help="an MLflow experiment of --runs-dir")
    parser.add_argument("--verify", type=Path, metavar="FILE", help="a certificate.json to check")
    for name in _OF_ONE_RUN:
        parser.add_argument(f"--{name}", metavar="RUN", help="see above")
    given = parser.parse_intermixed_args(arguments)
    return cli.answered("asl_exp.report", lambda: _report(given))


def _report(given: argparse.Namespace) -> int:
    if given.verify is not None:
        from asl_exp.evaluation.certificate import verify

        faults = verify(given.verify)
        print("\n".join(faults) if faults else f"{given.verify}: every score and interval holds")
        return 1 if faults else 0
    asked = {name: run for name in _OF_ONE_RUN if (run := getattr(given, name)) is not None}
    for name, run in asked.items():
        _of_one_run(name, run, given.runs_dir)
    if asked and not given.run and given.experiment is None:
        return 0
    if not given.run and given.experiment is None:
        raise UserError(
            "give the runs to compare: run folders, folders of runs, MLflow run ids, a study's "
            "name, or --experiment NAME"
        )
    cli.load_packages("timm")
    from asl_exp.evaluation import comparison, comparison_page, differences

    folders = comparison.find_folders(given.run, given.runs_dir, given.experiment)
    runs = comparison.read_runs(folders)
    found = differences.pairs(comparison.configurations(runs))
    given.out.mkdir(parents=True, exist_ok=True)
    told = comparison_page.markdown(runs, found)
    (given.out / "report.md").write_text(told, encoding="utf-8")
    (given.out / "report.html").write_text(comparison_page.html_page(runs, found), encoding="utf-8")
    content = json.dumps(differences.as_json(runs, found), indent=2, ensure_ascii=False)
    (given.out / "report.json").write_text(content + "\n", encoding="utf-8")
    print(told)
    print(f"page: {given.out / 'report.html'}")
    return 0


def _of_one_run(name: str, run: str, runs_dir: Path) -> None:
    from asl_exp.serving import kept_features

    folder = kept_features.run_folder(run, runs_dir)
    if name == "leak":
        print(kept_features.leak(folder).sentence())
        return
    if name == "people":
        print("\n".join(curve.sentence() for curve in kept_features.people(folder)))
        return
    from asl_exp.evaluation import embedding

    known = kept_features.kept_features(folder, frozen=False)
    page = folder / "evaluation" / "embedding.html"
    page.parent.mkdir(exist_ok=True)
    told = embedding.html_page(embedding.places(known.of), f"Images of {folder.name}")
    page.write_text(told, encoding="utf-8")
    print(f"page: {page}")


if __name__ == "__main__":
    cli.start(main)
