"""What the schema says of a key: its type, whether it takes text, what it is for, and its likes."""

import types
import typing
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel

from asl_exp.config.conf_folder import conf_dir
from asl_exp.config.schema import MACHINE_KEYS, Config, PhaseConfig
from asl_exp.config.study_schema import Study

Kind = Literal["text", "texts", "other", "unknown"]

GROUPS: Final = (
    "backbone", "head", "regularization", "optimizer", "lr", "augmentation", "data", "schedule",
    "trainer", "tracking", "sweep", "experiment", "hand",
    "debug",
)  # fmt: skip
_OTHER_WORDS: Final = {
    "arch backbone_name encoder model model_name net network": "backbone.name",
    "imgsz image_shape img_size input_shape input_size resolution size target_size":
        "backbone.image_size",
    "imagenet pretrained": "backbone.pretrained",
    "drop drop_rate dropout dropout_rate": "regularization.dropout",
    "l2 weight_decay wd": "regularization.l2",
    "label_smoothing smoothing": "regularization.label_smoothing",
    "ema": "regularization.weight_mean",
    "opt optim": "optimizer",
    "clip clip_grad clip_grad_norm clipnorm grad_clip gradient_clip_val max_grad_norm":
        "optimizer.clip_norm",
    "base_lr eta init_lr learning_rate lr optimizer.lr": "lr.transfer",
    "lr_schedule lr_scheduler sched scheduler": "lr.shape",
    "aug augment augmentations transform transforms": "augmentation",
    "flip hflip": "augmentation.horizontal_flip",
    "degrees rotate": "augmentation.rotation",
    "dataset": "data",
    "data_dir data_path data_root dataset_path dir folder images img_dir path root": "data.root",
    "train_data train_dir train_path": "data.root",
    "annotations csv csv_file labels_csv": "data.manifest",
    "class_names classes n_classes nb_classes num_classes": "data.classes",
    "test_ratio test_size test_split": "data.test_fraction",
    "val_ratio val_size val_split valid_size validation_split": "data.val_fraction",
    "cv k_folds kfold n_folds n_splits num_folds": "data.folds",
    "batch bs per_device_train_batch_size train_batch_size": "data.batch_size",
    "num_worker num_workers": "data.workers",
    "class_weight class_weights": "data.balance",
    "max_epochs n_epochs nb_epochs num_epochs num_train_epochs": "schedule.transfer.epochs",
    "device": "trainer.accelerator",
    "devices gpu gpus n_gpus nproc_per_node num_gpus strategy world_size": "trainer.devices",
    "nnodes nodes": "trainer.num_nodes",
    "amp dtype fp16": "trainer.precision",
    "accumulate_grad_batches grad_accum gradient_accumulation_steps": "trainer.accumulate",
    "torch_compile torchcompile": "trainer.compile",
    "sync_bn": "trainer.sync_batchnorm",
    "overfit_batches": "debug=overfit",
    "dry_run fast_dev_run": "debug=fast",
    "limit_test_batches limit_train_batches limit_val_batches": "debug.share",
    "manual_seed random_seed random_state": "seed",
    "checkpoint ckpt ckpt_path resume_from resume_from_checkpoint": "resume",
    "default_root_dir log_dir logdir out_dir output output_dir save_dir": "runs_dir",
    "exp_name run_name": "name",
    "experiment_name": "tracking.experiment",
    "mlflow_uri tracking_uri": "tracking.uri",
    "logger": "tracking",
    "config preset": "experiment",
    "n_trials num_trials trials": "sweep.n_trials",
    "direction metric objective": "sweep.objectives",
    "freeze freeze_backbone frozen unfreeze": "schedule.transfer.trainable",
    "early_stop early_stopping es_patience": "schedule.transfer.patience",
}  # fmt: skip
"""What other programs call a key; a mend that is no key alone is written as it is typed."""
MEANT: Final = {word: key for words, key in _OTHER_WORDS.items() for word in words.split()}

_PHASE_KEYS: Final = tuple(PhaseConfig.model_fields)


def model_at(path: tuple[str | int, ...], root: type[BaseModel] = Config) -> type[BaseModel] | None:
    """Return the schema of a group, or None where there is none."""
    model: Any = root
    for part in path:
        if part == "schedule":
            model = dict
        elif model is dict:
            model = PhaseConfig
        else:
            fields = getattr(model, "model_fields", {})
            model = fields[str(part)].annotation if str(part) in fields else None
        if model is None:
            return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def value_kind(key: str) -> Kind:
    """Return what a key takes: text, a list of texts, something else, or unknown for no key."""
    if key in GROUPS or key.startswith(("hydra.", "hydra/", "backbone.options.", "sweep.")):
        return "text"
    leaves = _types(key)
    if not leaves:
        return "unknown"
    if str in leaves:
        return "text" if list not in leaves else "texts"
    return "other"


def takes_text_alone(key: str) -> bool:
    """Return whether a key takes texts and nothing else, but that it may be empty."""
    return _types(key) - {type(None)} == {str}


def takes_fractions(key: str) -> bool:
    """Return whether a key takes numbers that need not be whole."""
    return float in _types(key)


