"""Rules between fields: what is allowed alone but not together.

For an experiment, its data, its tracking (what a replica needs to be found, and no secrets among
it) and a study. What one field may hold is in schema.py.
"""

import math
import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from asl_exp.config.classes import LETTERS, parse_classes
from asl_exp.config.errors import nearest
from asl_exp.config.machine_checks import known_backbones, visible_gpus
from asl_exp.config.names import EVERY_EPOCH, FOLDS, is_of_folds, metric_fault
from asl_exp.config.redact import SECRET_KEPT, holds_secret, without_login
from asl_exp.config.schema import BackboneConfig, Config, DataConfig, PhaseConfig, TrackingConfig
from asl_exp.config.study_schema import SweepConfig

if TYPE_CHECKING:
    from asl_exp.config.search_space import Parameter  # Hydra, which a kept model is read without


def contradictions(config: Config) -> list[str]:
    """Return one sentence for each contradiction, beginning with the key to change."""
    return [
        *_backbone(config),
        *_hand(config),
        *_head(config),
        *_schedule(config),
        *_stored(config),
        *_trainer(config),
        *_label("name", config.name),
        *_data(config.data),
        *_folds(config),
        *tracking_faults(config.tracking),
        *_secrets(config),
        *_optimizer(config),
    ]


def _secrets(config: Config) -> Iterator[str]:
    """Yield a fault for each value that holds a secret: a run's record keeps all of them."""
    for key, text in _texts(config.model_dump(), ""):
        if key != "tracking.uri" and holds_secret(text):
            yield f"{key}: {SECRET_KEPT}"


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value


def _optimizer(config: Config) -> Iterator[str]:
    if config.optimizer.momentum and config.optimizer.name != "sgd":
        yield (
            f"optimizer.momentum: {config.optimizer.momentum} has no meaning for "
            f"{config.optimizer.name}; set it to 0 or choose optimizer=sgd"
        )


def _backbone(config: Config) -> Iterator[str]:
    yield from network_faults(config.backbone)
    if config.backbone.weights is not None and not config.backbone.pretrained:
        yield (
            "backbone.weights: a file is given but backbone.pretrained=false would not load it; "
            "leave one of the two out"
        )


_NAME: Final = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
_OPTION: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NO_OPTIONS: Final = {
    "num_classes": "the classes are those of the data; leave it out",
    "in_chans": "images have three channels (RGB), grey ones as well; leave it out",
    "global_pool": "write head.pooling",
    "drop_rate": "write regularization.dropout",
    "kwargs_filter": "changes how the network is made; leave it out",
    "device": "write trainer.accelerator",
    "dtype": "write trainer.precision",
    "state_dict": "weights are loaded from backbone.weights=FILE alone",
    **dict.fromkeys(("img_size", "input_size"), "write backbone.image_size"),
    **dict.fromkeys(("model_name", "name", "variant"), "write backbone.name"),
    **dict.fromkeys(
        ("features_only", "out_indices", "feature_cfg", "feature_cls"),
        "the last feature map is what the head is made for; leave it out",
    ),
    **dict.fromkeys(
        ("exportable", "scriptable", "no_jit"),
        "changes the network for other programs; leave it out",
    ),
}
_LOADING: Final = re.compile(r"pretrained|checkpoint|cache_dir|hf_hub|url|custom_load|weight(s|$)")


def network_faults(backbone: BackboneConfig) -> Iterator[str]:
    """Yield faults of a network's name and options: what reaches out, loads or breaks the head."""
    if not _NAME.fullmatch(backbone.name):
        yield f"backbone.name: got '{backbone.name}'; {_name_hint(backbone.name)}"
    for option, value in backbone.options.items():
        if not _OPTION.fullmatch(option):
            yield f"backbone.options.{option}: is no argument of timm.create_model"
        elif _LOADING.search(option):
            why = "weights are loaded from backbone.weights=FILE or, with backbone.pretrained, "
            yield f"backbone.options.{option}: {why}from timm's hub, and from nowhere else"
        elif option in _NO_OPTIONS:
            yield f"backbone.options.{option}: {_NO_OPTIONS[option]}"
        elif fault := _number_fault(option, value):
            yield f"backbone.options.{option}: got {value}; {fault}"


