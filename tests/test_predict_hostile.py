"""Anybody's pictures: odd ones are predicted, broken ones are named and counted, and the rest goes on."""

import io
from pathlib import Path

import hostile_pictures as hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_model_predict import Echo

from david.model.predict import inputs, pictures, runner
from david.model.predict.predictor import Predictor
from david.pack.errors import BadSample


def close(rgb: np.ndarray, to: np.ndarray, by: int = 12) -> bool:
    return rgb.shape == to.shape and int(np.abs(rgb.astype(int) - to).max()) <= by


def test_hostile_pictures_are_predicted_or_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    read, told = hostile.write_all(tmp_path / "in")
    assert len(read) + len(told) >= 40
    (tmp_path / "in" / "folder.png").mkdir()
    (tmp_path / "in" / "folder.png" / "inside.png").write_bytes(hostile.of("RGB", "PNG"))
    names = [str(tmp_path / "in" / name) for name in (*read, *told, "folder.png")]
    listing = inputs.listed(names)
    job = runner.Job(Predictor((Echo(),), side=32), tmp_path / "out", ("depth", "alpha"), threads=2, batch_size=3)
    outcomes = list(runner.run(job, listing.inputs))
    assert [one.input for one in outcomes] == list(listing.inputs)
    for outcome in outcomes:
        name, error = outcome.input.path.name, outcome.error
        if name in told:
            assert error and error.startswith(outcome.input.name) and "\n" not in error, (name, error)
            assert told[name] in error, (name, error)
            assert not outcome.files
        else:
            assert error is None, (name, error)
            assert len(outcome.files) == 2 and all((tmp_path / "out" / file).is_file() for file in outcome.files)
    assert outcomes[-1].input.path.name == "inside.png"


@pytest.mark.parametrize("name", [name for name in hostile.READ if "one-" not in name])
def test_odd_pictures_are_seen_as_they_are_meant(name: str) -> None:
    data = hostile.READ[name]()
    rgb = pictures.decode(name, data)
    by_hand = Image.open(io.BytesIO(data))
    assert rgb.shape == (by_hand.height, by_hand.width, 3) and rgb.dtype == np.uint8
    if rgb.shape[:2] == (1, 1):
        assert rgb.tolist() == [[[0x50, 0x60, 0x70]]]
        return
    scene = hostile.scene()
    if "grey" in name or "float" in name or "tiff-sixteen" in name:
        assert np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2])
        grey = (
            scene[..., 0] if "sixteen" in name or "float" in name else np.asarray(Image.fromarray(scene).convert("L"))
        )
        if "float" in name:  # from its least to its most
            grey = np.round((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8)
        assert close(rgb[..., 0], grey, 3)
    elif name not in ("bilevel.png", "palette-transparent.png", "animated.gif"):
        assert close(rgb, scene, 40 if "palette" in name else 12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_of_every_orientation_are_the_upright_one(kind: str) -> None:
    how = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    for orientation in range(1, 9):
        rgb = pictures.decode("x", hostile.oriented(orientation, kind, **how))
        assert close(rgb, hostile.scene(), 4 if kind == "JPEG" else 0), orientation


def test_a_png_that_tells_its_orientation_behind_its_pixels_is_turned_too() -> None:
    data = hostile.oriented(6, "PNG")
    place = data.index(b"eXIf") - 4
    length = int.from_bytes(data[place : place + 4], "big") + 12
    moved = data[:place] + data[place + length : -12] + data[place : place + length] + data[-12:]
    assert np.array_equal(pictures.decode("x", moved), hostile.scene())


def test_transparency_is_left_out_and_the_colours_under_it_stay() -> None:
    rgba = np.dstack([hostile.scene(), np.zeros((hostile.HEIGHT, hostile.WIDTH), np.uint8)])
    for kind in ("PNG", "WEBP", "TIFF"):
        how = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        data = hostile.encoded(Image.fromarray(rgba, "RGBA"), kind, **how)
        assert np.array_equal(pictures.decode("x", data), hostile.scene()), kind


def test_size_is_heard_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        heard = []

        class Enough(Exception):
            pass

        def sized(height: int, width: int, heard: list = heard) -> None:
            heard.append((height, width))
            raise Enough

        with pytest.raises(Enough):
            pictures.decode("x", hostile.of("RGB" if kind != "GIF" else "P", kind), sized=sized)
        assert heard == [(hostile.HEIGHT, hostile.WIDTH)], kind


def test_pictures_of_more_pixels_than_are_read_are_refused_by_every_reader() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        with pytest.raises(BadSample, match="declares 48 rows x 64 columns, at most 3,071 pixels"):
            pictures.decode("x", hostile.of("RGB" if kind != "GIF" else "P", kind), max_pixels=48 * 64 - 1)


VICTIMS = [
    *(hostile.of("RGB", kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF")),
    *(hostile.of("P", "GIF"), hostile.of("CMYK", "JPEG"), hostile.oriented(6), hostile.oriented(6, "PNG")),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(VICTIMS), st.data())
def test_bytes_that_were_changed_or_cut_are_decoded_or_named(victim: bytes, data: st.DataObject) -> None:
    changed = bytearray(victim)
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))]) if data.draw(st.booleans()) else bytes(changed)
    try:
        rgb = pictures.decode("x", cut, max_pixels=1 << 20)
        assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8 and rgb.size
    except BadSample as error:
        assert str(error).startswith("x: ") and "\n" not in str(error)