def _types(key: str) -> set[Any]:
    """Return the types that a key takes, lists' elements among them; none for no key."""
    *groups, leaf = key.split(".")
    model = model_at(tuple(groups))
    field = model.model_fields.get(leaf) if model else None
    return set(_parts(field.annotation)) if field else set()


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation is made of."""
    origin = typing.get_origin(annotation)
    if origin is None:
        yield annotation
    elif origin in (typing.Union, types.UnionType, typing.Annotated):
        for one in typing.get_args(annotation)[: 1 if origin is typing.Annotated else None]:
            yield from _parts(one)
    elif origin is list:
        yield list
        for one in typing.get_args(annotation):
            yield from _parts(one)


def is_machine_key(key: str) -> bool:
    """Tell whether a key says where or how fast a run goes, and nothing of what it computes."""
    return f"{key}.".startswith(tuple(f"{machine}." for machine in MACHINE_KEYS))


@cache
def schema_keys() -> tuple[str, ...]:
    """Return every key of the schema but those of phases, whose names are free."""

    def walk(model: type[BaseModel], prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            yield f"{prefix}{name}"
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from walk(inner, f"{prefix}{name}.")

    return tuple(walk(Config, ""))


@cache
def usual_keys() -> tuple[str, ...]:
    """Return every key of the schema, and those of the two phases that nearly all runs have."""
    phases = (f"schedule.{p}.{key}" for p in ("transfer", "finetune") for key in _PHASE_KEYS)
    return (*phases, *schema_keys())


def nearest_key(given: str, known: Iterable[str]) -> str:
    """Return a hint such as ``; did you mean 'regularization.dropout'?``, or nothing.

    A key's own last word counts most: who writes ``dropout`` or ``data.epochs`` knows the word,
    not the group.
    """
    names = [
        name for name in dict.fromkeys((*known, *GROUPS)) if not f"{given}.".startswith(f"{name}.")
    ]
    given = given.lower().replace("-", "_")
    leaf = given.rpartition(".")[2]
    if given in names:
        return f"; did you mean {given!r}?"
    found = [name for name in names if name.rpartition(".")[2] == leaf]
    found = get_close_matches(given, found, n=1, cutoff=0.85) or found
    meant = MEANT.get(given) or (None if found else MEANT.get(leaf))
    if meant and (meant.startswith("sweep.") or meant.partition("=")[0] in names):
        found = [meant]
    if not found:
        found = get_close_matches(given, names, n=1, cutoff=0.85)
    if not found:
        leaves = {name.rpartition(".")[2]: name for name in reversed(names)}
        found = [leaves[one] for one in get_close_matches(leaf, list(leaves), n=1, cutoff=0.7)]
    found = found or get_close_matches(given, names, n=1, cutoff=0.6)
    if not found:
        return ""
    return f"; did you mean {' or '.join(repr(name) for name in found[:3])}?"


def key_help(asked: str) -> str | None:
    """Return what ``--help KEY`` says of a key or a group; None where there is no such thing."""
    path = tuple(asked.split("."))
    root: type[BaseModel] = Study if path[0] == "sweep" else Config
    model = model_at(path, root) if asked else None
    if asked == "experiment":
        names = ", ".join(sorted(file.stem for file in (conf_dir() / "experiment").glob("*.yaml")))
        return f"experiment: a preset of conf/experiment, or a file of yours (FILE.yaml): {names}"
    if asked == "schedule":
        return "\n".join(["schedule.<phase>: one fit; phases are in order", *_lines(PhaseConfig)])
    if model is not None:
        return "\n".join([f"{asked}: {opening_line(model)}", *_lines(model)])
    parent = model_at(path[:-1], root)
    if parent is None or path[-1] not in parent.model_fields:
        return None
    return _line(path[-1], parent, asked)


def _lines(model: type[BaseModel]) -> list[str]:
    return [f"  {_line(name, model, name)}" for name in model.model_fields]


def _line(name: str, model: type[BaseModel], shown: str) -> str:
    told = key_facts(name, model)
    if told is None:
        inner = model.model_fields[name].annotation
        return f"{shown:<20} group: {opening_line(inner)}"
    about = f"  {told.about}" if told.about else ""
    default = "required" if told.default is None else f"default {told.default}"
    return f"{shown:<20} {told.allowed}; {default}.{about}"


class KeyFacts(NamedTuple):
    """What is told of a key."""

    allowed: str
    default: str | None
    """None: it must be given."""
    about: str


def key_facts(name: str, model: type[BaseModel]) -> KeyFacts | None:
    """Return what the schema says of one field, in words; None for a group of keys."""
    field = model.model_fields[name]
    inner = field.annotation
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return None
    default = None
    if not field.is_required():
        default = shown(field.get_default(call_default_factory=True))
    allowed = ", ".join(filter(None, [_words(inner), *_limits(field.metadata)]))
    return KeyFacts(allowed, default, field.description or "")


def opening_line(model: object) -> str:
    """Return the first line of a class's docstring."""
    return (model.__doc__ or "").strip().splitlines()[0]


def shown(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        return str([one.model_dump(exclude_none=True) for one in value])
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _words(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return " | ".join(shown(one) for one in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(one) for one in typing.get_args(annotation))
    if origin is typing.Annotated:
        base, *limits = typing.get_args(annotation)
        return ", ".join([_words(base), *_limits(limits)])
    if origin is list:
        return f"list of {_words(typing.get_args(annotation)[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys"
    plain = {str: "text", int: "whole number", float: "number", bool: "true | false",
             type(None): "null", dict: "keys"}  # fmt: skip
    return plain.get(origin or annotation, str(annotation))


def _limits(metadata: Iterable[Any]) -> list[str]:
    """Return limits of a number, as ``>= 0``."""
    told = []
    for one in metadata:
        for part in getattr(one, "metadata", None) or [one]:
            for sign, name in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt")):
                limit = getattr(part, name, None)
                if isinstance(limit, int | float):
                    told.append(f"{sign} {limit:,}" if type(limit) is int else f"{sign} {limit:g}")
    return told
