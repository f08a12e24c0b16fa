"""One experiment from its configuration to its result: the whole story, top to bottom."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch

from asl_exp.config import names, readable
from asl_exp.config.errors import Interrupted, PrunedError
from asl_exp.config.schema import Config
from asl_exp.config.signature import signature
from asl_exp.data.letters import LetterData
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.checkpoint import take_weights
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.own_weights import resolve_preprocessing
from asl_exp.replica.background import begin_delivery, deliver_run
from asl_exp.runs.writing import full_disk_named
from asl_exp.tracking.store_file import check_store
from asl_exp.tracking.system_metrics import sampled
from asl_exp.training.batch_size import step_images, with_batch_size
from asl_exp.training.current_run import Evaluate, Observer, PhaseResult, Run
from asl_exp.training.debug import with_less, write_stages
from asl_exp.training.device import device_of, set_up
from asl_exp.training.phase import train_phase
from asl_exp.training.ranks import local_rank, rank, require_equal, state_digest, world_size
from asl_exp.training.record import begin_record, close_run, record_end, record_start
from asl_exp.training.resume import claim_folder
from asl_exp.training.scoring import score
from asl_exp.training.shared_inputs import classifier, letters, require_backbone
from asl_exp.training.state import State, find_state, remove_state
from asl_exp.training.terminal import Stages, hushed, say, show_config, show_outcome


def run_experiment(
    config: Config,
    run_folder: Path,
    *,
    observer: Observer | None = None,
    evaluate: Evaluate = "everything",
) -> float:
    """Run one experiment, here or in one worker process a device, and say how it ended.

    Args:
        config: checked.
        run_folder: of this run alone; another one where ``config.resume`` finds it.
        observer: of a study; told of each epoch.
        evaluate: how much is made of the kept checkpoint; unless it is everything, nothing is
            printed.

    Returns:
        The kept checkpoint's value of the metric that its phase monitored.

    Raises:
        UserError: the weights or the data cannot be used.
        NonFiniteLossError: training broke down; the run is recorded as FAILED.
        PrunedError: the observer ended the run; it is recorded as PRUNED.
        Interrupted: Ctrl-C or SIGTERM; the run is recorded as KILLED.
    """
    several = config.trainer.devices * config.trainer.num_nodes > 1
    train = partial(train_and_score, observer=observer, evaluate=evaluate)
    if config.tracking.mode != "off":
        check_store(Path(config.runs_dir))
    with hushed(evaluate != "everything"), claim_folder(config, run_folder) as folder:
        show_config(config)
        begin_delivery(config.tracking, Path(config.runs_dir), say)
        deliver_run(config.tracking, Path(config.runs_dir), folder)
        try:
            if several:
                from asl_exp.training.launcher import run_in_workers

                return run_in_workers(config, folder, train)
            return train(config, folder)
        except Interrupted as interruption:
            close_run(config, folder, "KILLED", str(interruption))
            if find_state(folder) is not None:
                say("the same command with resume=true goes on where this run was interrupted")
            raise
        except PrunedError as pruned:
            close_run(config, folder, "PRUNED", str(pruned))
            remove_state(folder)
            raise
        except Exception as error:
            close_run(config, folder, "FAILED", str(error) or type(error).__name__)
            raise


def train_and_score(
    config: Config, folder: Path, *, observer: Observer | None, evaluate: Evaluate
) -> float:
    """Do the work of one rank; rank 0 writes and prints."""
    with hushed(evaluate != "everything"), full_disk_named(folder):
        run = open_run(config, folder, observer=observer, evaluate=evaluate)
        with sampled(run.recorder), run.epoch_log:
            resume(run)
            for phase in run.phases_left:
                train_phase(run, phase)
        objective = score(run)
        write_stages(run)
        close(run)
        return objective


def open_run(config: Config, folder: Path, *, observer: Observer | None, evaluate: Evaluate) -> Run:
    """Load the data and the network, and begin the record; all ranks take part.

    Raises:
        UserError: the weights or the data cannot be used, or are not those that the run began with.
        RanksDifferError: the ranks do not start from the same.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    device = device_of(config.trainer, local_rank())
    set_up(device, config.trainer)
    stages = Stages()
    preprocessing = resolve_preprocessing(config.backbone)
    with stages("weights"):
        require_backbone(config, preprocessing)
    with stages("data"):
        data = with_less(config, letters(config, preprocessing))
    _say_data(config, data)
    with stages("weights"):
        model = _network(config, data, preprocessing)
    say(f"weights: {model.weights}")
    start = {"data": data.digest, "initial weights": state_digest(model)}
    require_equal({"configuration": signature(config), **start})
    recorder, result = begin_record(config, folder, start, observer.tags if observer else {})
    n_train = len(data.splits["train"])
    config = with_batch_size(config, model, n_train, preprocessing, device, known=result.batch_size)
    result.batch_size = step_images(config)
    result.threads = torch.get_num_threads()
    run = Run(
        config=config,
        folder=folder,
        device=device,
        data=data,
        model=model,
        preprocessing=preprocessing,
        recorder=recorder,
        result=result,
        stages=stages,
        observer=observer,
        evaluate=evaluate,
        state=find_state(folder, model, lambda text: say(text, warning=True)),
    )
    record_start(run)
    return run


