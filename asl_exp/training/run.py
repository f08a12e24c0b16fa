"""One experiment from its configuration to its result: the whole story, top to bottom."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from asl_exp.config import names
from asl_exp.config.errors import ConfigError, Interrupted
from asl_exp.config.names import Artifact, Tag
from asl_exp.config.schema import Config
from asl_exp.config.signature import flatten, signature
from asl_exp.data.letters import LetterData, load_letters
from asl_exp.evaluation.curves import learning_curves
from asl_exp.evaluation.folder import write_evaluation
from asl_exp.evaluation.inference import probabilities
from asl_exp.model.checkpoint import checkpoint_metadata
from asl_exp.model.classifier import LetterClassifier, build_classifier
from asl_exp.model.preprocessing import Preprocessing, resolve_preprocessing
from asl_exp.tracking.environment import git_commit, write_environment
from asl_exp.tracking.model_folder import save_model_folder
from asl_exp.tracking.recorder import Recorder, recorded
from asl_exp.training.display import say, show_config, show_outcome
from asl_exp.training.memory import keep_freed_memory
from asl_exp.training.phases import PhaseResult, run_phase
from asl_exp.training.result import Result
from asl_exp.training.stages import Stages


def run_experiment(config: Config, run_folder: Path) -> float:
    """Train, keep, score and record one experiment.

    Args:
        config: checked.
        run_folder: of this run alone; filled as design and README say.

    Returns:
        The kept checkpoint's value of the metric that its phase monitored.

    Raises:
        UserError: the weights or the data cannot be used.
        NonFiniteLossError: training broke down; the run is recorded as FAILED.
        Interrupted: Ctrl-C or SIGTERM; the run is recorded as KILLED.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    show_config(config)
    device = _device(config)
    if device.type == "cpu":
        keep_freed_memory()
    stages = Stages()
    preprocessing = resolve_preprocessing(config.backbone)
    with stages("data"):
        data = load_letters(
            config.data,
            image_size=preprocessing.image_size,
            interpolation=preprocessing.interpolation,
            seed=config.seed,
        )
    _say_data(config, data)
    with stages("weights"):
        pl.seed_everything(config.seed, verbose=False)
        model = build_classifier(config, len(data.classes), preprocessing)
    say(f"weights: {model.weights}")
    result = Result(name=_run_name(config), signature=signature(config))
    run_folder.mkdir(parents=True, exist_ok=True)
    try:
        with recorded(_begin(config, run_folder, result)) as recorder:
            _record_start(recorder, config, data, model, run_folder)
            phases, history = _train(
                config, data, model, preprocessing, run_folder, recorder, stages, result
            )
            with stages("evaluation"):
                _evaluate(model, data, device, config, run_folder, result)
                learning_curves(
                    history,
                    run_folder / Artifact.LEARNING_CURVES,
                    kept={p.name: p.kept_epoch for p in phases},
                )
            with stages("model"):
                save_model_folder(phases[-1].checkpoint, run_folder / Artifact.MODEL)
            _record_end(recorder, result, phases, run_folder, stages)
    except Interrupted as interruption:
        _close(result, run_folder, "KILLED", str(interruption))
        raise
    except BaseException as error:
        _close(result, run_folder, "FAILED", str(error))
        raise
    show_outcome(config, data, result, phases[-1].kept_metrics, run_folder, leaks=data.leaks)
    assert result.objective is not None
    return result.objective


def _device(config: Config) -> torch.device:
    """Return the device of evaluation; refuse devices that are not there."""
    there = torch.cuda.device_count()
    accelerator, wanted = config.trainer.accelerator, config.trainer.devices
    on_gpu = accelerator == "gpu" or (accelerator == "auto" and there > 0)
    if on_gpu and wanted > there:
        raise ConfigError([f"trainer.devices: got {wanted}, but this machine has {there} GPUs"])
    if not on_gpu and wanted > 1:
        raise ConfigError(
            [f"trainer.devices: got {wanted}, but there is one CPU and no GPU here; use 1"]
        )
    return torch.device("cuda" if on_gpu else "cpu")


def _say_data(config: Config, data: LetterData) -> None:
    if config.data.source == "synthetic":
        say(
            "data: embedded synthetic hands; data=asl_alphabet, data=folder and data=manifest "
            "train on photos"
        )
    counts = ", ".join(f"{name} {len(split):,}" for name, split in data.splits.items())
    say(f"data: {len(data.classes)} classes; images: {counts}")
    if data.leaks:
        say(
            f"[yellow]data.split={data.split_rule} leaks:[/] near-copies of training images may "
            "be in val and test, so their scores say little about other people's hands"
        )


