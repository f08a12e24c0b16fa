"""One experiment from its configuration to its result: the whole story, top to bottom."""

import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch

from asl_exp.config.errors import ConfigError, Interrupted, PrunedError
from asl_exp.config.names import Artifact, Tag
from asl_exp.config.schema import Config
from asl_exp.config.signature import signature
from asl_exp.data.dataset import LetterData
from asl_exp.model.checkpoint import checkpoint_metadata, take_weights
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.preprocessing import Preprocessing, resolve_preprocessing
from asl_exp.replica.background import begin_delivery, deliver_run
from asl_exp.runs.full_disk import full_disk_named
from asl_exp.runs.result import Result
from asl_exp.tracking.recorder import EpochLog, Recorder
from asl_exp.tracking.system_metrics import sampled
from asl_exp.training.batch_size import step_images, with_batch_size
from asl_exp.training.cpu import keep_freed_memory
from asl_exp.training.launcher import run_in_workers
from asl_exp.training.observer import Depth, Watcher
from asl_exp.training.phase import PhaseResult, run_phase
from asl_exp.training.ranks import gather, local_rank, rank, require_equal, state_digest, world_size
from asl_exp.training.record import begin_record, close_run, record_end, record_start
from asl_exp.training.resume import claim_folder
from asl_exp.training.scoring import finish
from asl_exp.training.shared_inputs import classifier, letters
from asl_exp.training.state import State, find_state, remove_state
from asl_exp.training.terminal import Stages, hushed, say, show_config, show_outcome


def run_experiment(
    config: Config,
    run_folder: Path,
    *,
    watcher: Watcher | None = None,
    depth: Depth = "everything",
) -> float:
    """Run one experiment, here or in one worker process a device, and say how it ended.

    Args:
        config: checked.
        run_folder: of this run alone; another one where ``config.resume`` finds it.
        watcher: a study that looks on.
        depth: what is made of the kept checkpoint; unless it is everything, nothing is printed.

    Returns:
        The kept checkpoint's value of the metric that its phase monitored.

    Raises:
        UserError: the weights or the data cannot be used.
        NonFiniteLossError: training broke down; the run is recorded as FAILED.
        PrunedError: the watcher ended the run; it is recorded as PRUNED.
        Interrupted: Ctrl-C or SIGTERM; the run is recorded as KILLED.
    """
    several = config.trainer.devices * config.trainer.num_nodes > 1
    train = partial(train_and_score, watcher=watcher, depth=depth)
    with hushed(depth != "everything"), claim_folder(config, run_folder) as folder:
        show_config(config)
        begin_delivery(config.tracking, Path(config.runs_dir), say)
        deliver_run(config.tracking, Path(config.runs_dir), folder)
        try:
            return run_in_workers(config, folder, train) if several else train(config, folder)
        except Interrupted as interruption:
            close_run(config, folder, "KILLED", str(interruption))
            raise
        except PrunedError as pruned:
            close_run(config, folder, "PRUNED", str(pruned))
            remove_state(folder)
            raise
        except Exception as error:
            close_run(config, folder, "FAILED", str(error) or type(error).__name__)
            raise


def train_and_score(
    config: Config, run_folder: Path, *, watcher: Watcher | None, depth: Depth
) -> float:
    """Do the work of one rank: data, network, phases, scores, record; rank 0 writes."""
    with hushed(depth != "everything"), full_disk_named(run_folder):
        return _train_and_score(config, run_folder, watcher, depth)


def _train_and_score(
    config: Config, run_folder: Path, watcher: Watcher | None, depth: Depth
) -> float:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    device = _device(config)
    if device.type == "cpu":
        keep_freed_memory()
    stages = Stages()
    preprocessing = resolve_preprocessing(config.backbone)
    with stages("data"):
        data = letters(config, preprocessing)
    _say_data(config, data)
    with stages("weights"):
        pl.seed_everything(config.seed, verbose=False)
        model = classifier(config, len(data.classes), preprocessing)
        if config.trainer.channels_last:
            model.to(memory_format=torch.channels_last)
        if config.trainer.compile:
            graphs = config.trainer.compile == "cuda_graphs"
            model.compile(mode="reduce-overhead" if graphs else None)
    say(f"weights: {model.weights}")
    start = {"data": data.digest, "initial weights": state_digest(model)}
    require_equal({"configuration": signature(config), **start})
    ranks = " ".join(gather(signature(config)))
    tags = {Tag.RANK_SIGNATURES: ranks, **(watcher.tags if watcher else {})}
    recorder, result = begin_record(config, run_folder, start, tags)
    n_train = len(data.splits["train"])
    config = with_batch_size(config, model, n_train, preprocessing, device, known=result.batch_size)
    result.batch_size = step_images(config)
    record_start(recorder, result, config, data, model, run_folder)
    with sampled(recorder):
        phases, rows = _train(
            config, data, model, preprocessing, device,
            run_folder, recorder, stages, result, watcher,
        )  # fmt: skip
    result.monitor, result.objective = phases[-1].monitor, phases[-1].kept_value
    result.metrics |= phases[-1].kept_metrics
    if rank() == 0:
        _write_epochs(rows, run_folder / Artifact.EPOCHS)
        finish(model, data, device, config, run_folder, result, stages=stages, depth=depth)
        record_end(recorder, config, result, phases, run_folder, stages)
        remove_state(run_folder)
        show_outcome(config, data, result, run_folder)
    return result.objective


