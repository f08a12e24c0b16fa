"""What the benchmarks train on: real photos and weights where they are, else drawn hands."""

from measure import SHARED

PHOTOS = SHARED / "data" / "asl" / "manifest.csv"
WEIGHTS = SHARED / "weights" / "mobilenetv2_100.safetensors"


def material(classes: str | None = None, *, size: int = 100) -> list[str]:
    """Return the overrides of data and backbone: MobileNetV2 1.0 on photos of one signer."""
    kind = ["backbone.name=mobilenetv2_100", f"backbone.image_size={size}"]
    kind += [f"data.classes={classes}"] if classes else []
    kind += [f"backbone.weights={WEIGHTS}"] if WEIGHTS.is_file() else ["backbone.pretrained=false"]
    if not PHOTOS.is_file():
        return [*kind, "data.source=synthetic"]
    return [
        *kind, "data=manifest", f"data.manifest={PHOTOS}", "data.sources=[kaggle_asl_alphabet]",
        "data.external=[roboflow_davidlee]",
    ]  # fmt: skip
