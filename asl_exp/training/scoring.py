"""The end of a run: the kept checkpoint's scores, its figures, and the model folder.

A study's trials are evaluated less than a run of its own; ``complete_run`` gives one of them the
rest.
"""

import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from asl_exp.config import names
from asl_exp.config.names import Artifact
from asl_exp.data.hands.model_file import model_file
from asl_exp.evaluation.calibration import fitted, not_calibrated, why_not
from asl_exp.evaluation.certificate import write_certificate
from asl_exp.evaluation.folder import AnsweredSet, write_answers, write_evaluation
from asl_exp.evaluation.inference import probabilities
from asl_exp.evaluation.intervals import interval_of_mean, known_groups, score_intervals
from asl_exp.evaluation.model_card import Facts, model_card
from asl_exp.evaluation.scores import Probabilities
from asl_exp.model.checkpoint import load_kept_model
from asl_exp.model.kept import Calibration
from asl_exp.model.recognizer import find_checkpoint
from asl_exp.runs.result import Result
from asl_exp.runs.run_folder import read_config
from asl_exp.runs.writing import replaced
from asl_exp.tracking.model_folder import save_model_folder
from asl_exp.tracking.recorder import Recorder
from asl_exp.training.batch_size import step_images
from asl_exp.training.current_run import Run
from asl_exp.training.debug import with_less
from asl_exp.training.device import device_of, set_up
from asl_exp.training.ranks import rank
from asl_exp.training.record import record_completed, repeats
from asl_exp.training.shared_inputs import letters
from asl_exp.training.terminal import say


def score(run: Run) -> float:
    """Note what was kept, score it, and make the files that the run's ``evaluate`` asks for.

    Returns:
        The kept checkpoint's value of the metric that its phase monitored, on all ranks.
    """
    result, kept = run.result, run.phases[-1]
    result.monitor, result.objective = kept.monitor, kept.kept_value
    result.metrics |= kept.kept_metrics
    result.checkpoints = {done.name: done.checkpoint for done in run.phases}
    result.kept_epochs = {done.name: done.kept_epoch for done in run.phases}
    if rank() == 0:
        # in one step: a run that is killed here and resumed reads it
        with replaced(run.folder / Artifact.EPOCHS) as part:
            pd.DataFrame(run.epochs).to_csv(part, index=False)
        result.write(run.folder)  # whatever fails from here on, what was trained is told
        _evaluate(run)
    return kept.kept_value


def complete_run(run_folder: Path) -> None:
    """Give a finished run that was evaluated less all that a run of its own has.

    Raises:
        UserError: the run has no kept model, or its data has changed.
    """
    result = Result.read(run_folder)
    config = read_config(run_folder)
    kept = load_kept_model(find_checkpoint(run_folder))
    assert result is not None
    one_device = config.trainer.model_copy(update={"devices": 1})
    device = device_of(one_device, 0)
    set_up(device, one_device, result.threads)
    run = Run(
        config=config,
        folder=run_folder,
        device=device,
        data=with_less(config, letters(config, kept.preprocessing)),
        model=kept.model,
        preprocessing=kept.preprocessing,
        recorder=Recorder(None, None),
        result=result,
    )
    _evaluate(run)
    record_completed(run)


def _evaluate(run: Run) -> None:
    """Score the network, which has the kept weights; with ``everything``, write all files."""
    if run.evaluate == "validation":
        return
    with run.stages("evaluation"):
        for name in run.data.splits:
            if name not in ("train", "val"):
                _score_split(run, name)
        run.result.metrics |= names.external_means(run.result.metrics)
        run.result.intervals |= _intervals_of_means(run.result)
        run.result.write(run.folder)
    if run.evaluate == "everything":
        with run.stages("evaluation"):
            val = _answers(run, "val")
            run.result.intervals |= _val_intervals(run, val)
        with run.stages("figures"):
            from asl_exp.evaluation.figures.curves import learning_curves

            learning_curves(
                pd.read_csv(run.folder / Artifact.EPOCHS),
                run.folder / Artifact.LEARNING_CURVES,
                kept=run.result.kept_epochs,
                caution=run.data.caution,
                augmented=any(run.config.augmentation.model_dump().values()),
            )
        with run.stages("model"):
            _keep_model(run, val)
            write_certificate(run.folder, run.config, run.result, run.data)


