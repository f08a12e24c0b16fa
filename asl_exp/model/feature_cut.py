"""Where a partly frozen network is cut in two: what stays the same below, what trains above.

Below the cut an image gives the same numbers in every epoch, so they can be stored; above it the
network goes on from them. Before the head the cut is simple. Inside a backbone it is the input of a
module: the lower part is run as far as that module, and the upper part by sending one blank image
through while that module is handed the stored numbers instead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from asl_exp.model.classifier import LetterClassifier

_TRIED = 3  # images that both ways are compared on


class _ReachedError(Exception):
    """The image has come to the cut."""


@dataclass(frozen=True)
class Cut:
    """A place in a network.

    Attributes:
        module: name within the backbone of the first module above; "" for the head.
        shape: of one image's numbers there.
    """

    module: str
    shape: tuple[int, ...]

    def below(self, model: LetterClassifier, images: torch.Tensor) -> torch.Tensor:
        """Return ``(B, *shape)`` of images ``(B, 3, S, S)`` with values in 0..1."""
        if not self.module:
            return model.features(images)
        reached: list[torch.Tensor] = []

        def stop(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            reached.append(inputs[0])
            raise _ReachedError

        handle = model.backbone.get_submodule(self.module).register_forward_pre_hook(stop)
        try:
            model.features(images)
        except _ReachedError:
            return reached[0]
        finally:
            handle.remove()
        raise ValueError(f"no image comes to {self.module}")

    def above(
        self, model: LetterClassifier, stored: torch.Tensor, **beside: torch.Tensor
    ) -> torch.Tensor:
        """Return the scores ``(B, C)`` of numbers ``(B, *shape)`` from below.

        ``beside`` is what the network sees beside the pixels: joints and has_image of `forward`.
        """
        if not self.module:
            return model.scores(stored, **beside)

        def replace(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (stored, *inputs[1:])

        handle = model.backbone.get_submodule(self.module).register_forward_pre_hook(replace)
        try:
            size = model.image_size
            return model(stored.new_zeros(1, 3, size, size), **beside)  # type: ignore[no-any-return]
        finally:
            handle.remove()


@torch.no_grad()
def find_cut(model: LetterClassifier, trained: Sequence[nn.Module]) -> Cut | None:
    """Return the highest place below all that trains, None where there is no such single place.

    Args:
        model: left as it was.
        trained: the backbone's layers that train, in the order of an image.
    """
    was_training = model.training
    model.eval()
    try:
        device = model.mean.device
        size = model.image_size
        images = torch.rand(_TRIED, 3, size, size, generator=torch.Generator().manual_seed(0)).to(
            device
        )
        return next(_right(model, images, _names(model.backbone, trained)), None)
    finally:
        model.train(was_training)


def _names(backbone: nn.Module, trained: Sequence[nn.Module]) -> Iterator[str]:
    """Yield the first trained layer, then what it is inside of, from the inside out."""
    if not trained:
        yield ""
        return
    path = next(name for name, module in backbone.named_modules() if module is trained[0])
    while path:
        yield path
        path = path.rpartition(".")[0]


def _right(model: LetterClassifier, images: torch.Tensor, names: Iterator[str]) -> Iterator[Cut]:
    """Yield the cuts whose two halves come to what the whole network does."""
    beside = model.any_hands(len(images))
    scores = model(images, **beside)
    for name in names:
        try:
            stored = Cut(name, ()).below(model, images)
            if not isinstance(stored, torch.Tensor) or len(stored) != _TRIED:
                continue
            cut = Cut(name, tuple(stored.shape[1:]))
            halves = cut.above(model, stored, **beside)
        except (RuntimeError, ValueError, IndexError):
            continue  # a way around the module needs the image itself
        if halves.shape == scores.shape and torch.allclose(halves, scores, rtol=1e-4, atol=1e-5):
            yield cut
