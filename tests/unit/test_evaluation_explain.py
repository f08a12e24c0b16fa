"""Explanations point at what an answer rested on, for every form of a backbone's features."""

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from asl_exp.config.compose import compose_config
from asl_exp.config.errors import UserError
from asl_exp.config.schema import Config
from asl_exp.data.hands.found import rendered_hands
from asl_exp.data.hands.hand import NO_HAND, Hand, no_hand
from asl_exp.data.sources.synthetic import PREFIX
from asl_exp.evaluation.explain import SIDE, explain, picture
from asl_exp.model.backbone import Preprocessing
from asl_exp.model.classifier import Head, LetterClassifier, Pooling, build_classifier
from asl_exp.model.recognizer import KeptModel, Recognizer

S = 64
COLOURS = ("red", "green", "blue")
PREPARED = Preprocessing(S, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")


@cache
def composed() -> Config:
    return compose_config(
        ["hand=crop", "hand.detector=exact", "backbone.name=asl_small_cnn", "head=linear",
         "backbone.pretrained=false", "data.classes=A-C", "regularization.dropout=0"]
    )  # fmt: skip


def settings(mode: str) -> Config:
    config = composed()
    missing = "reject" if mode == "joints" else "image"
    hand = config.hand.model_copy(update={"mode": mode, "on_missing": missing})
    return config.model_copy(update={"hand": hand})


class Colours(nn.Module):
    """A backbone whose features are the colours of 8 x 8 places, in one of timm's formats."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward_features(self, images: Tensor) -> Tensor:
        places = nn.functional.avg_pool2d(images, S // 8)
        if self.form == "NHWC":
            return places.permute(0, 2, 3, 1)
        if self.form == "tokens":
            tokens = places.flatten(2).transpose(1, 2)
            return torch.cat([torch.full_like(tokens[:, :2], 9.0), tokens], 1)
        return places.mean((2, 3)) if self.form == "vector" else places


def sees_colours(form: str) -> Recognizer:
    config = settings("none")
    model = LetterClassifier(None, Head(3, 3, config.head, config.regularization), Pooling("avg"),
                             PREPARED)  # fmt: skip
    model.sees_pixels, model.backbone = True, Colours(form)
    model.pooling = Pooling("avg", channels_last=form == "NHWC",
                            n_prefix_tokens=2 if form == "tokens" else 0)  # fmt: skip
    model.head[-1].weight.data = torch.eye(3) * 9
    return Recognizer(KeptModel(model.eval(), COLOURS, PREPARED, config, "scratch", 0))


def spots() -> bytes:
    """A picture with a red spot at the upper left and a larger blue one at the lower right."""
    pixels = np.zeros((S, S, 3), np.uint8)
    pixels[8:16, 8:16, 0] = 255
    pixels[40:64, 40:64, 2] = 255
    return png(pixels)


def png(pixels: Any) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.mark.parametrize("form", ["NCHW", "NHWC", "tokens"])
def test_the_heat_lies_where_the_letter_was_seen(form: str) -> None:
    recognizer = sees_colours(form)
    answer, asked = explain(recognizer, spots()), explain(recognizer, spots(), letter="red")
    assert (answer.letter, asked.letter) == ("blue", "red")
    for explained, inside, outside in ((answer, (52, 52), (12, 12)), (asked, (12, 12), (52, 52))):
        assert explained.heat is not None
        assert explained.heat.shape == (S, S)
        assert explained.heat[inside] > 0.9
        assert explained.heat[outside] < 0.1
    assert answer.joints is None
    drawn = picture(answer)
    assert drawn.size == (SIDE, SIDE)
    changed = np.abs(np.asarray(drawn, float) - np.asarray(picture(answer, heat=False), float))
    assert changed[SIDE * 5 // 8 :, SIDE * 5 // 8 :].mean() > 30
    assert changed[: SIDE // 2, : SIDE // 2].mean() < 1


def test_places_that_the_head_sees_one_by_one_are_weighed_one_by_one() -> None:
    """A head that looks for red at the lower right does not light the red at the upper left."""
    recognizer = sees_colours("NCHW")
    model = recognizer.kept.model
    model.pooling = Pooling("flatten")
    head = nn.Linear(3 * 64, 3)
    nn.init.zeros_(head.weight)
    head.weight.data[0].view(3, 8, 8)[0, 6, 6] = 9
    model.head[-1] = head
    pixels = np.zeros((S, S, 3), np.uint8)
    pixels[8:16, 8:16, 0] = pixels[48:56, 48:56, 0] = 255
    heat = explain(recognizer, png(pixels), letter="red").heat
    assert heat is not None
    assert heat[52, 52] > 0.9
    assert heat[12, 12] < 0.1


def test_features_without_places_have_no_heat() -> None:
    assert explain(sees_colours("vector"), spots()).heat is None


def test_a_letter_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match="Z: the model knows the letters red, green, blue"):
        explain(sees_colours("NCHW"), spots(), letter="Z")


class Finds:
    """A detector that finds the same hand in every picture, or none."""

    def __init__(self, there: bool) -> None:
        self.there = there

    def find(self, image: Any) -> Hand:
        height, width = image.shape[:2]
        if not self.there:
            return no_hand(width, height)
        hands = rendered_hands([PREFIX + "synthetic/home/signer03/session1/A/0007@seed0"])
        scale = np.float32(width / hands.sizes[0, 0])
        return Hand(hands.joints[0] * scale, hands.metres[0], 1.0, 0.0, width, height)


def sees_hands(mode: str, *, there: bool = True) -> Recognizer:
    config = settings(mode)
    torch.manual_seed(0)
    model = build_classifier(config, 3, PREPARED).eval()
    return Recognizer(
        KeptModel(model, ("A", "B", "C"), PREPARED, config, "scratch", 0), Finds(there)
    )


def test_joints_that_matter_more_move_the_answer_more() -> None:
    recognizer = sees_hands("joints")
    explained = explain(recognizer, spots())
    weights = explained.joint_weights
    assert explained.heat is None
    assert weights is not None
    assert weights.max() == 1
    seen = recognizer.look(spots())
    assert seen.joints is not None
    model, index = recognizer.kept.model, "ABC".index(explained.letter)

    @torch.no_grad()
    def moved(joint: int) -> float:
        """Return how much the answer moves at most when a joint does, in eight directions."""
        changes = []
        for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
            joints = torch.from_numpy(seen.joints.copy())[None].double()
            joints[0, joint, :2] += 1e-4 * torch.tensor([np.cos(angle), np.sin(angle)])
            changes.append(float(model.double().scores(None, joints).log_softmax(1)[0, index]))
        return max(changes) - min(changes)

    assert moved(int(weights.argmax())) > 2 * moved(int(weights.argmin()))


@pytest.mark.parametrize("mode", ["crop", "joints", "both"])
def test_joints_are_drawn_where_the_hand_is(mode: str) -> None:
    """In the square round the hand they span its middle; on the photo they are the detector's."""
    photo = np.full((300, 300, 3), 127, np.uint8)
    explained = explain(sees_hands(mode), png(photo))
    assert explained.joints is not None
    assert (explained.heat is None) == (mode == "joints")
    assert (explained.joint_weights is None) == (mode == "crop")
    low, high = explained.joints.min(0), explained.joints.max(0)
    side = len(explained.image)
    if mode == "joints":
        np.testing.assert_allclose(explained.joints, Finds(True).find(photo).joints[:, :2])
    else:
        assert (high - low).max() == pytest.approx(side / 1.5, rel=0.01)  # a margin of 1/4
        np.testing.assert_allclose((low + high) / 2, side / 2, atol=1)
    bare = np.asarray(picture(explained, heat=False, joints=False), float)
    drawn = np.abs(np.asarray(picture(explained, heat=False), float) - bare).max(2) > 30
    rows, columns = np.nonzero(drawn)
    box = np.array([[columns.min(), rows.min()], [columns.max(), rows.max()]]) * side / SIDE
    np.testing.assert_allclose(box, [low, high], atol=12 * side / SIDE)  # a joint's dot


def test_without_a_hand_nothing_is_claimed() -> None:
    explained = explain(sees_hands("joints", there=False), spots())
    assert explained.letter == NO_HAND
    assert (explained.heat, explained.joints, explained.joint_weights) == (None, None, None)
    assert picture(explained).size == (SIDE, SIDE)