_LARGEST_OPTION: Final = 8192.0
_RANGES: Final = (
    (re.compile(r"rate$|dropout"), 0.0, 0.99),
    (re.compile(r"momentum"), 0.0, 1.0),
    (re.compile(r"(^|_)eps"), 1e-12, 1.0),
    (re.compile(r"depth|layers$|blocks|stages|repeats"), 0.0, 512.0),
    (re.compile(r""), 0.0, _LARGEST_OPTION),
)
"""Names of timm's arguments to the least and the largest number that makes a network."""


def _number_fault(option: str, value: object) -> str | None:
    """Return what is wrong with a number: timm takes any, and trains or hangs with it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    lowest, highest = next((low, high) for name, low, high in _RANGES if name.search(option))
    if lowest <= value <= highest:
        return None
    return f"must be a number of {lowest:g} to {highest:g}"


def _name_hint(name: str) -> str:
    _, colon, rest = name.partition(":")
    hubs = ("timm", "//huggingface.co/timm", "//hf.co/timm")
    owner, _, last = (rest or name).rpartition("/")
    if owner in hubs and _NAME.fullmatch(last):
        return f"a name of timm alone is allowed; write backbone.name={last}"
    if colon:
        return (
            "a name of timm alone is allowed, no address and no folder; weights of your own are "
            "backbone.weights=FILE"
        )
    told = "a name of timm is letters, digits, _ and at most one dot, such as resnet18.a1_in1k"
    return f"{told}{nearest(name, known_backbones())}"


_MOST_WEIGHTS: Final = 1_000_000_000
_MOST_DRAWN: Final = 10_000_000


def _folds(config: Config) -> Iterator[str]:
    if config.data.folds is not None and config.data.fold is None and config.resume:
        yield (
            "resume: one fold can be gone on with, not all of data.folds; give data.fold=NAME as "
            "well"
        )


def _hand(config: Config) -> Iterator[str]:
    hand, data = config.hand, config.data
    if hand.mode == "none" and hand.model is not None:
        yield (
            f"hand.model: '{hand.model}' is given, but hand=none looks for no hand; choose "
            "hand=crop, joints or both, or leave it out"
        )
    for key in ("joints", "drawn_signers", "detected_signers"):
        if hand.mode not in ("joints", "both") and getattr(data, key):
            yield (
                f"data.{key}: given, but hand={hand.mode} sees no joints; choose hand=joints or "
                "both, or leave it out"
            )
    if hand.mode == "both" and data.folds == "joints":
        yield (
            "data.folds: joints tests on hands without images, and a network with hand=both looks "
            "at images; choose hand=joints, or data.folds=source, group or a number"
        )
    if hand.mode in ("crop", "both") and not data.store:
        yield (
            f"data.store: off, but hand={hand.mode} shows squares that are cut out once and "
            "stored; leave it on, or choose hand=joints"
        )
    if hand.mode != "none" and hand.detector == "exact":
        tables = {name for name in data.external if name.endswith((".csv", ".gz", ".parquet"))}
        if data.source != "synthetic" or set(data.external) - tables - {SYNTHETIC_EXTERNAL}:
            yield EXACT_ALONE
        if hand.model is not None:
            yield (
                f"hand.model: '{hand.model}' is given, but hand.detector=exact reads no file; "
                "leave one of the two out"
            )
    if hand.mode == "joints":
        yield from _joints_alone(config)
    mixes = config.augmentation.mixup or config.augmentation.cutmix
    if hand.mode in ("joints", "both") and mixes:
        yield (
            f"augmentation.mixup, augmentation.cutmix: joints cannot be mixed, and hand="
            f"{hand.mode} sees them; set both to 0"
        )


def _joints_alone(config: Config) -> Iterator[str]:
    """Yield what contradicts hand=joints: there are no pixels and no backbone."""
    if config.hand.on_missing == "image":
        yield (
            "hand.on_missing: image contradicts hand=joints, which sees no pixels; use reject, or "
            "choose hand=crop or both"
        )
    if config.backbone.weights is not None:
        yield (
            f"backbone.weights: '{config.backbone.weights}' is given, but hand=joints has no "
            "backbone; choose hand=crop or both, or leave it out"
        )
    for name, phase in config.schedule.items():
        if phase.trainable == "last":
            yield (
                f"schedule.{name}.trainable: last contradicts hand=joints, which has no backbone; "
                "use all"
            )
        if phase.features == "always" or phase.views is not None:
            yield (
                f"schedule.{name}: features of images are to be stored (features="
                f"{phase.features}, views={phase.views}), but hand=joints sees no images; leave "
                "it out"
            )


def _head(config: Config) -> Iterator[str]:
    dropout, hidden = config.regularization.dropout, config.head.hidden
    for first, second in pairwise(hidden):
        if first * second > _MOST_WEIGHTS:
            yield (
                f"head.hidden: {first} and {second} units would be {first * second:,} weights; at "
                f"most {_MOST_WEIGHTS:,} are taken"
            )
            return
    if isinstance(dropout, list) and len(dropout) != len(hidden):
        yield (
            f"regularization.dropout: {len(dropout)} values for {len(hidden)} hidden layers "
            f"(head.hidden={hidden}); give one value, or one for each layer"
        )


def _schedule(config: Config) -> Iterator[str]:
    if all(phase.epochs == 0 for phase in config.schedule.values()):
        phases = ", ".join(config.schedule)
        yield f"schedule: every phase has 0 epochs ({phases}); give one of them epochs"
    for name, phase in config.schedule.items():
        yield from _phase(f"schedule.{name}", phase)
    first = next((name for name, phase in config.schedule.items() if phase.epochs), None)
    if first is not None and config.schedule[first].mix:
        yield (
            f"schedule.{first}.mix: no phase comes before it, so there is nothing to mix its "
            "weights with; set it to false, or give an earlier phase epochs"
        )


def _stored(config: Config) -> Iterator[str]:
    for name, phase in config.schedule.items():
        if phase.features == "always" and phase.epochs and not config.data.store:
            yield (
                f"schedule.{name}.features: always needs stored pixels, but data.store=off; leave "
                "one of the two out"
            )


def _phase(key: str, phase: PhaseConfig) -> Iterator[str]:
    if (phase.trainable == "last") != (phase.last_layers is not None):
        yield (
            f"{key}.last_layers: got {phase.last_layers} with trainable={phase.trainable}; "
            "it is the number of layers for trainable=last, and null otherwise"
        )
    if phase.trainable == "head" and phase.norm_statistics == "trained":
        yield (
            f"{key}.norm_statistics: 'trained' contradicts trainable=head, which freezes the "
            "backbone with its statistics; use held"
        )
    yield from _features(key, phase)


def _features(key: str, phase: PhaseConfig) -> Iterator[str]:
    if phase.trainable == "all" and (phase.features == "always" or phase.views is not None):
        wrong = f"features: {phase.features}" if phase.views is None else f"views: {phase.views}"
        yield (
            f"{key}.{wrong} contradicts trainable=all, where no part stays the same and can be "
            "stored; leave it out"
        )
    if phase.views is not None and phase.views > max(1, phase.epochs):
        yield (
            f"{key}.views: {phase.views} views in {phase.epochs} epochs; epoch e sees view e mod "
            "views, so more views than epochs are never seen; give at most the epochs"
        )


def _trainer(config: Config) -> Iterator[str]:
    trainer, batch_size = config.trainer, config.data.batch_size
    if trainer.precision == "16-mixed" and trainer.accelerator == "cpu":
        yield "trainer.precision: 16-mixed needs a GPU; on the CPU use 32-true"
    if trainer.num_nodes > 1 and trainer.rendezvous is None and "SLURM_JOB_ID" not in os.environ:
        yield (
            f"trainer.rendezvous: {trainer.num_nodes} machines need an address to meet; give the "
            "same host:port of the first machine on all, or start under SLURM"
        )
    if trainer.rendezvous is not None and not _is_address(trainer.rendezvous):
        yield (
            f"trainer.rendezvous: got '{trainer.rendezvous}'; must be host:port of the first "
            "machine, such as 192.168.1.10:29500"
        )
    parts = trainer.devices * trainer.num_nodes * trainer.accumulate
    if batch_size != "auto" and batch_size % parts:
        yield (
            f"data.batch_size: {batch_size} images cannot be shared equally by "
            f"{trainer.devices * trainer.num_nodes} devices in {trainer.accumulate} parts; "
            f"choose a multiple of {parts}"
        )
    if trainer.sync_batchnorm and trainer.accelerator == "cpu":
        yield "trainer.sync_batchnorm: needs GPUs; set it to false on the CPU"


def _is_address(given: str) -> bool:
    host, colon, port = given.rpartition(":")
    sound = bool(
        re.fullmatch(r"[A-Za-z0-9]([\w-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([\w-]*\w)?)*", host, re.A)
    )
    if re.fullmatch(r"[\d.]+", host):  # no machine is called by numbers alone
        numbers = host.split(".")
        sound = len(numbers) == 4 and all(one.isdigit() and int(one) < 256 for one in numbers)
        sound = sound and host != "0.0.0.0"
    return sound and bool(colon) and bool(re.fullmatch(r"\d{1,5}", port)) and 0 < int(port) < 65536


SYNTHETIC_EXTERNAL = "synthetic_external"
"""The external set of the embedded signer, a name that `data.external` knows for every source."""

EXACT_ALONE: Final = (
    "hand.detector: exact joints are known of the embedded signer alone (data=synthetic, no other "
    "external set of images); use mediapipe for photos"
)


def _data(data: DataConfig) -> Iterator[str]:
    drawn = data.synthetic.signers * data.synthetic.images_per_letter * len(LETTERS)
    yield from _source(data)
    try:
        parse_classes(data.classes)
    except ValueError as error:
        yield f"data.classes: {error}"
    yield from _split(data)
    if data.balance_at_most is not None and data.balance == "none":
        yield (
            f"data.balance_at_most: {data.balance_at_most} is given, but data.balance=none does "
            "not read it; choose data.balance=label or source, or leave it out"
        )
    if data.source == "synthetic" and drawn > _MOST_DRAWN:
        yield (
            f"data.synthetic: {data.synthetic.signers:,} signers with "
            f"{data.synthetic.images_per_letter:,} images of a letter are {drawn:,} drawn hands; "
            f"at most {_MOST_DRAWN:,} are taken"
        )


def _source(data: DataConfig) -> Iterator[str]:
    if data.source == "folder" and not data.root:
        yield (
            "data.root: not given, but data.source=folder reads it; "
            "give data.root=FOLDER with a sub-folder per class"
        )
    if data.source == "manifest" and not data.manifest:
        yield (
            "data.manifest: not given, but data.source=manifest reads it; "
            "give data.manifest=FILE.csv with the columns path and label"
        )
    if data.source != "manifest" and data.manifest:
        yield (
            f"data.manifest: '{data.manifest}' is given, but data.source={data.source} does not "
            "read it; choose data=manifest or leave it out"
        )
    if data.source not in ("folder", "asl_alphabet", "sign_mnist") and data.root:
        yield (
            f"data.root: '{data.root}' is given, but data.source={data.source} does not read it; "
            "choose data=folder or data=asl_alphabet, or leave it out"
        )
    if data.source != "manifest" and data.sources:
        yield (
            f"data.sources: {data.sources} is given, but data.source={data.source} has no column "
            "source; choose data=manifest or leave it out"
        )
    both = sorted(set(data.sources) & set(data.external))
    if both:
        yield (
            f"data.external: {', '.join(both)} is also in data.sources; "
            "an external set is never trained on, so name it in one of the two"
        )
    if len(set(data.external)) < len(data.external):
        yield f"data.external: {data.external} names a set twice; name each once"


def _split(data: DataConfig) -> Iterator[str]:
    if data.folds is not None and data.split != "group":
        yield (
            f"data.folds: {data.folds} says who is tested on, and data.split={data.split} does as "
            "well; leave one of the two out"
        )
    if data.folds == "joints" and not data.joints:
        yield (
            "data.folds: joints, but data.joints names no file whose people could be tested on; "
            "give data.joints=[FILE,...], or data.folds=source, group or a number"
        )
    if data.fold is not None and data.folds is None:
        yield (
            f"data.fold: '{data.fold}' is given, but data.folds is not; give data.folds=source, "
            "group, joints or a number, or leave it out"
        )
    if data.val_fraction + data.test_fraction >= 1:
        yield (
            f"data.val_fraction: {data.val_fraction} and data.test_fraction={data.test_fraction} "
            "leave nothing to train on; their sum must be below 1"
        )
    if data.split == "leave_out" and not data.leave_out:
        yield (
            "data.leave_out: empty, but data.split=leave_out tests on the groups it names; "
            "give data.leave_out=[GROUP,...]"
        )
    if data.split != "leave_out" and data.leave_out:
        yield (
            f"data.leave_out: {data.leave_out} is given, but data.split={data.split} does not "
            "read it; choose data.split=leave_out or leave it out"
        )
    if data.split == "column" and data.source not in ("manifest", "folder", "sign_mnist"):
        yield (
            f"data.split: column needs a manifest with the column split, but data.source="
            f"{data.source}; choose data=manifest or another data.split"
        )


_REPO: Final = re.compile(r"[\w.-]+/[\w.-]+")
_HOW_TO_LOG_IN: Final = (
    "put them into the environment instead: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "or MLFLOW_TRACKING_TOKEN"
)


def tracking_faults(tracking: TrackingConfig) -> Iterator[str]:
    """Yield one sentence for each contradiction, beginning with the key to change."""
    if tracking.mode == "server":
        yield from _address(tracking.uri)
    elif tracking.uri is not None:
        yield (f"tracking.uri: has no meaning for tracking={tracking.mode}; "
               "add tracking=server, or leave it out")  # fmt: skip
    if tracking.mode != "dagshub" and tracking.repo is not None:
        yield (f"tracking.repo: has no meaning for tracking={tracking.mode}; "
               "add tracking=dagshub, or leave it out")  # fmt: skip
    if tracking.repo is not None and not _REPO.fullmatch(tracking.repo):
        yield (
            f"tracking.repo: got '{without_login(tracking.repo)}'; must be OWNER/NAME, the last "
            "two parts of the repository's address"
        )
    yield from _label("tracking.experiment", tracking.experiment)
    yield from _label("tracking.register", tracking.register)
    if tracking.register is not None and tracking.mode == "off":
        yield "tracking.register: nothing is recorded with tracking=off; leave it out"
    if tracking.register is not None and set("/:") & set(tracking.register):
        yield f"tracking.register: got '{tracking.register}'; a name without / and :"


def _label(key: str, label: str | None) -> Iterator[str]:
    """Yield a fault where a name cannot be one of a folder or a page."""
    if label is not None and (label.strip() in ("", ".", "..") or not label.isprintable()):
        yield f"{key}: got {label!r}; must be a name of printable characters"


def _address(uri: str | None) -> Iterator[str]:
    if uri is None:
        yield ("tracking.uri: is missing; tracking=server needs the address of an MLflow server, "
               "tracking.uri=http://host:5000")  # fmt: skip
        return
    shown = without_login(uri)
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        yield f"tracking.uri: got '{shown}', which is no address ({error})"
        return
    if "@" in parts.netloc:
        yield f"tracking.uri: holds a user or a password ({shown}); {_HOW_TO_LOG_IN}"
    elif parts.scheme not in ("http", "https") or not host:
        yield f"tracking.uri: got '{shown}'; must begin with http:// or https:// and name a host"
    elif parts.query or parts.fragment:
        yield (f"tracking.uri: got '{shown.partition('?')[0]}?...'; must end with the path of "
               "the server")  # fmt: skip


STORAGES = ("sqlite:///", "journal:", "postgresql://")


def sweep_faults(sweep: SweepConfig, space: Sequence["Parameter"]) -> list[str]:
    """Return one sentence for each contradiction within a study."""
    return [
        *_objectives(sweep),
        *_pruner(sweep),
        *_sampler(sweep, space),
        *_budget(sweep, space),
        *_storage(sweep),
    ]


def _objectives(sweep: SweepConfig) -> Iterator[str]:
    metrics = [objective.metric for objective in sweep.objectives]
    for number, metric in enumerate(metrics):
        if fault := metric_fault(metric):
            yield f"sweep.objectives.{number}.metric: {fault}"
    if len(set(metrics)) < len(metrics):
        yield f"sweep.objectives: {metrics[0]} is given twice; two objectives must differ"


def _pruner(sweep: SweepConfig) -> Iterator[str]:
    if sweep.pruner.name == "none":
        return
    if len(sweep.objectives) > 1:
        yield (
            f"sweep.pruner.name: {sweep.pruner.name} compares trials by one metric, but there are "
            "two objectives; set it to none"
        )
    elif (metric := sweep.objectives[0].metric) not in EVERY_EPOCH and not metric_fault(metric):
        yield (
            f"sweep.pruner.name: {sweep.pruner.name} compares trials after every epoch, but "
            f"{metric} is known only at the end; set it to none"
        )


def _sampler(sweep: SweepConfig, space: Sequence["Parameter"]) -> Iterator[str]:
    name = sweep.sampler.name
    if name == "grid":
        for parameter in space:
            if parameter.size() is None:
                yield (
                    f"sweep.space.{parameter.key}: {parameter.text} has no end of values, which a "
                    "grid needs; use choice(x,y) or range(a,b,step), or another sweep.sampler.name"
                )
        if sweep.conditions:
            yield (
                "sweep.conditions: a grid tries every value with every other; leave them out, or "
                "choose another sweep.sampler.name"
            )
    if name == "cmaes" and len(sweep.objectives) > 1:
        yield "sweep.sampler.name: cmaes knows one objective; use tpe, gp, random or nsga2 for two"
    if name == "cmaes" and space and all(p.kind == "choice" for p in space):
        yield "sweep.sampler.name: cmaes moves numbers, but the space has only choices; use tpe"


LARGEST_GRID: Final = 10_000
"""Jobs of a grid, or points of a study's: all of them are listed, and each value is checked."""


