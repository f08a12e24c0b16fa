"""The audit as one HTML file that needs nothing else; sheets of small images are inside it."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from asl_exp.config import readable
from asl_exp.config.documents import html_document, html_image, html_table
from asl_exp.config.schema import AugmentationConfig
from asl_exp.data.audit.findings import DOUBT, TRAIN, Findings
from asl_exp.data.decode import Pixels
from asl_exp.data.fonts import write
from asl_exp.data.letters import LetterData, Split
from asl_exp.data.near_duplicates import THRESHOLD


def html_page(findings: Findings, augmentation: AugmentationConfig) -> str:
    """Return the whole page."""
    data, facts = findings.data, findings.to_dict()
    sections = [
        _verdict(findings),
        _splits(facts),
        _pairs(findings),
        _suspects(findings),
        _counts(facts, "class", "classes", data.classes),
        _groups(facts),
        _left_out(data.unreadable),
        "<h2>What the network sees in training</h2><p>The first image of a row is as it is stored, "
        "the others are random changes of it.</p>",
        _image(augmented_sheet(data.splits[TRAIN], augmentation, len(data.classes))),
        *(
            f"<h2>{escape(name)}</h2>{_image(contact_sheet(split, data.classes))}"
            for name, split in data.splits.items()
        ),
    ]
    return html_document("Audit of the data", "\n".join(sections))


def _verdict(findings: Findings) -> str:
    data = findings.data
    rule = f"<code>data.split={escape(data.split_rule)}</code>"
    if not findings.leaks and data.caution:
        return (
            f"<p class='note unsure'><b>{escape(data.caution)}</b> ({rule}). No image of "
            "val, test or an external set has a copy or near-copy among the training images; "
            f"{escape(DOUBT[data.grouping.kind])}</p>"
        )
    if not findings.leaks:
        return (
            "<p class='note good'>No image of val, test or an external set has a copy or "
            f"near-copy among the training images, and no group is cut ({rule}).</p>"
        )
    others = [name for name in data.splits if name != TRAIN]
    copies = _parts({name: sum(findings.leaked(name)) for name in others})
    mates = _parts({name: findings.group_mates(name) for name in others})
    return (
        f"<p class='note bad'>The split leaks ({rule}). Images with a copy or near-copy among "
        f"the training images: {copies}. Images of a group that is trained on: {mates}. Scores on "
        "them measure memory.</p>"
    )


def _parts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} of {escape(name)}" for name, count in counts.items() if count) or (
        "none"
    )


def _splits(facts: dict[str, Any]) -> str:
    header = [
        "split", "images", "classes", "groups", "exact copies in train", "near copies in train",
        "of groups in train",
        "brightness", "width", "height",
    ]  # fmt: skip
    rows = [
        [
            name, f"{one['n_images']:,}", len(one["classes"]),
            "unknown" if facts["groups"] == "unknown" else len(one["groups"]),
            one["exact_copies_in_train"], one["near_copies_in_train"],
            one["of_groups_in_train"],
            _span(one["brightness"]), _span(one["width"]), _span(one["height"]),
        ]
        for name, one in facts["splits"].items()
    ]  # fmt: skip
    note = (
        "<p>Lowest, median and highest; brightness of 0 to 255, sizes of the files in pixels.</p>"
    )
    return "<h2>Splits</h2>" + note + html_table(header, rows)


def _pairs(findings: Findings) -> str:
    pairs = findings.with_train.head(SHOWN_PAIRS)
    if pairs.empty:
        return ""
    figures = "".join(_pair_figure(findings, pairs.iloc[row]) for row in range(len(pairs)))
    return (
        f"<h2>Pairs across train and the rest</h2><p>{len(findings.with_train):,} pairs; the "
        f"closest {len(pairs)} are shown. Near means that at most {THRESHOLD} of 256 bits of a "
        f"perceptual hash differ.</p><div class='pairs'>{figures}</div>"
    )


def _pair_figure(findings: Findings, pair: "pd.Series[Any]") -> str:
    first, second = int(pair["first"]), int(pair["second"])
    caption = f"{pair['kind']}, {pair['bits']} of 256 bits differ"
    lines = "".join(
        f"<br>{escape(str(row.split))}: {escape(str(row.key))}"
        for row in findings.images.iloc[[first, second]].itertuples()
    )
    image = _image(pair_image(findings, first, second))
    return f"<figure>{image}<figcaption>{escape(caption)}{lines}</figcaption></figure>"


_SHOWN_SUSPECTS: Final = 60


def _suspects(findings: Findings) -> str:
    """Return a gallery of the images whose label is likely wrong, the most suspected first."""
    found = findings.suspects
    if found is None:
        return ""
    figures = "".join(
        f"<figure>{_image(single_image(findings.data, str(one.split), int(str(one.row))))}"
        f"<figcaption>labelled <b>{escape(str(one.label))}</b> "
        f"({_probability(one.own)}), answered "
        f"<b>{escape(str(one.predicted))}</b> ({_probability(one.probability)})<br>"
        f"{escape(str(one.split))}: {escape(str(one.path))}</figcaption></figure>"
        for one in found.head(_SHOWN_SUSPECTS).itertuples()
    )
    return (
        f"<h2>Likely wrong labels</h2><p>{len(found):,} images, of which {_SHOWN_SUSPECTS} at most "
        "are shown, the most suspected first; beside each class its probability by a model that "
        "was not trained on the image. The model may be wrong as well: look before a label is "
        f"changed.</p><div class='pairs'>{figures}</div>"
    )


_GROUP_ROWS: Final = 60


def _groups(facts: dict[str, Any]) -> str:
    sections = []
    known = [("source", "sources"), ("group", "groups")]
    for title, key in known[:1] if facts["groups"] == "unknown" else known:
        counts: Counter[str] = sum(
            (Counter(one[key]) for one in facts["splits"].values()), Counter()
        )
        alone = {name for name in counts if name.startswith("near:") and counts[name] == 1}
        names = sorted(counts.keys() - alone)
        sections.append(_counts(facts, title, key, names[:_GROUP_ROWS]))
        if len(names) > _GROUP_ROWS:
            sections.append(f"<p>and {len(names) - _GROUP_ROWS:,} more</p>")
        if alone:
            sections.append(f"<p>and {len(alone):,} images without a group, none like another</p>")
    return "".join(sections)


def _counts(facts: dict[str, Any], title: str, key: str, names: Sequence[str]) -> str:
    """Return how many images of each name each split has."""
    splits = facts["splits"]
    rows = [[name, *(one[key].get(name, 0) for one in splits.values())] for name in names]
    return f"<h2>Images by {title}</h2>{html_table([title, *splits], rows)}"


def _left_out(unreadable: Sequence[str]) -> str:
    if not unreadable:
        return ""
    items = "".join(f"<li>{escape(one)}</li>" for one in unreadable)
    return f"<h2>Left out as unreadable</h2><ul>{items}</ul>"


def _span(values: dict[str, float]) -> str:
    shown = [f"{value:.0f}" for value in values.values()]
    if shown == ["0", "0", "0"]:
        return "any"  # drawn, not read from a file
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)


def _probability(value: object) -> str:
    return escape(readable.score(float(str(value))))


def _image(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return html_image(buffer.getvalue(), "jpeg")


_SIDE: Final = 72
_GAP: Final = 2
_LABEL_WIDTH: Final = 64
_A_CLASS: Final = 10
_AUGMENTED_ROWS: Final = 8
_AUGMENTED_COLUMNS: Final = 10
SHOWN_PAIRS: Final = 24


def contact_sheet(split: Split, classes: tuple[str, ...]) -> Image.Image:
    """Show ten images of each class, spread over the split, a row a class."""
    rows = []
    for index in range(len(classes)):
        found = np.flatnonzero(split.labels == index)
        n_shown = min(_A_CLASS, len(found))
        spread = found[np.linspace(0, len(found) - 1, n_shown).astype(np.int64)]
        rows.append([_small(image) for image in split.gather(spread)] if n_shown else [])
    return _grid(rows, list(classes))


def augmented_sheet(split: Split, config: AugmentationConfig, n_classes: int) -> Image.Image:
    """Show a few training images, each followed by nine random changes of it."""
    import torch

    from asl_exp.data.augmentation import Augmentation

    chosen = np.linspace(0, len(split) - 1, min(_AUGMENTED_ROWS, len(split))).astype(np.int64)
    pixels = split.gather(chosen)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(split.labels[chosen])
    augmentation = Augmentation(config, n_classes)
    columns = [pixels]
    for seed in range(_AUGMENTED_COLUMNS - 1):
        changed, _ = augmentation(images, labels, seed=seed)
        columns.append((changed.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8))
    rows = [[_small(column[row]) for column in columns] for row in range(len(chosen))]
    names = split.table["label"].iloc[chosen].tolist()
    return _grid(rows, [str(name) for name in names])


def pair_image(findings: Findings, first: int, second: int) -> Image.Image:
    """Show two images of the audit side by side."""
    both = [_small(_pixels(findings, row), 2 * _SIDE) for row in (first, second)]
    return _grid([both], [""], side=2 * _SIDE, label_width=0)


def single_image(data: LetterData, split: str, row: int) -> Image.Image:
    """Show one image of a split."""
    return _small(data.splits[split].gather(np.array([row]))[0], 2 * _SIDE)


def _pixels(findings: Findings, row: int) -> Pixels:
    """Return (S, S, 3) of a row of the audit's table, in which the splits follow each other."""
    name = str(findings.images["split"].iloc[row])
    first = int((findings.images["split"] == name).to_numpy().argmax())
    pixels: Pixels = findings.data.splits[name].gather(np.array([row - first]))[0]
    return pixels


def _small(pixels: Pixels, side: int = _SIDE) -> Image.Image:
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)


def _grid(
    rows: list[list[Image.Image]],
    names: list[str],
    side: int = _SIDE,
    label_width: int = _LABEL_WIDTH,
) -> Image.Image:
    """Lay images out in rows, each with its name on the left."""
    step = side + _GAP
    width = label_width + step * max(len(row) for row in rows)
    sheet = Image.new("RGB", (width, step * len(rows)), (255, 255, 255))
    for top, (name, row) in enumerate(zip(names, rows, strict=True)):
        write(sheet, (4, top * step + side // 2 - 8), name, "#282828")
        for left, image in enumerate(row):
            sheet.paste(image, (label_width + left * step, top * step))
    return sheet