def _intervals_of_means(result: Result) -> dict[str, list[float]]:
    """Return the intervals of ``external/...``, of the scores that have one in every set."""
    found = {}
    for key in names.external_means(result.metrics):
        of_sets = names.scores_of_sets(result.metrics, key)
        if all(one in result.intervals for one in of_sets):
            intervals = [(low, high) for low, high in map(result.intervals.__getitem__, of_sets)]
            found[key] = list(interval_of_mean(list(of_sets.values()), intervals))
    return found


def _answers(run: Run, name: str) -> Probabilities:
    split, batch_size = run.data.splits[name], step_images(run.config)
    return probabilities(run.model, split, batch_size=batch_size, device=run.device)


def _val_intervals(run: Run, answers: Probabilities) -> dict[str, list[float]]:
    """Return how sure val's scores are; train has none, for its images are shown augmented."""
    answered = AnsweredSet.of(run.data.splits["val"], answers, run.data.classes)
    groups = known_groups(answered.table)
    of = score_intervals(answered.probabilities, answered.labels, groups).of
    keys = {names.VAL_ACCURACY: "accuracy", names.VAL_F1_MACRO: "f1_macro"}
    return {key: list(of[score]) for key, score in keys.items() if score in of}


def _keep_model(run: Run, val: Probabilities) -> None:
    """Make the model folder of the kept checkpoint; `val` are its answers there, ``(N, C)``."""
    checkpoint = load_kept_model(run.folder / list(run.result.checkpoints.values())[-1])
    kept = replace(checkpoint, calibration=_calibration(run, val))
    run.result.calibration = asdict(kept.calibration)
    run.result.write(run.folder)
    evaluation = run.folder / Artifact.EVALUATION
    card = model_card(Facts(kept, run.result, run.data, evaluation, repeats(run.config)))
    save_model_folder(
        kept,
        run.folder / Artifact.MODEL,
        card=card,
        example=_example(run),
        hand_model=_hand_model(run),
    )


def _calibration(run: Run, answers: Probabilities) -> Calibration:
    """Fit the temperature and the threshold on val's answers, where they can tell them."""
    val, wanted = run.data.splits["val"], run.config.evaluation.wanted_accuracy
    answered = np.arange(len(val)) if val.rejected is None else np.flatnonzero(~val.rejected)
    val = val.take(answered)
    groups = known_groups(val.table)
    if reason := why_not(len(val), groups, leaks=run.data.leaks):
        calibration = not_calibrated(reason)
    else:
        calibration = fitted(answers[answered], val.labels, wanted)
    if wanted is not None:
        told = calibration.abstain_below is None
        say(f"evaluation.wanted_accuracy={wanted:g}: {calibration.told}", warning=told)
    return calibration


def _example(run: Run) -> bytes | None:
    """Return a drawn test image as PNG; of photos none, for they are not ours to hand on."""
    shown = run.data.splits.get("test") or run.data.splits["val"]
    if run.config.data.source != "synthetic" or not shown.sees_pixels:
        return None
    encoded = io.BytesIO()
    Image.fromarray(shown.gather(np.zeros(1, np.int64))[0]).save(encoded, "PNG")
    return encoded.getvalue()


def _hand_model(run: Run) -> Path | None:
    """Return the file of the detector, where the network looks for hands in photos."""
    hand = run.config.hand
    if hand.mode == "none" or hand.detector == "exact":
        return None
    return model_file(hand.model, run.config.data.cache_dir).path


def _score_split(run: Run, name: str) -> None:
    """Score the test split or an external set, and fill its folder as ``evaluate`` says."""
    folder = run.folder / Artifact.EVALUATION / name
    answered = AnsweredSet.of(run.data.splits[name], _answers(run, name), run.data.classes)
    scores = answered.scores()
    if run.evaluate == "everything":
        evaluation = write_evaluation(folder, answered)
        run.result.intervals |= {
            names.score_key(name, key): list(interval)
            for key, interval in evaluation.intervals.of.items()
        }
    elif run.evaluate == "answers":
        write_answers(folder, answered)
    run.result.metrics |= {names.score_key(name, key): value for key, value in scores.items()}