def _budget(sweep: SweepConfig, space: Sequence["Parameter"]) -> Iterator[str]:
    if sweep.sampler.name != "grid":
        if sweep.n_trials is None:
            yield "sweep.n_trials: is missing; give the number of trials"
        return
    sizes = [parameter.size() for parameter in space]
    points = math.prod(size or 0 for size in sizes)
    if points > LARGEST_GRID:
        yield (
            f"sweep.space: a grid of {points:,} points, which are at most {LARGEST_GRID:,}; give "
            "fewer values, or another sweep.sampler.name"
        )
    if None not in sizes and sweep.n_trials is not None and sweep.n_trials > points:
        yield (
            f"sweep.n_trials: got {sweep.n_trials}, but the grid has {points} points; give at most "
            f"{points}, or null for all"
        )


def _storage(sweep: SweepConfig) -> Iterator[str]:
    given = sweep.storage
    if given is not None and not any(given.startswith(s) and given != s for s in STORAGES):
        yield (
            f"sweep.storage: cannot store a study in '{without_login(given)}'; allowed: "
            "sqlite:///FILE, journal:FILE, postgresql://USER@HOST/DATABASE"
        )


def machine_faults(sweep: SweepConfig, base: Config) -> Iterator[str]:
    """Yield the contradictions between a study and the experiment of each of its trials."""
    trainer, gpus = base.trainer, visible_gpus()
    if trainer.num_nodes > 1:
        yield (
            f"trainer.num_nodes: a trial runs on one machine, got {trainer.num_nodes}; start the "
            "same study on each machine with sweep.storage=postgresql://..."
        )
    if base.resume is not False:
        yield "resume: a study goes on where it was left by itself; leave resume out"
    yield from _objectives_of_folds(sweep, base.data)
    on_gpus = trainer.accelerator != "cpu" and gpus > 0
    if on_gpus and trainer.devices > 1 and sweep.agents * trainer.devices > gpus:
        yield (
            f"sweep.agents: {sweep.agents} agents with {trainer.devices} devices each need "
            f"{sweep.agents * trainer.devices} GPUs, but this machine shows {gpus}"
        )


def _objectives_of_folds(sweep: SweepConfig, data: DataConfig) -> Iterator[str]:
    """Yield the objectives that are of one run where each trial has folds, and the reverse."""
    folds = data.folds is not None and data.fold is None
    for number, objective in enumerate(sweep.objectives):
        key, metric = f"sweep.objectives.{number}.metric", objective.metric
        if is_of_folds(metric) and not folds:
            yield (
                f"{key}: {metric} is of all folds together, but no folds are asked for; give "
                "data.folds=source, group, joints or a number, and no data.fold"
            )
        elif folds and not is_of_folds(metric):
            yield (
                f"{key}: {metric} is of one run, but data.folds={data.folds} makes a trial of "
                f"several; choose {FOLDS}/accuracy, or one fold with data.fold=NAME"
            )
