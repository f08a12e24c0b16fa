"""The order of batches, the share of each rank, and the thread that gathers them."""

import threading

import numpy as np
import pandas as pd
import pytest
import torch

from asl_exp.compat.lightning import without_known_warnings
from asl_exp.data.decode import Pixels
from asl_exp.data.letters import Split
from asl_exp.data.loader import BatchLoader


class Numbered:
    """Image n is filled with n; gathering a row in `broken` raises."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken
        self.gathered = threading.Semaphore(0)

    def gather(self, rows: np.ndarray) -> Pixels:
        if self.broken in rows:
            raise OSError("the disk is gone")
        self.gathered.release()
        return np.broadcast_to(rows[:, None, None, None], (len(rows), 4, 4, 3)).astype(np.uint8)


def split(n_images: int = 23, pixels: Numbered | None = None) -> Split:
    labels = np.arange(n_images) % 3
    table = pd.DataFrame({"path": [str(n) for n in range(n_images)]})
    return Split("train", labels, table, pixels or Numbered(), np.arange(n_images))


def loader(data: Split, batch_size: int = 4, **keys: object) -> BatchLoader:
    return BatchLoader(data, batch_size, **{"shuffle": True, "seed": 0, **keys})


def rows(batches: BatchLoader) -> list[list[int]]:
    return [rows.tolist() for _, _, rows in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


def test_images_labels_and_rows_belong_together() -> None:
    for images, labels, positions in loader(split()):
        assert images.shape[1:] == (3, 4, 4)
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == positions.dtype == torch.int64
        assert torch.equal(images[:, 0, 0, 0].long(), positions)
        assert torch.equal(labels, positions % 3)


def test_every_image_once_an_epoch_in_an_order_of_its_own() -> None:
    batches = loader(split())
    epochs = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        epochs.append(flat(rows(batches)))
    assert all(sorted(one) == list(range(23)) for one in epochs)
    assert epochs[0] == epochs[2]
    assert epochs[0] != epochs[1]
    assert flat(rows(loader(split(), seed=1))) != epochs[0]
    assert flat(rows(loader(split(), batch_size=7))) == epochs[0]


def test_without_shuffling_the_order_is_that_of_the_table() -> None:
    batches = loader(split(), shuffle=False)
    assert flat(rows(batches)) == list(range(23))
    assert len(batches) == 6
    assert [len(one) for one in rows(batches)] == [4, 4, 4, 4, 4, 3]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("n_images", [24, 23, 25, 5, 1])
def test_ranks_together_see_the_batches_of_one_device(
    n_images: int, world_size: int, shuffle: bool
) -> None:
    data = split(n_images)
    one = rows(loader(data, 2 * world_size, shuffle=shuffle))
    ranks = [
        loader(data, 2, shuffle=shuffle, share=(rank, world_size)) for rank in range(world_size)
    ]
    seen = [rows(rank) for rank in ranks]
    assert [len(batches) for batches in seen] == [len(rank) for rank in ranks]
    if shuffle:
        assert {len(batches) for batches in seen} == {len(one)}
    for step, expected in enumerate(one):
        shares = [batches[step] for batches in seen if step < len(batches)]
        if shuffle and len(expected) < world_size:
            assert set(flat(shares)) == set(expected)
        else:
            assert flat(shares) == expected
    if not shuffle:
        assert sorted(flat([flat(batches) for batches in seen])) == list(range(n_images))


def test_an_error_in_the_thread_is_raised_to_the_consumer() -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        list(loader(split(pixels=Numbered(broken=11))))
    assert batch_threads() == []


def batch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_no_thread_outlives_an_iteration_that_stops_early() -> None:
    iterator = iter(loader(split()))
    next(iterator)
    assert len(batch_threads()) == 1
    iterator.close()  # type: ignore[attr-defined]
    assert batch_threads() == []
    for _ in loader(split()):
        break
    assert batch_threads() == []


def test_gathering_overlaps_with_the_consumer() -> None:
    pixels = Numbered()
    iterator = iter(loader(split(pixels=pixels)))
    next(iterator)
    for _ in range(2):  # the first batch is in use, and nobody has asked for the second
        assert pixels.gathered.acquire(timeout=60)
    iterator.close()  # type: ignore[attr-defined]


def test_lightning_trains_with_it() -> None:
    import pytorch_lightning as pl

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3 * 16, 3)
            self.seen: list[int] = []

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            images, labels, positions = batch
            self.seen += positions.tolist()
            scores = self.layer(images.float().flatten(1) / 255)
            return torch.nn.functional.cross_entropy(scores, labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    net = Net()
    with without_known_warnings():
        trainer = pl.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(net, loader(split()))
    assert sorted(net.seen) == sorted([*range(23), *range(23)])
    assert trainer.global_step == 12
    assert batch_threads() == []


@pytest.mark.parametrize(
    ("n_images", "batch_size", "ranks"),
    [(9, 4, 1), (5, 1, 1), (1, 4, 1), (17, 4, 2), (7, 3, 2), (8, 4, 1)],
)
def test_no_image_is_alone_where_pairs_are_wanted(
    n_images: int, batch_size: int, ranks: int
) -> None:
    plain, paired = (
        [loader(split(n_images), batch_size, share=(rank, ranks), pairs=pairs)
         for rank in range(ranks)]
        for pairs in (False, True)
    )  # fmt: skip
    for one, other in zip(plain, paired, strict=True):
        assert len(one) == len(other)
        assert [set(batch) for batch in rows(one)] == [set(batch) for batch in rows(other)]
        assert all(len(batch) > 1 for batch in rows(other))
        assert all(a == b for a, b in zip(rows(one), rows(other), strict=True) if len(a) > 1)