def _run_name(config: Config) -> str:
    return config.name or f"{config.backbone.name} {config.data.source} seed{config.seed}"


def _begin(config: Config, run_folder: Path, result: Result) -> Recorder:
    if config.tracking.mode == "off":
        return Recorder(None, None)
    recorder = Recorder.begin(
        Path(config.runs_dir), config.tracking.experiment, result.name, run_folder
    )
    result.mlflow_run_id = recorder.run_id
    return recorder


def _record_start(
    recorder: Recorder, config: Config, data: LetterData, model: LetterClassifier, folder: Path
) -> None:
    """Write and record what the run starts from."""
    configs = folder / Artifact.CONFIG
    configs.mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create(config.model_dump()), configs / "resolved.yaml")
    write_environment(folder / Artifact.ENVIRONMENT)
    recorder.params(flatten(config.model_dump()))
    recorder.tags(
        {
            Tag.SIGNATURE: signature(config),
            Tag.GIT_COMMIT: git_commit() or "none",
            Tag.DATA_DIGEST: data.digest,
            Tag.SPLIT: data.split_rule,
            Tag.SPLIT_LEAKS: data.leaks,
            Tag.PRETRAINED: model.weights.pretrained,
            Tag.WEIGHTS_SOURCE: model.weights.source,
            Tag.WEIGHTS_DIGEST: model.weights.digest or "none",
            Tag.WEIGHTS_LOADED: model.weights,
        }
    )
    recorder.artifacts(folder, Artifact.CONFIG, Artifact.ENVIRONMENT)


def _train(
    config: Config,
    data: LetterData,
    model: LetterClassifier,
    preprocessing: Preprocessing,
    folder: Path,
    recorder: Recorder,
    stages: Stages,
    result: Result,
) -> tuple[list[PhaseResult], pd.DataFrame]:
    """Run the phases in order, each from the checkpoint that the one before kept."""
    rows: list[dict[str, Any]] = []

    def record_epoch(epoch: int, phase: str, metrics: dict[str, float]) -> None:
        rows.append({"epoch": epoch, "phase": phase, **metrics})
        recorder.metrics(metrics, step=epoch)

    phases: list[PhaseResult] = []
    for name, phase in config.schedule.items():
        if phase.epochs == 0:
            continue
        recorder.tags({Tag.PHASE: name})
        first_epoch = sum(done.n_epochs for done in phases)
        with stages(name):
            done = run_phase(
                model,
                data,
                config,
                name,
                first_epoch=first_epoch,
                folder=folder / Artifact.CHECKPOINTS,
                metadata=checkpoint_metadata(config, data.classes, preprocessing),
                record_epoch=record_epoch,
            )
        phases.append(done)
        result.checkpoints[name] = str(done.checkpoint.relative_to(folder))
        result.kept_epochs[name] = done.kept_epoch
    result.monitor, result.objective = phases[-1].monitor, phases[-1].kept_value
    return phases, pd.DataFrame(rows)


def _evaluate(
    model: LetterClassifier,
    data: LetterData,
    device: torch.device,
    config: Config,
    folder: Path,
    result: Result,
) -> None:
    """Score the kept checkpoint on test and every external set; each set gets its folder."""
    for name, split in data.splits.items():
        if name in ("train", "val"):
            continue
        scores = write_evaluation(
            folder / Artifact.EVALUATION / name,
            name=name,
            probabilities=probabilities(
                model, split, batch_size=config.data.batch_size, device=device
            ),
            labels=split.labels,
            classes=data.classes,
            table=split.table,
            gather=split.gather,
        )
        result.metrics |= {names.score_key(name, key): value for key, value in scores.items()}


def _record_end(
    recorder: Recorder, result: Result, phases: list[PhaseResult], folder: Path, stages: Stages
) -> None:
    """Record the scores and keep every file of the run with it."""
    kept = phases[-1]
    result.status = "FINISHED"
    result.seconds = {name: round(seconds, 3) for name, seconds in stages.seconds.items()}
    result.write(folder)
    recorder.metrics(result.metrics, step=kept.kept_epoch)
    boundaries = {p.name: [p.first_epoch, p.first_epoch + p.n_epochs - 1] for p in phases}
    recorder.tags({Tag.PHASE_BOUNDARIES: boundaries, Tag.KEPT_EPOCHS: result.kept_epochs})
    recorder.artifacts(
        folder,
        Artifact.CHECKPOINTS,
        Artifact.MODEL,
        Artifact.EVALUATION,
        Artifact.LEARNING_CURVES,
        Artifact.RESULT,
    )


def _close(result: Result, folder: Path, status: str, failure: str) -> None:
    result.status, result.failure = status, failure
    result.write(folder)
