"""Which parameters train in a phase, and which stay as they are, bit for bit.

Frozen means two things: no gradient, and eval mode held, since a BatchNorm in train mode moves its
statistics and normalises by the batch even when none of its parameters has a gradient.
"""

from torch import nn

from asl_exp.compat.torch import NormBase
from asl_exp.config.errors import ConfigError
from asl_exp.config.schema import PhaseConfig
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.feature_cut import Cut


def trained_layers(model: LetterClassifier, phase: PhaseConfig) -> list[nn.Module]:
    """Return the backbone's layers that train in this phase, in the order of an image."""
    if phase.trainable == "head":
        return []
    if phase.trainable == "all":
        return model.backbone_layers
    wanted, there = phase.last_layers or 0, len(model.backbone_layers)
    if wanted > there:
        raise ConfigError(
            [f"schedule: last_layers={wanted}, but the backbone has {there} layers with weights"]
        )
    return model.backbone_layers[-wanted:]


def set_trainable(model: LetterClassifier, phase: PhaseConfig) -> None:
    """Give gradients to what trains in this phase, and to nothing else."""
    model.backbone.requires_grad_(False)
    for layer in trained_layers(model, phase):
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(True)
    model.head.requires_grad_(True)
    if model.joints is not None:
        model.joints.requires_grad_(True)


def trained_names(module: nn.Module, model: LetterClassifier, phase: PhaseConfig) -> frozenset[str]:
    """Return the names within ``module`` of all tensors of ``model`` that move in this phase."""
    moving = {
        id(tensor)
        for layer in (*_head(model), *trained_layers(model, phase))
        for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    }
    named = (*module.named_parameters(), *module.named_buffers())
    return frozenset(name for name, tensor in named if id(tensor) in moving)


def _head(model: LetterClassifier) -> list[nn.Module]:
    """Return the modules that train in every phase: the head, and the network of joints."""
    joints = model.joints.modules() if model.joints is not None else ()
    return [*model.head.modules(), *joints]


def saves_part(phase: PhaseConfig, cut: Cut | None) -> bool:
    """Return whether checkpoints within the phase hold only what moves.

    A head's epoch on stored features takes a fraction of the time that writing a backbone does.
    """
    return cut is not None and not phase.keep_every_epoch


def hold_frozen(model: LetterClassifier, phase: PhaseConfig) -> None:
    """Put what does not train back into eval mode; call it after every ``train()``."""
    if phase.trainable != "all":
        model.backbone.eval()
        for layer in trained_layers(model, phase):
            layer.training = True
    if phase.norm_statistics == "held":
        for module in model.backbone.modules():
            if isinstance(module, NormBase):
                module.eval()
