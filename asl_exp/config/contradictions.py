"""Rules between fields: what is allowed alone but not together."""

import os

from asl_exp.config.data_rules import data_faults
from asl_exp.config.schema import Config, PhaseConfig
from asl_exp.config.tracking_rules import tracking_faults


def contradictions(config: Config) -> list[str]:
    """Return one sentence for each contradiction, beginning with the key to change."""
    faults = [
        *_backbone(config),
        *_head(config),
        *_schedule(config),
        *_trainer(config),
        *data_faults(config.data),
        *tracking_faults(config.tracking),
    ]
    if config.optimizer.momentum and config.optimizer.name != "sgd":
        faults.append(
            f"optimizer.momentum: {config.optimizer.momentum} has no meaning for "
            f"{config.optimizer.name}; set it to 0 or choose optimizer=sgd"
        )
    return faults


def _backbone(config: Config) -> list[str]:
    backbone = config.backbone
    if backbone.weights is not None and not backbone.pretrained:
        return [
            "backbone.weights: a file is given but backbone.pretrained=false would not load it; "
            "leave one of the two out"
        ]
    return []


def _head(config: Config) -> list[str]:
    dropout, hidden = config.regularization.dropout, config.head.hidden
    if isinstance(dropout, list) and len(dropout) != len(hidden):
        return [
            f"regularization.dropout: {len(dropout)} values for {len(hidden)} hidden layers "
            f"(head.hidden={hidden}); give one value, or one for each layer"
        ]
    return []


def _schedule(config: Config) -> list[str]:
    faults = []
    if all(phase.epochs == 0 for phase in config.schedule.values()):
        phases = ", ".join(config.schedule)
        faults.append(f"schedule: every phase has 0 epochs ({phases}); give one of them epochs")
    for name, phase in config.schedule.items():
        faults += _phase(f"schedule.{name}", phase)
    return faults


def _phase(key: str, phase: PhaseConfig) -> list[str]:
    faults = []
    if (phase.trainable == "last") != (phase.last_layers is not None):
        faults.append(
            f"{key}.last_layers: got {phase.last_layers} with trainable={phase.trainable}; "
            "it is the number of layers for trainable=last, and null otherwise"
        )
    if phase.trainable == "head" and phase.norm_statistics == "trained":
        faults.append(
            f"{key}.norm_statistics: 'trained' contradicts trainable=head, which freezes the "
            "backbone with its statistics; use held"
        )
    return faults + _features(key, phase)


def _features(key: str, phase: PhaseConfig) -> list[str]:
    faults = []
    if phase.trainable == "all" and (phase.features == "always" or phase.views is not None):
        wrong = f"features: {phase.features}" if phase.views is None else f"views: {phase.views}"
        faults.append(
            f"{key}.{wrong} contradicts trainable=all, where no part stays the same and can be "
            "stored; leave it out"
        )
    if phase.views is not None and phase.views > max(1, phase.epochs):
        faults.append(
            f"{key}.views: {phase.views} views in {phase.epochs} epochs; epoch e sees view e mod "
            "views, so more views than epochs are never seen; give at most the epochs"
        )
    return faults


def _trainer(config: Config) -> list[str]:
    trainer, batch_size = config.trainer, config.data.batch_size
    faults = []
    if trainer.precision == "16-mixed" and trainer.accelerator == "cpu":
        faults.append("trainer.precision: 16-mixed needs a GPU; on the CPU use 32-true")
    if trainer.num_nodes > 1 and trainer.rendezvous is None and "SLURM_JOB_ID" not in os.environ:
        faults.append(
            f"trainer.rendezvous: {trainer.num_nodes} machines need an address to meet; give the "
            "same host:port of the first machine on all, or start under SLURM"
        )
    parts = trainer.devices * trainer.num_nodes * trainer.accumulate
    if batch_size != "auto" and batch_size % parts:
        faults.append(
            f"data.batch_size: {batch_size} images cannot be shared equally by "
            f"{trainer.devices * trainer.num_nodes} devices in {trainer.accumulate} parts; "
            f"choose a multiple of {parts}"
        )
    if trainer.sync_batchnorm and trainer.accelerator == "cpu":
        faults.append("trainer.sync_batchnorm: needs GPUs; set it to false on the CPU")
    return faults
