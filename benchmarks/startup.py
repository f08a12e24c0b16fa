"""What comes before anything trains: --help, --cfg job, a config error; and a run's imports.

python benchmarks/startup.py [--rounds 5]

CPU seconds of whole processes, in turn with ``python -c "import hydra"``.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile

from measure import ROOT, Clock, Figure, in_turn, keep, ratios

HYDRA = ("-c", "import hydra")
ANSWERS = {
    "--help": ("-m", "asl_exp", "--help"),
    "--cfg job": ("-m", "asl_exp", "--cfg", "job"),
    "a config error": ("-m", "asl_exp", "lr.transfr=1e-3"),
}
BARE = """
import hydra
hydra.main(version_base="1.3", config_path=None)(lambda config: None)()
"""
STAGES = {
    "import torch": ("-c", "import torch"),
    "import torch, Lightning, timm, mlflow": (
        "-c", "import torch, pytorch_lightning, timm, mlflow",
    ),
    "what a run imports": (
        "-c",
        "from asl_exp import cli\nfrom asl_exp.config.process_setup import collector_paused\n"
        "cli.load_packages('timm', 'pytorch_lightning', 'mlflow')\n"
        "with collector_paused():\n    import asl_exp.training.folds",
    ),
}  # fmt: skip


def called(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False, timeout=120
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.NamedTemporaryFile("w", suffix=".py") as bare:
        bare.write(BARE)
        bare.flush()
        commands = {"hydra": HYDRA, **ANSWERS, "bare": (bare.name, "--cfg", "job")}
        works = {name: lambda words=words: called(*words) for name, words in commands.items()}
        in_turn(works, 1, Clock())
        seconds = in_turn(works, rounds, Clock())
        wall = in_turn(works, rounds, Clock(wall=True))
    figures = [
        Figure(name, "import hydra", ratios(seconds[name], seconds["hydra"]), "times its time",
               2.0, "least", f"{statistics.median(wall[name]):.2f} s on the wall")
        for name in ANSWERS
    ]  # fmt: skip
    figures.append(
        Figure("a bare Hydra program, --cfg job", "import hydra",
               ratios(seconds["bare"], seconds["hydra"]), "times its time", None, "least")
    )  # fmt: skip
    imports = in_turn(
        {name: lambda words=words: called(*words) for name, words in STAGES.items()},
        max(2, rounds // 2), Clock(),
    )  # fmt: skip
    names = list(STAGES)
    figures.append(
        Figure(names[2], names[1], ratios(imports[names[2]], imports[names[1]]), "times its time",
               None, "least", f"{statistics.median(imports[names[2]]):.1f} CPU s")
    )  # fmt: skip
    keep("startup", figures, {"cpu_s": {**seconds, **imports}, "wall_s": wall})


if __name__ == "__main__":
    main()
