"""What a network's answer rested on: places in the pixels that it saw, and joints of the hand.

Pixels are weighed by Grad-CAM (Selvaraju et al., ICCV 2017) on the backbone's last feature map,
whatever the network: a map of a convolutional one, patches of a transformer. It takes a channel to
speak for a letter equally in all places, which is so where places are pooled; where the head sees
them one by one (pooling=flatten), HiResCAM (Draelos and Carin, 2020) takes its place. Joints are
weighed by how fast the letter's probability changes when one is moved in the picture. Both say what
an answer hung on, not whether it is right; both are drawn into the picture here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw
from torch import Tensor, nn

from asl_exp.config.errors import UserError
from asl_exp.data.decode import Pixels, read_upright
from asl_exp.data.hands.features import KNUCKLES
from asl_exp.data.hands.hand import FINGERS, N_JOINTS, NO_HAND, Floats
from asl_exp.model.classifier import LetterClassifier
from asl_exp.model.recognizer import Recognizer, Seen

_PHOTO: Final = 640
"""Sides in pixels at which a photo is shown whose pixels the network did not see."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What one answer rested on.

    Attributes:
        letter: the class that is explained; "no hand" where the model did not guess.
        image: (H, W, 3) what the network saw; the photo where it saw the hand's joints alone.
        heat: (H, W) of 0..1, where the pixels spoke for the letter; None where it saw none, where
            it did not guess, and for a backbone whose features have no places.
        joints: (21, 2) in pixels of `image`; None where none were looked for or found.
        joint_weights: (21,) of 0..1, of which the largest is 1; None where it saw no joints.
    """

    letter: str
    image: Pixels
    heat: Floats | None
    joints: Floats | None
    joint_weights: Floats | None


def explain(
    recognizer: Recognizer, source: Path | bytes, *, letter: str | None = None
) -> Explanation:
    """Return what an answer for an image rested on.

    Args:
        source: the image, a file or its bytes.
        letter: the class that is asked for; None: the model's answer.

    Raises:
        UnreadableImageError: with the reason.
        UserError: the model does not know the letter, or the extra `explain` is not installed.
    """
    seen = recognizer.look(source)
    classes = recognizer.kept.classes
    if letter is not None and letter not in classes:
        raise UserError(f"{letter}: the model knows the letters {', '.join(classes)}")
    answer = recognizer.recognize([seen]).iloc[0]
    guessed = answer["letter"] != NO_HAND
    likeliest = answer.filter(like="probability/").astype(float).to_numpy().argmax()
    chosen = letter or (classes[likeliest] if guessed else NO_HAND)
    image, joints = _shown(recognizer, source, seen)
    if chosen == NO_HAND:
        return Explanation(NO_HAND, image, None, joints, None)
    model, index = recognizer.kept.model, classes.index(chosen)
    heat = _heat(model, seen, index) if model.sees_pixels else None
    return Explanation(chosen, image, heat, joints, _joint_weights(model, seen, index))


def _shown(
    recognizer: Recognizer, source: Path | bytes, seen: Seen
) -> tuple[Pixels, Floats | None]:
    """Return the image to show, and the joints in its pixels."""
    if recognizer.kept.model.sees_pixels:
        found = seen.joints is not None and seen.found
        size = len(seen.pixels)
        if not found or seen.joints is None:
            return seen.pixels, None
        return seen.pixels, seen.joints[:N_JOINTS, :2] * size
    from asl_exp.data.hands.hand_store import find_in

    limit = recognizer.kept.config.data.max_megapixels
    photo, (width, height) = read_upright(source, enough=_PHOTO, max_megapixels=limit)
    shown = Image.fromarray(photo)
    shown.thumbnail((_PHOTO, _PHOTO))
    if not seen.found or recognizer.detector is None:
        return np.asarray(shown), None
    hand = find_in(recognizer.detector, source, limit)
    scale = np.array([shown.width / width, shown.height / height], np.float32)
    return np.asarray(shown), hand.joints[:, :2] * scale


def _inputs(model: LetterClassifier, seen: Seen) -> tuple[Tensor, Tensor | None]:
    """Return images (1, 3, S, S) and joints (1, 21 K, 3) as the network takes them."""
    device = model.mean.device
    images = torch.from_numpy(seen.pixels.copy()).permute(2, 0, 1)[None].to(device).float() / 255.0
    joints = None
    if model.joints is not None and seen.joints is not None:
        joints = torch.from_numpy(seen.joints)[None].to(device)
    return images, joints


def _heat(model: LetterClassifier, seen: Seen, index: int) -> Floats | None:
    """Return Grad-CAM's map (S, S) for a class; None where the features have no places."""
    try:
        from pytorch_grad_cam import GradCAM, HiResCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise UserError(
            f'explaining needs grad-cam, which is not installed ({error}); pip install "asl-exp'
            '[explain]"'
        ) from error
    images, joints = _inputs(model, seen)
    with torch.no_grad():
        normalised = (images - model.mean) / model.std
        features = model.backbone.forward_features(normalised)  # type: ignore[operator]
    if features.ndim < 3:
        return None
    above = _AboveFeatures(model, features, joints)
    method = HiResCAM if model.pooling.how == "flatten" else GradCAM
    with method(above, [above.features], _as_map(model)) as cam, torch.enable_grad():
        heat = cam(images, [ClassifierOutputTarget(index)])[0]
    model.zero_grad(set_to_none=True)
    clean: Floats = np.clip(np.nan_to_num(heat), 0, 1).astype(np.float32)
    return clean


