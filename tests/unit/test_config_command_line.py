"""The command line before anything is loaded: help, the composed configuration, faults."""

import resource
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import Cli

ROOT = Path(__file__).resolve().parents[2]

HEAVY = ("torch", "timm", "pandas", "mlflow", "pytorch_lightning", "torchvision")
SPARED = ("attr", "email", "pynvml")
"""asl_exp/compat/quick_start.py says of what; ``email`` comes with the records of packages."""


def loaded(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """Return the packages that ``python -X importtime`` reports."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert len(lines) > 100
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_faults_end_with_status_2_before_torch_is_imported(cli: Cli, tmp_path: Path) -> None:
    before = cpu_s()
    done = cli("regularization.dropuot=0.3", "lr.transfer=-1", options=("-X", "importtime"))
    assert cpu_s() - before < 6.0  # 0.3 s measured alone; others may share the cores
    assert done.returncode == 2
    assert not loaded(done).intersection((*HEAVY, *SPARED))
    told = "\n".join(s for s in done.stderr.splitlines() if not s.startswith("import time:"))
    assert told.splitlines() == [
        "asl_exp: 2 faults in the configuration:",
        "  regularization.dropuot: unknown key; did you mean 'regularization.dropout'?",
        "  lr.transfer: got -1; must be greater than 0 (while the backbone is frozen, or from "
        "scratch)",
    ]
    assert done.stdout == ""
    assert not list(tmp_path.iterdir()), "a faulty command leaves nothing behind"


def test_help_comes_at_once(cli: Cli) -> None:
    before = cpu_s()
    done = cli("--help", options=("-X", "importtime"))
    assert cpu_s() - before < 6.0  # 0.6 s measured alone; the promise is a second
    assert done.returncode == 0
    assert not loaded(done).intersection(HEAVY)
    assert "python -m asl_exp --multirun" in done.stdout
    assert "experiment=demo" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["backbone=vgg16", "lr.transfer=3e-4", "--resolve"],
        ["experiment=paper_vgg19", "backbone.options.drop_path_rate=0.1", "head.hidden=[8,8]"],
    ],
)
def test_the_configuration_is_shown_as_hydra_would(cli: Cli, arguments: list[str]) -> None:
    ours = cli(*arguments, "--cfg", "job")
    hydras = cli(*arguments, "--cfg", "job", "--package", "_global_")
    assert ours.returncode == hydras.returncode == 0, ours.stderr + hydras.stderr
    assert ours.stdout == hydras.stdout


def options_told(text: str) -> dict[str, set[str]]:
    """Return the choices of each group in the help's section Groups."""
    section = text.partition("\nGroups")[2].partition("\n\n")[0].splitlines()[1:]
    told: dict[str, str] = {}
    for line in section:
        words = line.split()
        if line.startswith("  ") and not line.startswith("   "):
            told[words[0]] = " ".join(words[1:])
        else:
            told[list(told)[-1]] += " " + " ".join(words)
    return {
        group: {c.strip() for c in text.partition(";")[0].rpartition(":")[2].split(",")}
        for group, text in told.items()
    }


def options_there() -> dict[str, set[str]]:
    folders = [p for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name != "hydra"]
    there = {p.name: {file.stem for file in p.glob("*.yaml")} for p in folders}
    grids = ROOT / "sweeps"
    there["sweep"] = {p.stem for p in grids.rglob("*.yaml")}
    return there


def test_help_is_in_step_with_the_files() -> None:
    template = yaml.safe_load((ROOT / "conf/hydra/help/asl_exp.yaml").read_text())["template"]
    assert options_told("\n" + template) == options_there()


def test_a_users_own_files_are_found_and_checked(cli: Cli, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "experiment").mkdir(parents=True)
    (own / "backbone").mkdir()
    (own / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [{override /backbone: mine}]\n"
        "lr: {transfer: fast, finetune: 2e-4}\nregularization: {dropuot: 0.3}\n"
    )
    (own / "backbone" / "mine.yaml").write_text("defaults: [base]\nname: resnet18\n")
    (own / "experiment" / "broken.yaml").write_text("# @package _global_\nlr: [1,\n  transfer: 1\n")
    done = cli("--config-dir", "own", "experiment=mine")
    assert done.returncode == 2
    assert "lr.transfer: got 'fast'; must be a number" in done.stderr
    assert "regularization.dropuot: unknown key; did you mean 'dropout'?" in done.stderr
    assert "2 faults" in done.stderr
    done = cli("--config-dir", "own", "experiment=broken")
    assert done.returncode == 2
    assert "broken.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    done = cli("--config-dir", "own", "backbone=mine", "--cfg", "job")
    assert yaml.safe_load(done.stdout)["backbone"]["name"] == "resnet18"
