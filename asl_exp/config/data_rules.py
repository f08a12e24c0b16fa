"""Contradictions between the keys of `data`: what no single field's type or range can say."""

from asl_exp.config.classes import parse_classes
from asl_exp.config.schema import DataConfig

SYNTHETIC_EXTERNAL = "synthetic_external"
"""The external set of the embedded signer, a name that `data.external` knows for every source."""


def data_faults(data: DataConfig) -> list[str]:
    """Return one sentence a fault, each beginning with the key."""
    return [*_source_faults(data), *_class_faults(data), *_split_faults(data)]


def _source_faults(data: DataConfig) -> list[str]:
    faults = []
    if data.source == "folder" and not data.root:
        faults.append(
            "data.root: not given, but data.source=folder reads it; "
            "give data.root=FOLDER with a sub-folder per class"
        )
    if data.source == "manifest" and not data.manifest:
        faults.append(
            "data.manifest: not given, but data.source=manifest reads it; "
            "give data.manifest=FILE.csv with the columns path and label"
        )
    if data.source != "manifest" and data.manifest:
        faults.append(
            f"data.manifest: '{data.manifest}' is given, but data.source={data.source} does not "
            "read it; choose data=manifest or leave it out"
        )
    if data.source not in ("folder", "asl_alphabet") and data.root:
        faults.append(
            f"data.root: '{data.root}' is given, but data.source={data.source} does not read it; "
            "choose data=folder or data=asl_alphabet, or leave it out"
        )
    if data.source != "manifest" and data.sources:
        faults.append(
            f"data.sources: {data.sources} is given, but data.source={data.source} has no column "
            "source; choose data=manifest or leave it out"
        )
    both = sorted(set(data.sources) & set(data.external))
    if both:
        faults.append(
            f"data.external: {', '.join(both)} is also in data.sources; "
            "an external set is never trained on, so name it in one of the two"
        )
    if len(set(data.external)) < len(data.external):
        faults.append(f"data.external: {data.external} names a set twice; name each once")
    return faults


def _class_faults(data: DataConfig) -> list[str]:
    try:
        parse_classes(data.classes)
    except ValueError as error:
        return [f"data.classes: {error}"]
    return []


def _split_faults(data: DataConfig) -> list[str]:
    faults = []
    if data.val_fraction + data.test_fraction >= 1:
        faults.append(
            f"data.val_fraction: {data.val_fraction} and data.test_fraction={data.test_fraction} "
            "leave nothing to train on; their sum must be below 1"
        )
    if data.split == "leave_out" and not data.leave_out:
        faults.append(
            "data.leave_out: empty, but data.split=leave_out tests on the groups it names; "
            "give data.leave_out=[GROUP,...]"
        )
    if data.split != "leave_out" and data.leave_out:
        faults.append(
            f"data.leave_out: {data.leave_out} is given, but data.split={data.split} does not "
            "read it; choose data.split=leave_out or leave it out"
        )
    if data.split == "column" and data.source != "manifest":
        faults.append(
            f"data.split: column needs a manifest with the column split, but data.source="
            f"{data.source}; choose data=manifest or another data.split"
        )
    return faults
