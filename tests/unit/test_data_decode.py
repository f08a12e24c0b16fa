"""Every kind of image file, read right or refused with a reason."""

import io
import os
import pickle
import stat
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from made_images import picture, save
from PIL import Image

from asl_exp.data.decode import (
    FORMATS,
    SUFFIXES,
    Geometry,
    Pixels,
    Source,
    UnreadableImageError,
    read_image,
    read_size,
    read_upright,
)


def read(
    source: Source,
    size: int = 16,
    *,
    resize: str = "squash",
    interpolation: str = "bilinear",
    max_megapixels: float = 100.0,
) -> Pixels:
    return read_image(source, Geometry(size, resize, interpolation), max_megapixels)


def plain(colour: object, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (24, 20), colour)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (plain((0, 255, 255, 0), "CMYK"), (255, 0, 0)),
        (plain(200, "L"), (200, 200, 200)),
        (plain(1, "1"), (255, 255, 255)),
        (plain((10, 20, 30, 255), "RGBA"), (10, 20, 30)),
        (plain((0, 0, 0, 0), "RGBA"), (255, 255, 255)),
        (plain((0, 0, 0, 51), "RGBA"), (204, 204, 204)),
        (plain((0, 0), "LA"), (255, 255, 255)),
        (plain((10, 200, 30)).quantize(4), (10, 200, 30)),
    ],
    ids=["cmyk", "grey", "bits", "opaque", "clear", "partly clear", "clear grey", "palette"],
)
def test_modes_become_rgb(image: Image.Image, expected: tuple[int, ...], tmp_path: Path) -> None:
    name = "image.tif" if image.mode == "CMYK" else "image.png"
    pixels = read(save(image, tmp_path / name))
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.reshape(-1, 3).astype(int) - expected).max() <= 1


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    path = save(plain((0, 255, 255, 0), "CMYK"), tmp_path / "image.jpg", quality=95)
    assert np.abs(read(path).reshape(-1, 3).astype(int) - (255, 0, 0)).max() <= 4


def test_16_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 16).astype(np.uint16), (16, 1))
    pixels = read(save(Image.fromarray(ramp), tmp_path / "deep.png"))
    assert pixels[0, :, 0].tolist() == [value // 257 for value in ramp[0].tolist()]


def test_transparent_palette_is_laid_on_white(tmp_path: Path) -> None:
    image = plain(0, "P")
    image.putpalette([255, 0, 0] * 256)
    path = save(image, tmp_path / "image.gif", transparency=0)
    assert (read(path) == 255).all()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_the_first_frame_of_an_animation_is_read(name: str, tmp_path: Path) -> None:
    frames = [plain((250, 0, 0)), plain((0, 0, 250))]
    path = save(frames[0], tmp_path / name, save_all=True, append_images=frames[1:])
    red, _, blue = read(path)[8, 8].tolist()
    assert red > 200
    assert blue < 50


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_orientation_is_applied(orientation: int, name: str, tmp_path: Path) -> None:
    upright = Image.new("RGB", (64, 64))
    upright.paste((255, 255, 255), (0, 0, 32, 32))  # white: top left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what the camera did, as Image.Transpose
    turned = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(turned, tmp_path / name, exif=exif, quality=95)
    pixels = read(path)
    assert np.array_equal(read_upright(path, enough=64, max_megapixels=1)[0][::4, ::4] > 128,
                          pixels > 128)  # fmt: skip
    assert pixels[:6, :6].min() > 200
    assert pixels[10:, :, 0].max() < 60
    assert pixels[:, 10:, 0].max() < 60


def test_resize_rules_differ_where_the_aspect_does(tmp_path: Path) -> None:
    wide = Image.new("RGB", (60, 20), (0, 0, 255))
    wide.paste((255, 0, 0), (20, 0, 40, 20))
    path = save(wide, tmp_path / "wide.png")
    squashed, cropped, padded = (
        read(path, size=12, resize=rule, interpolation="nearest")
        for rule in ("squash", "crop", "pad")
    )
    assert squashed[6, 0].tolist() == [0, 0, 255]
    assert squashed[6, 6].tolist() == [255, 0, 0]
    assert (cropped == (255, 0, 0)).all()
    assert padded[0, 6].tolist() == [0, 0, 0]
    assert padded[6, 6].tolist() == [255, 0, 0]


def test_a_jpeg_read_at_reduced_scale_looks_the_same(tmp_path: Path) -> None:
    path = save(picture(1, 800, 600), tmp_path / "large.jpg", quality=95)
    with Image.open(path) as whole:
        resized = np.asarray(whole.resize((64, 64), Image.Resampling.BILINEAR), int)
    # 0.6 of 255 was measured as the mean; a wrong scale or shift gives 5 and more.
    assert np.abs(read(path, size=64).astype(int) - resized).mean() < 1.5


def test_bytes_and_file_give_the_same_pixels(tmp_path: Path) -> None:
    path = save(picture(2), tmp_path / "a name with späces.jpg")
    assert np.array_equal(read(path), read(path.read_bytes()))


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.jpg"
    whole = io.BytesIO()
    picture(3, 200, 200).save(whole, "JPEG")
    content = {
        "empty": b"",
        "text": b"not an image at all",
        "truncated": whole.getvalue()[: len(whole.getvalue()) // 2],
        "header": whole.getvalue()[:20],
    }
    made: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "socket": lambda: os.mknod(path, stat.S_IFSOCK | 0o600),
        "device": lambda: path.symlink_to("/dev/zero"),
    }
    if kind in content:
        path.write_bytes(content[kind])
    elif kind in made:
        made[kind]()
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "the file is empty"),
        ("text", "not an image"),
        ("truncated", "truncated"),
        ("header", "."),
        ("missing", "no such file"),
        ("folder", "a folder, pipe or device, no regular file"),
        ("pipe", "a folder, pipe or device, no regular file"),
        ("socket", "a folder, pipe or device, no regular file"),
        ("device", "a folder, pipe or device, no regular file"),
    ],
)
def test_unreadable_files_say_why(kind: str, reason: str, tmp_path: Path) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(UnreadableImageError, match=reason) as caught:
        read(path)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)