def _device(config: Config) -> torch.device:
    """Return this rank's device; refuse devices that are not there."""
    there = torch.cuda.device_count()
    # Lightning sets it; NAdam would then open NVML's library at every step, in 0.2 ms
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    accelerator, wanted = config.trainer.accelerator, config.trainer.devices
    if accelerator == "cpu" or (accelerator == "auto" and there == 0):
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // wanted))
        return torch.device("cpu")
    if wanted > there:
        raise ConfigError([f"trainer.devices: got {wanted}, but this machine has {there} GPUs"])
    return torch.device("cuda", local_rank())


def _say_data(config: Config, data: LetterData) -> None:
    if config.data.source == "synthetic":
        say(
            "data: embedded synthetic hands; data=asl_alphabet, data=folder and data=manifest "
            "train on photos"
        )
    counts = ", ".join(f"{name} {len(split):,}" for name, split in data.splits.items())
    say(f"data: {len(data.classes)} classes; images: {counts}")
    if data.caution:
        reason = f" ({data.grouping.detail})" if data.grouping.detail else ""
        say(f"{data.caution}{reason}", warning=data.leaks or "leak" in data.caution)
    for name, caution in data.cautions.items():
        if caution != data.caution:
            say(f"{name}: {caution}", warning=True)
    if data.leaks:
        say(
            f"data.split={data.split_rule} leaks: near-copies of training images may be in val "
            "and test, so their scores say little about other people's hands",
            warning=True,
        )


def _train(
    config: Config,
    data: LetterData,
    model: LetterClassifier,
    preprocessing: Preprocessing,
    device: torch.device,
    run_folder: Path,
    recorder: Recorder,
    stages: Stages,
    result: Result,
    watcher: Watcher | None,
) -> tuple[list[PhaseResult], list[dict[str, Any]]]:
    """Run the phases in order, each from the checkpoint that the one before kept."""
    state = find_state(run_folder)
    phases = [PhaseResult(**done) for done in state.phases] if state else []
    rows = list(state.rows) if state else []
    if state:
        _say_resumed(state)
    if phases:
        take_weights(model, run_folder / phases[-1].checkpoint)
    log = EpochLog(recorder, [name for name, phase in config.schedule.items() if phase.epochs])

    def record_epoch(epoch: int, metrics: dict[str, float]) -> None:
        log.add(rows[-1])
        if watcher is not None:
            _end_if_pruned(watcher, epoch, metrics)

    def record_views(phase: str, n_views: int) -> None:
        result.stored_views[phase] = n_views
        if rank() == 0:
            result.write(run_folder)
        recorder.tags({Tag.STORED_VIEWS: json.dumps(result.stored_views)})

    with log:
        for row in rows:  # a killed run may have had no time to record its last ones
            log.add(row)
        for name, phase in config.schedule.items():
            if phase.epochs == 0 or any(done.name == name for done in phases):
                continue
            recorder.tags({Tag.PHASE: name})
            with stages(name):
                done = run_phase(
                    model, data, config, name,
                    run_folder=run_folder,
                    device=device,
                    stages=stages,
                    finished=phases,
                    rows=rows,
                    metadata=checkpoint_metadata(config, data.classes, preprocessing),
                    record_epoch=record_epoch,
                    record_views=record_views,
                    state=state if state and state.phase == name else None,
                )  # fmt: skip
            phases.append(done)
    result.checkpoints = {done.name: done.checkpoint for done in phases}
    result.kept_epochs = {done.name: done.kept_epoch for done in phases}
    return phases, rows


def _write_epochs(rows: list[dict[str, Any]], path: Path) -> None:
    """Replace the file in one step: a run that is killed here and taken up again reads it."""
    part = path.with_name(f".{path.name}.part")
    pd.DataFrame(rows).to_csv(part, index=False)
    part.replace(path)


def _end_if_pruned(watcher: Watcher, epoch: int, metrics: dict[str, float]) -> None:
    """Ask the watcher on rank 0; end on all ranks, or on none."""
    if gather(rank() == 0 and watcher.after_epoch(epoch, metrics))[0]:
        raise PrunedError(f"pruned after epoch {epoch}")


def _say_resumed(state: State) -> None:
    say(f"resumed in phase {state.phase}, epoch {len(state.rows)}, batch {state.batch}")
    if state.world_size != world_size():
        say(
            f"the run had {state.world_size} devices and now has {world_size()}: the global "
            "batch stays, but the last bits of its metrics may differ",
            warning=True,
        )