def _network(config: Config, data: LetterData, preprocessing: Preprocessing) -> LetterClassifier:
    """Return the network as the run starts with it."""
    pl.seed_everything(config.seed, verbose=False)
    model = classifier(config, data, preprocessing)
    if config.trainer.channels_last:
        model.to(memory_format=torch.channels_last)
    if config.trainer.compile:
        graphs = config.trainer.compile == "cuda_graphs"
        model.compile(mode="reduce-overhead" if graphs else None)
    return model


def resume(run: Run) -> None:
    """Go on from the state that a run left, if it left one."""
    if run.state is None:
        return
    _say_resumed(run.state, run.config.schedule[run.state.phase].epochs)
    if run.phases:
        take_weights(run.model, run.folder / run.phases[-1].checkpoint)
    for row in run.epochs:  # a killed run may have had no time to record its last ones
        run.epoch_log.add(row)


def close(run: Run) -> None:
    """Record the scores and files, close the record as FINISHED, and show the outcome."""
    if rank() == 0:
        record_end(run)
        remove_state(run.folder, but_newest=_can_be_longer(run))
        last = run.phases[-1]
        _say_worse(last, run.phases[:-1])
        show_outcome(
            run.config, run.data, run.result, run.folder,
            kept=f"{last.name}, epoch {last.kept_epoch - last.first_epoch + 1}",
            address=run.recorder.address(),
        )  # fmt: skip


def _say_worse(last: PhaseResult, earlier: Sequence[PhaseResult]) -> None:
    """Say where the phase whose checkpoint is scored and given away was not the best one."""
    sign = -1 if names.falls(last.monitor) else 1
    best = max([last, *earlier], key=lambda done: sign * done.kept_metrics[last.monitor])
    after, before = (readable.score(done.kept_metrics[last.monitor]) for done in (last, best))
    if after != before:
        say(
            f"{last.name} is worse than {best.name} by {last.monitor} ({after}, before {before}); "
            f"a lower lr.{last.name} may help, schedule.{last.name}.mix=true keeps the best mix of "
            f"both, and {best.name}'s own model is {best.checkpoint}",
            warning=True,
        )


def _can_be_longer(run: Run) -> bool:
    """Return whether its state is good for anything: more epochs, or the phases that had none."""
    last, schedule = run.phases[-1], run.config.schedule
    more_follow = last.name != list(schedule)[-1]
    all_done = last.n_epochs == schedule[last.name].epochs
    goes_on = run.config.lr.shape != "cosine" and all_done
    return run.evaluate == "everything" and (more_follow or goes_on)


def _say_data(config: Config, data: LetterData) -> None:
    if config.data.source == "synthetic":
        say(
            "data: embedded synthetic hands; data=asl_alphabet, data=folder and data=manifest "
            "train on photos"
        )
    counts = ", ".join(f"{name} {len(split):,}" for name, split in data.splits.items())
    say(f"data: {len(data.classes)} classes; images: {counts}")
    for note in data.notes:
        say(note)
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


def _say_resumed(state: State, epochs: int) -> None:
    in_phase = sum(row["phase"] == state.phase for row in state.rows)
    if state.is_done(epochs):
        say(f"resumed after phase {state.phase}")
    else:
        say(f"resumed in phase {state.phase}, epoch {in_phase + 1}, batch {state.batch + 1}")
    if state.world_size != world_size():
        say(
            f"the run had {state.world_size} devices and now has {world_size()}: the global "
            "batch stays, but the last bits of its metrics may differ",
            warning=True,
        )
