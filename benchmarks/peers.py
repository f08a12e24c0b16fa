"""The peers that asl_exp is measured against, each as its own documentation has it.

All train the same head on the same frozen backbone, with the same optimizer and batches of the same
size; what differs is how images come to it.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy

from asl_exp.data.letters import LetterData
from asl_exp.model.classifier import LetterClassifier

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def in_memory(
    inputs: torch.Tensor, labels: torch.Tensor, batch_size: int, *, shuffle: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of tensors that are in memory already."""
    order = torch.randperm(len(labels)) if shuffle else torch.arange(len(labels))
    for rows in order.to(labels.device).split(batch_size):
        yield inputs[rows], labels[rows]


def optimizer_of(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Return the optimizer that asl_exp takes by default."""
    return torch.optim.NAdam(parameters, lr=lr, eps=1e-7, momentum_decay=1.0)


class BareLoop:
    """A PyTorch loop: a step a batch, then validation; the loss is read once an epoch.

    Args:
        model: what is called with a batch's inputs.
        trained: its parameters that train.
        l2: penalty on ``kernels``.
    """

    def __init__(
        self,
        model: nn.Module,
        trained: list[nn.Parameter],
        *,
        lr: float,
        l2: float,
        kernels: list[torch.Tensor],
        train_mode: nn.Module,
    ) -> None:
        self.model, self.l2, self.kernels, self.train_mode = model, l2, kernels, train_mode
        self.optimizer = optimizer_of(trained, lr)

    def epoch(self, train: Batches, val: Batches) -> tuple[float, float, float]:
        """Return mean training loss, validation loss and accuracy."""
        self.model.eval()
        self.train_mode.train()
        losses, n_images = torch.zeros(()), 0
        for inputs, labels in train:
            loss = cross_entropy(self.model(inputs), labels)
            penalty = sum((kernel.square().sum() for kernel in self.kernels), torch.zeros(()))
            self.optimizer.zero_grad()
            (loss + self.l2 * penalty).backward()
            self.optimizer.step()
            losses = losses.to(loss.device) + loss.detach() * len(labels)
            n_images += len(labels)
        return float(losses) / n_images, *self.validate(val)

    @torch.no_grad()
    def validate(self, val: Batches) -> tuple[float, float]:
        self.model.eval()
        loss, hits, n_images = torch.zeros(()), torch.zeros(()), 0
        for inputs, labels in val:
            scores = self.model(inputs)
            loss = loss.to(scores.device) + cross_entropy(scores, labels, reduction="sum")
            hits = hits.to(scores.device) + (scores.argmax(1) == labels).sum()
            n_images += len(labels)
        return float(loss) / n_images, float(hits) / n_images


class FromBytes(nn.Module):
    """The network on uint8 images."""

    def __init__(self, network: LetterClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.float() / 255.0)  # type: ignore[no-any-return]


class Normalised(nn.Module):
    """The network on images that a peer's own transforms have normalised."""

    def __init__(self, network: LetterClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.network.pooling(self.network.backbone.forward_features(images))
        return self.network.head(found)  # type: ignore[no-any-return]


def image_folders(data: LetterData, folder: Path) -> Path:
    """Lay train and val out as a folder a class, of the photos themselves where there are files."""
    for name in ("train", "val"):
        split = data.splits[name]
        for number, (path, label) in enumerate(zip(split.table["path"], split.labels, strict=True)):
            place = folder / name / f"{label:04d}" / f"{number:06d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            if Path(str(path)).is_file():
                shutil.copy(str(path), place)
            else:
                Image.fromarray(split.gather(np.array([number]))[0]).save(place, quality=95)
    return folder


def timm_loader(folder: Path, size: int, batch_size: int, *, training: bool, **kind: Any) -> Any:
    """Return timm's own loader, without augmentation."""
    from timm.data import create_dataset, create_loader

    root = str(folder / ("train" if training else "val"))
    dataset = create_dataset("", root=root)
    return create_loader(
        dataset, input_size=(3, size, size), batch_size=batch_size, is_training=training,
        no_aug=True, use_prefetcher=kind.pop("prefetcher", False), crop_pct=1.0, **kind,
    )  # fmt: skip


class TutorialModule(pl.LightningModule):
    """A LightningModule as tutorials write it: frozen backbone, torchmetrics, self.log."""

    def __init__(self, model: nn.Module, head: nn.Module, n_classes: int, lr: float, l2: float):
        super().__init__()
        from torchmetrics.classification import MulticlassAccuracy

        self.model, self.head, self.l2 = model, head, l2
        self.accuracy = MulticlassAccuracy(n_classes, average="micro")
        self.history: list[float] = []
        self.optimizer = optimizer_of(head.parameters(), lr)  # kept over several fits

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        loss = cross_entropy(self.model(images), labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss + self.l2 * sum(p.square().sum() for p in self.head.parameters() if p.ndim > 1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        scores = self.model(images)
        self.accuracy(scores, labels)
        self.log("val/loss", cross_entropy(scores, labels))
        self.log("val/accuracy", self.accuracy)

    def on_validation_epoch_end(self) -> None:
        self.history.append(float(self.accuracy.compute()))

    def configure_optimizers(self) -> Any:
        return self.optimizer


def tutorial_loaders(folder: Path, size: int, batch_size: int, mean: Any, std: Any) -> Any:
    """Return torchvision's ImageFolder in PyTorch's loader, for train and val."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    change = transforms.Compose(
        [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(mean, std)]
    )
    return [
        DataLoader(ImageFolder(str(folder / name), change), batch_size, shuffle=name == "train")
        for name in ("train", "val")
    ]