def test_a_truncated_png_is_refused(tmp_path: Path) -> None:
    path = save(picture(4, 100, 100), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UnreadableImageError):
        read(path)


def test_a_huge_image_is_refused_by_its_header(tmp_path: Path) -> None:
    path = save(Image.new("1", (40_000, 40_000)), tmp_path / "huge.png")
    assert read_size(path) == (40_000, 40_000)
    with pytest.raises(UnreadableImageError, match=r"40000 x 40000 .* data\.max_megapixels=100"):
        read(path)


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImageError("a.jpg", "broken")))
    assert (error.path, error.reason) == ("a.jpg", "broken")


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.ones((8, 8), np.float32)), tmp_path / "a.tif")
    with pytest.raises(UnreadableImageError, match="no known range"):
        read(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_damaged_bytes_are_read_or_refused_but_never_crash(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a hand"
    buffer = io.BytesIO()
    picture(5, 48, 48).save(buffer, kind, **({"exif": exif} if kind == "JPEG" else {}))
    generator = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(buffer.getvalue())
        for place in generator.integers(min(len(content), 300), size=4):
            content[place] = generator.integers(256)
        try:
            assert read(bytes(content), max_megapixels=1.0).shape == (16, 16, 3)
        except UnreadableImageError:
            continue


def test_damaged_orientation_data_do_not_hide_the_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture(5).save(buffer, "JPEG", exif=exif)
    content = buffer.getvalue().replace(b"Exif\x00\x00", b"Exif\x00\x01")
    assert read(content).shape == (16, 16, 3)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.gif", "a.eps"])
@pytest.mark.parametrize("form", ["EPS", "PCX", "TGA", "ICO", "XBM", "SGI"])
def test_only_documented_formats_are_opened(name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if form == "EPS":
        path.write_bytes(EPS)
    else:
        Image.new("1" if form == "XBM" else "RGB", (16, 16)).save(path, form)
    for source in (path, path.read_bytes()):
        for opened in (read_size, read):
            with pytest.raises(UnreadableImageError, match="allowed are JPEG"):
                opened(source)


def ramp(highest: int, channels: int) -> np.ndarray:
    """Return (64, 64, channels) of 16 bits that rise from left to right."""
    row = np.linspace(0, highest, 64).astype(np.uint16)
    return np.repeat(np.tile(row, (64, 1))[..., None], channels, 2)


def deep_png(values: np.ndarray) -> bytes:
    """Return a PNG of 16 bits a channel: (H, W, 3), (H, W, 1) or, transparent, one more."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@pytest.mark.parametrize("opaque", ["as deep", 65535])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_fewer_bits_in_a_file_of_sixteen_are_not_dark(
    bits: int, channels: int, opaque: int | str
) -> None:
    highest = (1 << bits) - 1
    values = ramp(highest, channels)
    if channels in (2, 4):
        values[..., -1] = highest if opaque == "as deep" else opaque
    source = deep_png(values)
    pixels = read(source, size=64, interpolation="nearest")
    assert pixels[0, -1].min() >= 254
    expected = np.linspace(0, 255, 64)
    assert np.abs(pixels[0].astype(float) - expected[:, None]).max() <= 2
    assert np.array_equal(read_upright(source, enough=64, max_megapixels=1)[0], pixels)


def deep_tiff(values: np.ndarray, order: str, packed: bool, white: int = 1) -> bytes:
    """Return a TIFF of 16 bits a channel: (H, W, 1), colours (3), with alpha (4), as CMYK (5)."""
    height, width, channels = values.shape
    kind = {1: white, 3: 2, 4: 2, 5: 5}[channels]
    values = values[..., :4]
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if packed else data
    count = values.shape[2]
    deep = [16] * count
    entries = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", deep),
        (259, "H", [8 if packed else 1]), (262, "H", [kind]), (273, "I", [8]),
        (277, "H", [count]), (278, "I", [height]),
        (279, "I", [len(data)]), *([(338, "H", [2])] if channels == 4 else []),
    ]  # fmt: skip
    table, beyond = struct.pack(f"{order}H", len(entries)), b""
    end = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, form, content in entries:
        packed_content = struct.pack(f"{order}{len(content)}{form}", *content)
        place = packed_content.ljust(4, b"\0")
        if len(place) > 4:
            place = struct.pack(f"{order}I", end + len(beyond))
            beyond += packed_content
        table += struct.pack(f"{order}HHI", tag, 3 if form == "H" else 4, len(content)) + place
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return start + data + table + bytes(4) + beyond


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_fewer_bits_in_a_tiff_of_sixteen_are_not_dark(
    channels: int, bits: int, packed: bool, order: str
) -> None:
    highest = (1 << bits) - 1
    values = ramp(highest, channels)
    if channels > 3:
        values[..., 3] = highest if channels == 4 else 0
    pixels = read(deep_tiff(values, order, packed), size=64, interpolation="nearest")
    expected = np.linspace(0, 255, 64)
    expected = expected[::-1] if channels == 5 else expected  # ink is dark
    assert np.abs(pixels[0].astype(float) - expected[:, None]).max() <= 2


def test_a_tiff_of_sixteen_bits_may_have_white_as_nought() -> None:
    pixels = read(deep_tiff(ramp(65535, 1), "<", False, white=0), size=64, interpolation="nearest")
    assert pixels[0, 0].min() == 255
    assert pixels[0, -1].max() == 0


@pytest.mark.parametrize("brand", ["heic", "heix", "mif1", "hevc", "msf1"])
def test_a_photo_of_a_phone_is_called_what_it_is(brand: str, tmp_path: Path) -> None:
    if "HEIF" in FORMATS:
        pytest.skip("pillow-heif is installed")
    path = tmp_path / "IMG_1.jpg"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand.encode() + bytes(100))
    for source in (path, path.read_bytes()):
        with pytest.raises(UnreadableImageError, match=r"a HEIC photo.*JPEG, PNG.*pillow-heif"):
            read(source)


@pytest.mark.parametrize("ending", [".jpe", ".jp2", ".avif", ".JFIF", ".webp"])
def test_what_the_installed_pillow_reads_is_read(ending: str) -> None:
    if ending.lower() not in SUFFIXES:
        pytest.skip(f"this Pillow does not read {ending}")
    kind = {".jpe": "JPEG", ".jfif": "JPEG", ".jp2": "JPEG2000"}.get(ending.lower(), ending[1:])
    buffer = BytesIO()
    Image.new("RGB", (20, 20), (200, 10, 10)).save(buffer, kind)
    pixels = read(buffer.getvalue())
    assert np.abs(pixels.mean((0, 1)) - (200, 10, 10)).max() < 12
