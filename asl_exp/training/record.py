"""The record of a run: what its folder and its MLflow run say at its start and at its end."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from asl_exp.compat.mlflow import MLFLOW_RUN_NOTE
from asl_exp.config.errors import UserError
from asl_exp.config.names import Artifact, Tag
from asl_exp.config.process_setup import signals_deferred
from asl_exp.config.redact import scrubbed
from asl_exp.config.schema import Config
from asl_exp.config.signature import (
    as_command,
    changed_settings,
    compared_settings,
    flatten,
    run_name,
    signature,
    spelled,
)
from asl_exp.replica.delivery import ALIAS, register_here
from asl_exp.replica.login import replica_tag
from asl_exp.runs.result import OUTCOME, Result, kept_scores, spelled_cautions
from asl_exp.runs.run_folder import checkpoints_on_disk, read_config, write_config
from asl_exp.runs.writing import full_disk
from asl_exp.tracking.description import Story, description
from asl_exp.tracking.environment import (
    command,
    dataset_inputs,
    git_commit,
    source_tags,
    write_environment,
)
from asl_exp.tracking.images import log_pictures
from asl_exp.tracking.recorder import Begin, Recorder
from asl_exp.training.current_run import Run
from asl_exp.training.ranks import gather, rank, require_equal
from asl_exp.training.terminal import say


@signals_deferred()
def begin_record(
    config: Config, run_folder: Path, start: dict[str, str], tags: Mapping[str, str]
) -> tuple[Recorder, Result]:
    """Begin the run's record, or go on with it; only rank 0 writes.

    An interrupt waits until the folder names the MLflow run; else nothing could close it.

    Raises:
        UserError: the run that is resumed began from something else.
    """
    result = Result.read(run_folder) or Result(
        name=config.name or run_name(config), signature=signature(config)
    )
    for what, digest in result.start.items():
        if start[what] != digest:
            raise UserError(
                f"resume: the {what} are not those that {run_folder} began with; put them back, or "
                "begin a new run without resume"
            )
    result.start = start
    result.status, result.failure = "RUNNING", None
    if rank() > 0:
        return Recorder(None, None), result
    recorder = Recorder(None, None)
    if config.tracking.mode != "off":
        begin = Begin(
            Path(config.runs_dir),
            config.tracking.experiment,
            result.name,
            run_folder,
            tags={**tags, **replica_tag(config.tracking)},
        )
        recorder = Recorder.open(begin, run_id=result.mlflow_run_id, warn=_warn)

        def is_run(run_id: str) -> None:
            result.mlflow_run_id = run_id
            result.write(run_folder)

        recorder.on_new_run = is_run
        result.mlflow_run_id = recorder.run_id
    result.write(run_folder)
    return recorder, result


def _warn(text: str) -> None:
    say(text, warning=True)


def record_start(run: Run) -> None:
    """Write and record what the run starts from."""
    config, data, result, recorder = run.config, run.data, run.result, run.recorder
    result.split, result.split_leaks = data.split_rule, data.leaks
    result.cautions = data.cautions
    signatures = _agreed_signature(run)
    if rank() > 0:
        return
    result.write(run.folder)
    extended = _extended(config, run.folder)
    write_config(config, run.folder)
    with recorder.spared():
        write_environment(run.folder / Artifact.ENVIRONMENT)
    recorder.params(flatten(config.model_dump()))
    with recorder.spared():
        recorder.inputs(dataset_inputs(data, config.data.source))
    with recorder.spared():
        recorder.tags({**_start_tags(run), **signatures, **extended})
    if "leak" in data.caution:
        recorder.rename(f"{result.name} [{'leaks' if data.leaks else 'may leak'}]")
    recorder.artifacts(run.folder, Artifact.CONFIG, Artifact.ENVIRONMENT)


def _extended(config: Config, folder: Path) -> dict[str, str]:
    """Return a tag for the settings that a run is gone on with: a parameter is never changed."""
    try:
        before, now = compared_settings(read_config(folder)), compared_settings(config)
    except UserError:  # a new run has none yet; a damaged one is written anew
        return {}
    told = spelled({key: value for key, value in now.items() if before.get(key) != value})
    return {Tag.EXTENDED: told} if told else {}


def _start_tags(run: Run) -> dict[str, object]:
    config, data, result, weights = run.config, run.data, run.result, run.model.weights
    return {
        **source_tags(),
        Tag.CHANGED: spelled(changed_settings(config)) or "nothing",
        Tag.BATCH_SIZE: result.batch_size,
        Tag.GIT_COMMIT: git_commit() or "none",
        Tag.DATA_DIGEST: data.digest,
        Tag.SPLIT: data.split_rule,
        Tag.SPLIT_LEAKS: data.leaks,
        Tag.CAUTION: spelled_cautions(data.cautions),
        Tag.PRETRAINED: weights.pretrained,
        Tag.WEIGHTS_SOURCE: weights.source,
        Tag.WEIGHTS_DIGEST: weights.digest or "none",
        Tag.WEIGHTS_LOADED: weights,
        **_note(run.recorder, config, result, run.folder),
    }


def record_views(run: Run, phase: str, n_views: int) -> None:
    """Say how many stored views a phase goes from, which is a part of what the run computes.

    Raises:
        RanksDifferError: the ranks do not compute the same.
    """
    result = run.result
    result.stored_views[phase] = n_views
    signatures = _agreed_signature(run)
    if rank() == 0:
        result.write(run.folder)
    run.recorder.tags({Tag.STORED_VIEWS: json.dumps(result.stored_views), **signatures})


def _agreed_signature(run: Run) -> dict[str, str]:
    """Sign what is computed, as far as it has been found out; return the tags. All take part."""
    run.result.signature = signature(run.result.resolved(run.config))
    require_equal({"signature": run.result.signature})
    return {
        Tag.SIGNATURE: run.result.signature,
        Tag.RANK_SIGNATURES: " ".join(gather(run.result.signature)),
    }


def record_end(run: Run) -> None:
    """Record the scores, keep every file of the run with it, and close it as FINISHED."""
    result, recorder, folder = run.result, run.recorder, run.folder
    result.seconds = {name: round(seconds, 3) for name, seconds in run.stages.seconds.items()}
    result.write(folder)  # whatever becomes of the record, the scores are kept
    scores = kept_scores(result.metrics)
    kept = run.phases[-1].kept_epoch
    if any(recorder.last_step(key) < kept for key in scores):  # else killed after this, and resumed
        recorder.metrics(scores, step=kept)
    recorder.artifacts(folder, *OUTCOME)
    log_pictures(recorder, folder)
    finished = replace(result, status="FINISHED")
    with recorder.spared():
        recorder.tags(
            {
                Tag.PHASE_BOUNDARIES: json.dumps(_boundaries(folder / Artifact.EPOCHS)),
                Tag.KEPT_EPOCHS: json.dumps(result.kept_epochs),
                **_note(recorder, run.config, finished, folder),
            }
        )
    with recorder.spared():
        _register(recorder, run.config, folder)
    recorder.end("FINISHED")
    result.status = "FINISHED"  # last: a run killed before this line is resumed
    result.write(folder)
    recorder.artifacts(folder, Artifact.RESULT)


def record_completed(run: Run) -> None:
    """Record the scores and files that a finished run got later."""
    config, result, folder = run.config, run.result, run.folder
    result.write(folder)
    if result.mlflow_run_id and config.tracking.mode != "off":
        recorder = Recorder.reopen(Path(config.runs_dir), result.mlflow_run_id, _warn)
        recorder.metrics(kept_scores(result.metrics), step=list(result.kept_epochs.values())[-1])
        recorder.artifacts(folder, *OUTCOME, Artifact.RESULT)
        log_pictures(recorder, folder)
        with recorder.spared():
            _register(recorder, config, folder)
        with recorder.spared():
            recorder.tags(_note(recorder, config, result, folder))
        recorder.end(result.status)


def close_run(config: Config, run_folder: Path, status: str, failure: str) -> None:
    """Say in the folder and in MLflow that a run that had begun was KILLED, FAILED or PRUNED.

    MLflow has no word for PRUNED: there the run is KILLED, and a tag says why.
    """
    try:
        _close_run(config, run_folder, status, failure)
    except Exception as error:
        what = "no room" if full_disk(error) else f"it was not possible ({error})"
        say(f"{run_folder}: {what} to record that the run is {status}")


def _close_run(config: Config, run_folder: Path, status: str, failure: str) -> None:
    result = Result.read(run_folder)
    if result is None or result.status == "FINISHED":
        return
    failure = scrubbed(failure)
    result.status, result.failure = status, failure
    result.checkpoints = checkpoints_on_disk(run_folder, config.schedule)
    result.write(run_folder)
    if result.mlflow_run_id and config.tracking.mode != "off":
        recorder = Recorder.reopen(Path(config.runs_dir), result.mlflow_run_id, _warn)
        pruned = status == "PRUNED"
        recorder.tags({Tag.STATE: status} if pruned else {Tag.FAILURE: failure})
        with recorder.spared():
            recorder.tags(_note(recorder, config, result, run_folder))
        recorder.artifacts(run_folder, Artifact.CHECKPOINTS, Artifact.RESULT)
        recorder.end("KILLED" if pruned else status)


def _register(recorder: Recorder, config: Config, run_folder: Path) -> None:
    """Register the model, if that is asked for and the run has one; trials have none."""
    name, client, run_id = config.tracking.register, recorder.client, recorder.run_id
    if name is None or client is None or run_id is None:
        return
    if not (run_folder / Artifact.MODEL).is_dir():
        return
    recorder.tags({Tag.REGISTERED: name})
    version = register_here(client, run_id, name)
    say(f"registered as version {version} of '{name}' ({ALIAS})")


def _note(recorder: Recorder, config: Config, result: Result, folder: Path) -> dict[str, str]:
    """Return the tag of the run's description, as far as it has come."""
    if recorder.run_id is None:
        return {}
    story = Story(
        run_id=recorder.run_id,
        run_folder=folder.resolve(),
        result=result,
        changed=spelled(changed_settings(config)),
        command=repeats(config),
        phases=_boundaries(folder / Artifact.EPOCHS),
    )
    return {MLFLOW_RUN_NOTE: description(story)}


def repeats(config: Config) -> list[str]:
    """Return a command that computes one run: the typed one, unless it made several."""
    typed = command() or []
    one = typed and not {"-m", "--multirun"} & set(typed[3:])
    return typed if one else as_command(config) or typed


def _boundaries(epochs: Path) -> dict[str, tuple[int, int]]:
    """Return each phase's first and last epoch; nothing where training has not ended."""
    if not epochs.is_file():
        return {}
    by_phase = pd.read_csv(epochs).groupby("phase", sort=False)["epoch"]
    return {str(name): (int(part.min()), int(part.max())) for name, part in by_phase}
