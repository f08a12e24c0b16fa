"""The typed schema of an experiment: every key with its type, unit and range.

The YAML files in conf/ hold the values; this module says what values are possible. It holds no
rule between two fields (see rules.py) and reads no files.
"""

import warnings
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0.0, le=1e30, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
Unit = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
PositiveUnit = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
Spread = Annotated[float, Field(ge=1e-4, le=1.0, allow_inf_nan=False)]
Mean = Annotated[list[Unit], Field(min_length=3, max_length=3)]
Deviation = Annotated[list[Spread], Field(min_length=3, max_length=3)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Some = Annotated[int, Field(ge=1, le=1024)]
"""Of processes, devices, machines."""
Many = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Scalar = bool | int | float | str


def _on_off(value: object) -> object:
    """Take the words that people write for a switch; Hydra's own are true and false."""
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


def _written(value: object) -> object:
    """Return a whole number or a fraction as the text that it is: an address, a folder's name."""
    return str(value) if type(value) in (int, float) else value


Written = Annotated[str, BeforeValidator(_written)]


def _names(value: object) -> object:
    """Take numbers for names of classes: ``[0,1,2]`` are three."""
    if isinstance(value, list):
        return [str(one) if type(one) is int else one for one in value]
    return value


Switch = Annotated[bool, BeforeValidator(_on_off)]


class Group(BaseModel):
    """Base of every configuration group: unknown keys are faults, values are not coerced."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=(), defer_build=True
    )


class BackboneConfig(Group):
    """The network that turns an image into features."""

    name: str = Field("efficientnet_b0", description="any timm model name, or one of ours")
    pretrained: bool = Field(True, description="start from pretrained weights")
    weights: str | None = Field(
        None,
        description="local weights file, or a run or model folder of one's own; null: timm's hub",
    )
    image_size: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        None, description="side of the square input in pixels; null: the weights' own"
    )
    mean: Mean | None = Field(None, description="per channel, of 0..1; null: the weights' own")
    std: Deviation | None = Field(None, description="per channel, of 0..1; null: the weights' own")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = Field(
        None, description="how images are resized; null: the weights' own"
    )
    options: dict[str, Scalar] = Field(
        default_factory=dict, description="further arguments of timm.create_model"
    )


class VariationConfig(Group):
    """Random changes of a hand's joints in training, standard deviations; zero is off.

    Lengths are relative to the hand's reach, from its palm to its farthest joint.
    """

    stretch: Fraction = Field(0.1, description="of the logarithm of width and height")
    shear: Fraction = Field(0.1, description="how far the top moves sideways, of the height")
    tilt: Fraction = Field(0.1, description="of the perspective: how much nearer one side is")
    finger: Fraction = Field(0.05, description="of each finger's length")
    bone: Fraction = Field(0.05, description="of each bone's length")
    noise: Fraction = Field(0.015, description="of each joint's place")
    lost: Fraction = Field(0.0, description="probability that a joint is far off")


class JointNetworkConfig(Group):
    """The network from joints to a vector."""

    width: PositiveCount = Field(256, description="of the vector and of all layers")
    depth: Count = Field(1, description="residual blocks of two layers")
    dropout: Fraction = Field(0.3, description="after each layer")
    input_dropout: Fraction = Field(0.05, description="on the joints' features")


class HandConfig(Group):
    """What is made of the hand in the image before the network sees it."""

    mode: Literal["none", "crop", "joints", "both"] = Field(
        "none",
        description="the image as it is; a square round the hand; 21 joints in place of pixels; "
        "joints beside the square's features",
    )
    detector: Literal["mediapipe", "exact"] = Field(
        "mediapipe", description="exact: the true joints, which the embedded signer alone has"
    )
    model: str | None = Field(
        None, description="mediapipe: hand_landmarker.task; null: fetched once into the cache"
    )
    margin: Annotated[float, Field(ge=0.0, le=2.0)] = Field(
        0.25, description="of the square on each side, of the longer side of the joints' box"
    )
    confidence: Probability = Field(
        0.7, description="below it a hand counts as not found; the detector's own, of 0..1"
    )
    look_again: Switch = Field(
        False,
        description="mediapipe: the joints are looked for again in four squares round the hand, "
        "one of them mirrored, and the answer is the mean of all; training sees the first",
    )
    on_missing: Literal["image", "reject"] = Field(
        "image",
        description="where no hand is found: the whole image in the square's place, or the answer "
        "'no hand', which counts as wrong",
    )
    network: JointNetworkConfig = Field(default_factory=lambda: JointNetworkConfig())
    variation: VariationConfig = Field(default_factory=lambda: VariationConfig())


class HeadConfig(Group):
    """What turns features into class scores."""

    pooling: Literal["avg", "max", "avgmax", "flatten"] = Field(
        "avg", description="how the feature map becomes a vector"
    )
    hidden: Annotated[list[Width], Field(max_length=16)] = Field(
        default_factory=lambda: [256], description="widths of the dense layers before the output"
    )
    activation: Literal["leaky_relu", "relu", "gelu", "linear"] = Field(
        "leaky_relu", description="after each hidden layer"
    )
    negative_slope: NonNegative = Field(
        0.3, description="of leaky_relu; Keras's layer default is 0.3, torch's 0.01"
    )


class RegularizationConfig(Group):
    """What keeps the network from learning its training images by heart."""

    l2: NonNegative = Field(1e-4, description="penalty l2 * sum(w^2) on the head's kernels")
    l2_on: Literal["all", "hidden"] = Field(
        "all", description="the kernels of all dense layers, or all but the output's"
    )
    dropout: Fraction | list[Fraction] = Field(
        0.3,
        description="after each hidden layer (a list: one value each); without any, before "
        "the output",
    )
    feature_dropout: Fraction = Field(0.0, description="on the features, before the head")
    weight_mean: Fraction = Field(
        0.0,
        description="decay a step of the exponential mean of the weights, which is validated and "
        "kept in their place; 0: off",
    )
    label_smoothing: Fraction = Field(0.0, description="share of the target spread over all")


class OptimizerConfig(Group):
    """How gradients become steps. The rates themselves are in `lr`."""

    name: Literal["nadam", "adamw", "sgd"] = Field("nadam", description="which rule of a step")
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(
        default_factory=lambda: [0.9, 0.999], description="nadam, adamw"
    )
    eps: Positive = Field(1e-7, description="nadam, adamw; Keras's value is 1e-7")
    momentum: Fraction = Field(0.0, description="sgd")
    momentum_decay: NonNegative = Field(
        1.0, description="nadam; 1.0 is Keras's formula, torch's default is 4e-3"
    )
    weight_decay: NonNegative = Field(0.0, description="adamw: decoupled, on all kernels")
    clip_norm: Positive | None = Field(None, description="largest gradient norm; null: no limit")


class LearningRateConfig(Group):
    """The learning rate of each phase and its shape over the phase."""

    transfer: Rate = Field(1e-3, description="while the backbone is frozen, or from scratch")
    finetune: Rate = Field(1e-4, description="once the backbone trains as well")
    shape: Literal["constant", "cosine", "plateau"] = Field(
        "constant",
        description="over a phase: as it is; down half a cosine; lower where val/loss rests",
    )
    warmup_epochs: Annotated[float, Field(ge=0.0, le=1_000_000.0)] = Field(
        0.0, description="linear rise from zero, in epochs"
    )
    final_fraction: Fraction = Field(0.01, description="cosine: rate at the end, of the full rate")
    plateau_patience: PositiveCount = Field(3, description="plateau: epochs without improvement")
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.5, description="plateau: the rate is multiplied by this"
    )
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="each earlier group of backbone layers learns this much slower"
    )


class AugmentationConfig(Group):
    """Random changes of the training images, drawn anew for every image. Zero is off."""

    horizontal_flip: Probability = Field(0.0, description="probability")
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = Field(0.0, description="degrees, +/-")
    zoom: Fraction = Field(0.0, description="scale between 1 - zoom and 1 + zoom")
    shift: Fraction = Field(0.0, description="of the image's side, +/-")
    perspective: Fraction = Field(0.0, description="distortion scale")
    brightness: Fraction = Field(0.0, description="factor between 1 - b and 1 + b")
    contrast: Fraction = Field(0.0, description="factor between 1 - c and 1 + c")
    saturation: Fraction = Field(0.0, description="factor between 1 - s and 1 + s")
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = Field(0.0, description="of the colour circle")
    blur: Probability = Field(0.0, description="probability")
    noise: Fraction = Field(0.0, description="standard deviation, of the full range")
    erasing: Probability = Field(0.0, description="probability that a rectangle is erased")
    backlight: Probability = Field(0.0, description="probability of a bright background")
    background: Probability = Field(0.0, description="probability of another background")
    mixup: NonNegative = Field(0.0, description="alpha of the Beta distribution")
    cutmix: NonNegative = Field(0.0, description="alpha of the Beta distribution")


class SyntheticConfig(Group):
    """The embedded signer: how many rendered hands."""

    signers: Annotated[int, Field(ge=3, le=100_000)] = Field(
        12, description="people; the unit of the split"
    )
    images_per_letter: Annotated[int, Field(ge=1, le=100_000)] = Field(
        10, description="of each signer"
    )
    external_signers: Annotated[int, Field(ge=0, le=100_000)] = Field(
        4, description="other people, backlit, in cluttered rooms"
    )
    seed: Seed = Field(0, description="of the images, apart from the experiment's seed")


class DataConfig(Group):
    """Where images come from, and who may be in which split."""

    source: Literal["synthetic", "folder", "manifest", "asl_alphabet", "sign_mnist"] = Field(
        "synthetic", description="drawn hands; your photos by folder or by table; two Kaggle sets"
    )
    root: str | None = Field(None, description="folder with a sub-folder per class")
    manifest: str | None = Field(None, description="CSV with the columns path and label")
    sources: list[str] = Field(
        default_factory=list, description="of the manifest's column source; empty: all but external"
    )
    external: list[str] = Field(
        default_factory=list,
        description="never trained on: names in the column source, folders or manifests",
    )
    joints: list[str] = Field(
        default_factory=list,
        description="CSV or parquet files of joints without images; all their rows are trained on",
    )
    drawn_signers: Count = Field(
        0,
        description="so many drawn signers' joints are trained on as well, one hand a class; each "
        "is a source",
    )
    detected_signers: Annotated[int, Field(ge=0, le=100)] = Field(
        0,
        description="as drawn_signers, but with the joints that the detector finds in pictures of "
        "them, which come with the package; at most 100",
    )
    classes: Annotated[str | list[str] | None, BeforeValidator(_names)] = Field(
        None, description="A-I, [A,B,del], static (24), letters (26), signs (29); null: all found"
    )
    split: Literal["group", "random", "leave_out", "column"] = Field(
        "group",
        description="group never cuts a group; random leaks where images are near-copies; the "
        "shares are data.val_fraction and data.test_fraction, cross-validation is data.folds",
    )
    leave_out: list[str] = Field(
        default_factory=list, description="leave_out: the groups that are the test split"
    )
    folds: Literal["source", "group", "joints"] | Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="one model for each source, each group, each source of data.joints, or each "
        "of so many parts of all groups, which is its test split; their answers are scored "
        "together",
    )
    fold: str | None = Field(
        None, description="one of the folds alone, by its name; null: all, one after the other"
    )
    split_seed: Seed = Field(
        0, description="of the split, apart from the experiment's: seeds are tested on one set"
    )
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.15,
        description="of the images, as near as whole groups allow; decides which epoch is kept",
    )
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.15, description="of the images, likewise; scored once, at the end"
    )
    batch_size: Many | Literal["auto"] = Field(
        64,
        description="images a step, over all devices together; auto: the most that fit, at "
        "most 1024",
    )
    balance: Literal["none", "label", "source"] = Field(
        "none",
        description="each class, or each class of each source, is seen equally often in an epoch",
    )
    balance_at_most: PositiveCount | None = Field(
        None,
        description="of each of them an epoch sees so many rows, drawn anew, or all where there "
        "are fewer; null: an epoch is as long as without, in equal shares",
    )
    resize: Literal["squash", "crop", "pad"] = Field(
        "squash", description="to the square input: ignore the aspect, cut the centre, or pad"
    )
    store: Switch = Field(True, description="keep decoded pixels on disk; off: decode every time")
    cache_dir: str = Field(".cache", description="folder of stored pixels")
    cache_limit_gb: Positive = Field(50.0, description="least recently used files go first")
    max_unreadable: Count = Field(0, description="images that may be left out as unreadable")
    max_megapixels: Positive = Field(100.0, description="larger images are refused undecoded")
    workers: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="decoding processes; 0: one a core where there is much to do"
    )
    synthetic: SyntheticConfig = Field(default_factory=lambda: SyntheticConfig())


class PhaseConfig(Group):
    """One fit: what trains, how fast, for how long, and which epoch is kept."""

    trainable: Literal["head", "last", "all"] = Field(
        ..., description="the head; the head and the backbone's last layers; everything"
    )
    last_layers: PositiveCount | None = Field(
        None, description="trainable=last: layers with weights, counted from the backbone's end"
    )
    epochs: int = Field(..., ge=0, le=1_000_000, description="0 skips the phase")
    lr: Rate = Field(..., description="learning rate; usually ${lr.transfer} or ${lr.finetune}")
    monitor: Literal["val/loss", "val/accuracy", "val/f1_macro"] = Field(
        ..., description="decides which epoch is kept: the lowest loss, the highest of the others"
    )
    keep: Literal["best", "last"] = Field(
        "best", description="the epoch that is kept: the monitor's best, or the last"
    )
    patience: PositiveCount | None = Field(
        None, description="stop after so many epochs without improvement; null: never"
    )
    norm_statistics: Literal["held", "trained"] = Field(
        "held", description="BatchNorm's running mean and variance"
    )
    features: Literal["auto", "always", "never"] = Field(
        "auto", description="what the frozen part makes of each image is stored, not made again"
    )
    views: Many | None = Field(
        None,
        description="augmented views of each image that are stored; epoch e sees view e mod views; "
        "null: 16, or as many as epochs",
    )
    keep_every_epoch: bool = Field(False, description="keep a checkpoint of each epoch as well")
    mix: bool = Field(
        False,
        description="of the weights that it kept and those of the phase before, the mix that is "
        "best on val is what is kept (WiSE-FT)",
    )


class TrainerConfig(Group):
    """The machine."""

    accelerator: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="auto: the GPU where there is one"
    )
    devices: Some = Field(
        1,
        description="GPUs, or processes on the CPU, of each machine: say how many, 'all' is "
        "not supported",
    )
    num_nodes: Some = Field(1, description="machines; each is given the same command")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="of the arithmetic; mixed: weights stay at 32 bits"
    )
    deterministic: bool = Field(True, description="equal seeds give equal bits on one machine")
    accumulate: Many = Field(
        1, description="a step's images come in so many parts, to need less memory"
    )
    channels_last: bool = Field(False, description="memory layout (B, H, W, C) of convolutions")
    compile: bool | Literal["cuda_graphs"] = Field(
        False, description="torch.compile the network; cuda_graphs: a step is replayed as a whole"
    )
    sync_batchnorm: bool = Field(
        False, description="statistics over all GPUs' images, where they are trained"
    )
    state_minutes: Positive = Field(
        10.0, description="inside long epochs the state is written this often, for resume"
    )
    rendezvous: Written | None = Field(
        None, description="host:port of the first machine, the same on all; num_nodes > 1 needs it"
    )
    rendezvous_timeout_s: Many = Field(300, description="wait for the other machines")


# every class has the abc module's method register, which nobody calls on a configuration
warnings.filterwarnings("ignore", message='Field name "register" in "TrackingConfig"')


class TrackingConfig(Group):
    """Where results are kept: always on this machine, and a copy elsewhere if so wished."""

    mode: Literal["local", "server", "dagshub", "off"] = Field(
        "local", description="where a copy of the local record goes; off: no record but the folder"
    )
    experiment: str = Field(
        "asl_exp", min_length=1, max_length=250, description="name of the MLflow experiment"
    )
    uri: str | None = Field(None, description="server: its address, http://host:5000")
    repo: str | None = Field(None, description="dagshub: OWNER/NAME; null: the git remote's")
    required: bool = Field(
        True, description="stop before training if the server refuses; false: train all the same"
    )
    flush_timeout_s: NonNegative = Field(
        30.0, description="wait at the end for what is still to be delivered"
    )
    register: str | None = Field(
        None,
        min_length=1,
        max_length=250,
        description="name in the model registry; null: not registered",
    )


class DebugConfig(Group):
    """Runs that look for faults, in less time; their scores say nothing of a network."""

    batches: Many | None = Field(
        None, description="of each split, no more images than fill so many batches; null: all"
    )
    share: PositiveUnit = Field(1.0, description="of the images of each split, spread over all")
    epochs: Many | None = Field(None, description="of each phase, at most; null: as scheduled")
    one_batch: bool = Field(
        False,
        description="each phase trains on one batch, and is validated on it, until every answer "
        "is right",
    )
    profile: bool = Field(
        False, description="write profile.txt: where the time goes, by stage and by operator"
    )


class EvaluationConfig(Group):
    """What is wanted of the kept model."""

    wanted_accuracy: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        None,
        description="of the answers given: predict says 'not sure' below the threshold that gives "
        "it on val; null: every image gets a letter",
    )


class Config(Group):
    """One experiment."""

    backbone: BackboneConfig
    hand: HandConfig = Field(default_factory=lambda: HandConfig())
    head: HeadConfig
    regularization: RegularizationConfig
    optimizer: OptimizerConfig
    lr: LearningRateConfig
    augmentation: AugmentationConfig
    data: DataConfig
    schedule: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,50}$")], PhaseConfig] = Field(
        ..., min_length=1, description="phases in order"
    )
    trainer: TrainerConfig
    tracking: TrackingConfig
    debug: DebugConfig = Field(default_factory=lambda: DebugConfig())
    evaluation: EvaluationConfig = Field(default_factory=lambda: EvaluationConfig())
    seed: Seed = Field(0, description="of weights, order and augmentation; not of the split")
    name: str | None = Field(
        None, max_length=250, description="of the run; null: made from backbone and data"
    )
    resume: bool | Written = Field(
        False,
        description="true: go on with the newest unfinished run of this configuration; a folder: "
        "with that one, a finished one with more epochs",
    )
    runs_dir: str = Field("runs", min_length=1, description="folder of all runs and their records")


MACHINE_KEYS = (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.rendezvous",
    "trainer.state_minutes",
    "trainer.rendezvous_timeout_s",
    "data.cache_dir",
    "data.cache_limit_gb",
    "data.workers",
    "data.store",
    "hand.model",
    "runs_dir",
    "resume",
    "name",
    "tracking",
)
"""Keys that change where or how fast a run goes, not what it computes: not in its signature.

What a detector's file finds is in the digest of the data. Where a machine has no stored pixels or
no room for features, a phase computes something else; then its signature is that of features=never.
"""

LATER_KEYS: dict[str, object] = {
    "data.balance": "none",
    "data.balance_at_most": None,
    "data.detected_signers": 0,
    "data.drawn_signers": 0,
    "data.fold": None,
    "data.folds": None,
    "data.joints": [],
    "debug.batches": None,
    "debug.epochs": None,
    "debug.one_batch": False,
    "debug.profile": False,
    "debug.share": 1.0,
    "evaluation.wanted_accuracy": None,
    "hand.look_again": False,
    "hand.mode": "none",
    "regularization.weight_mean": 0.0,
    "schedule.*.keep": "best",
    "schedule.*.mix": False,
}
"""Keys that came when there were runs already, and the values that compute what those did.

Such a value, and with hand.mode=none the whole group, is not in the signature.
"""