class _AboveFeatures(nn.Module):
    """The network above a feature map that is known: no gradient goes into the backbone."""

    def __init__(self, model: LetterClassifier, known: Tensor, joints: Tensor | None) -> None:
        super().__init__()
        self.features, self.pooling, self.head = nn.Identity(), model.pooling, model.head
        self._known = known.requires_grad_()
        self._scores, self._joints = model.scores, joints

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (1, C); the images give Grad-CAM its size alone."""
        scores: Tensor = self._scores(self.pooling(self.features(self._known)), self._joints)
        return scores


def _as_map(model: LetterClassifier) -> Callable[[Tensor], Tensor]:
    """Return what makes a map (B, C, H, W) of features as the backbone gives them."""
    pooling = model.pooling

    def reshaped(features: Tensor) -> Tensor:
        if features.ndim == 3:  # tokens: the leading ones are no patches, the others a square
            patches = features[:, pooling.n_prefix_tokens :]
            n_images, n_patches, width = patches.shape
            side = int(n_patches**0.5)
            square = patches[:, : side * side].reshape(n_images, side, side, width)
            return square.permute(0, 3, 1, 2)
        return features.permute(0, 3, 1, 2) if pooling.channels_last else features

    return reshaped


def _joint_weights(model: LetterClassifier, seen: Seen, index: int) -> Floats | None:
    """Return how far the letter's log-probability depends on each joint, the most on 1."""
    images, joints = _inputs(model, seen)
    if joints is None or not seen.found:
        return None
    with torch.no_grad():
        features = model.features(images) if model.sees_pixels else None
    with torch.enable_grad():
        joints = joints.clone().requires_grad_()
        score = model.scores(features, joints).log_softmax(1)[0, index]
        (gradient,) = torch.autograd.grad(score, joints)
    of_looks = gradient[0, :, :2].nan_to_num().norm(dim=1).unflatten(0, (-1, N_JOINTS))
    strength: Floats = of_looks.sum(0).cpu().numpy()
    return strength / np.float32(max(float(strength.max()), 1e-12))


SIDE: Final = 448
"""Pixels of the longer side of a picture."""

BONES: Final = (
    *((0, finger[0]) for finger in FINGERS),
    *(pair for finger in FINGERS for pair in pairwise(finger)),
    *pairwise(KNUCKLES),
)
"""Pairs of joints between which a line is drawn."""

_STRENGTH: Final = 0.55
"""Opacity of the hottest place."""

_FINE: Final = 4
"""Lines are drawn so many times as large, then made smaller: Pillow draws them with steps."""
_LINE, _EDGE = (255, 255, 255, 230), (20, 20, 20, 160)


def picture(explained: Explanation, *, heat: bool = True, joints: bool = True) -> Image.Image:
    """Return an RGB picture of SIDE pixels on its longer side.

    Args:
        heat: whether places that spoke for the letter are coloured, from blue to red.
        joints: whether the hand is drawn; larger and redder joints mattered more where the
            network saw joints.
    """
    image = Image.fromarray(explained.image)
    scale = SIDE / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    shown = image.resize(size, Image.Resampling.BICUBIC)
    if heat and explained.heat is not None:
        shown = Image.fromarray(_heated(np.asarray(shown), explained.heat))
    if joints and explained.joints is not None:
        drawn = _hand(size, explained.joints * scale, explained.joint_weights)
        shown.paste(drawn, (0, 0), drawn)
    return shown


def _heated(pixels: Pixels, heat: Floats) -> Pixels:
    """Return pixels (H, W, 3) coloured where there is heat; where there is none they stay."""
    fitted = Image.fromarray(heat).resize((pixels.shape[1], pixels.shape[0]))
    share = np.clip(np.asarray(fitted), 0, 1)
    colour = colormaps["turbo"](share)[..., :3] * 255
    opacity = _STRENGTH * share[..., None]
    mixed: Pixels = (pixels * (1 - opacity) + colour * opacity).astype(np.uint8)
    return mixed


def _hand(size: tuple[int, int], joints: Floats, weights: Floats | None) -> Image.Image:
    """Return a transparent picture of a hand, joints (21, 2) in its pixels."""
    drawn = Image.new("RGBA", (size[0] * _FINE, size[1] * _FINE))
    pen = ImageDraw.Draw(drawn)
    points = [(x * _FINE, y * _FINE) for x, y in joints.tolist()]
    for width, colour in ((4.5, _EDGE), (2, _LINE)):
        for first, second in BONES:
            pen.line((*points[first], *points[second]), fill=colour, width=int(width * _FINE))
    shades = np.zeros(len(points)) if weights is None else weights
    for (x, y), shade in zip(points, shades.tolist(), strict=True):
        radius = (3.5 + 6 * shade) * _FINE
        red, green, blue = (int(255 * c) for c in colormaps["YlOrRd"](0.15 + 0.75 * shade)[:3])
        fill = (86, 180, 233, 255) if weights is None else (red, green, blue, 255)
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, fill=fill, outline=(20, 20, 20, 255), width=_FINE)
    return drawn.resize(size, Image.Resampling.LANCZOS)
