"""Pictures of samples: what is near is warm, what is invalid is dark, and a sheet shows all it was given."""

import cv2
import numpy as np
import pytest

from david.pack import synth
from david.pack.errors import DavidError
from david.pack.look import preview


def test_near_is_warm_far_is_cold_and_invalid_is_dark():
    depth = np.tile(np.linspace(100, 200, 64, dtype=np.float32), (8, 1))
    valid = np.ones(depth.shape, bool)
    valid[:, 32] = False
    depth[~valid] = np.nan
    for scale, offset in ((1.0, 0.0), (0.01, -1.5)):  # centimetres, or relative depth: the same picture
        colours = preview.colour_depth(depth * np.float32(scale) + np.float32(offset), valid).astype(int)
        assert (colours[:, 4, 0] > 2 * colours[:, 4, 2]).all() and (colours[:, -4, 2] > colours[:, -4, 0]).all()
        assert (colours[:, 32] == preview.INVALID).all()


def test_nothing_valid_is_a_dark_picture():
    nothing = np.zeros((4, 5), bool)
    assert (preview.colour_depth(np.full((4, 5), np.nan, np.float32), nothing) == preview.INVALID).all()
    assert (preview.colour_normals(np.zeros((4, 5, 3), np.float32), nothing) == preview.INVALID).all()


def test_normals_show_x_y_z_as_red_green_blue():
    normals = np.eye(3, dtype=np.float16)[None]
    colours = preview.colour_normals(normals, np.ones((1, 3), bool))
    assert colours.tolist() == [[[255, 128, 128], [128, 255, 128], [128, 128, 255]]]


def test_alpha_is_the_same_grey_from_bytes_and_from_probabilities():
    alpha = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(preview.colour_alpha(alpha / np.float32(255)), preview.colour_alpha(alpha))


def test_a_sheet_shows_every_picture_whole_under_its_label():
    wide, tall = np.full((10, 20, 3), 200, np.uint8), np.full((30, 10, 3), 90, np.uint8)
    plain = preview.sheet([[wide, tall], [tall]], cell=(60, 40))
    labelled = preview.sheet(
        [[wide, tall], [tall]], labels=["wide", "tall"], captions=[["one"], ["two"]], cell=(60, 40)
    )
    for shown in (plain, labelled):
        assert (shown == 200).all(axis=-1).sum() == 20 * 40
        assert (shown == 90).all(axis=-1).sum() == 2 * 60 * 20
    assert labelled.shape[0] == plain.shape[0] + 3 * preview.BAR_PX and labelled.shape[1] == plain.shape[1]
    assert (labelled[: preview.BAR_PX].max(axis=(0, 2)) > 150).any()


def test_a_contact_sheet_is_written_for_any_number_of_samples(tmp_path):
    samples = [synth.render(0, index, height=64, width=48) for index in range(3)]
    path = tmp_path / "new" / "sheet.png"
    preview.contact_sheet(samples, path, cell=(64, 48))
    picture = cv2.imread(str(path))[..., ::-1]
    assert [found.name for found in path.parent.iterdir()] == ["sheet.png"]
    for sample in samples:
        for shown in preview.pictures(sample, ["depth", "normals", "alpha"]):
            assert cv2.matchTemplate(picture, shown, cv2.TM_SQDIFF).min() < 0.01 * shown.size
    with pytest.raises(DavidError, match="no samples to show"):
        preview.contact_sheet([], tmp_path / "none.png")


def test_pictures_that_share_a_span_can_be_compared():
    depth, valid = np.array([[100.0, 150.0, 200.0]], np.float32), np.ones((1, 3), bool)
    alone, beside = preview.colour_depth(depth + 50, valid, (100.0, 200.0)), preview.colour_depth(depth, valid)
    assert (alone[0, 0] == preview.colour_depth(depth, valid, (100.0, 200.0))[0, 1]).all()
    assert (alone[0, 1:] == beside[0, 2]).all()  # beyond the span: as far as can be


@pytest.mark.parametrize("count", [1, 2, 5, 12, 60, 100])
def test_a_sheet_of_any_number_fits_a_screen(count: int, tmp_path):
    sample = synth.render(0, 1, height=64, width=48)
    preview.contact_sheet([sample] * count, tmp_path / "sheet.png", cell=(64, 48))
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture is not None
    height, width = picture.shape[:2]
    assert count < 2 or 0.6 < width / height < 3
    assert count < 12 or 0.9 < width / height < 1.9


def test_a_cell_has_the_pictures_shape_and_the_same_area_for_all():
    shapes = ((512, 384), (480, 640), (352, 1216), (100, 10))
    assert [preview.cell_of(np.zeros((*shape, 3))) for shape in shapes] == [
        (256, 192),
        (192, 256),
        (128, 384),
        (314, 157),
    ]


def test_single_pixels_of_a_laser_are_grown_by_the_nearest_and_a_mask_stays_as_it_is():
    rng = np.random.default_rng(0)
    values, valid = rng.uniform(1, 9, (20, 30)).astype(np.float32), rng.random((20, 30)) < 0.1
    found, wide = preview.grown(values, valid)
    for r, c in np.ndindex(20, 30):
        near = np.s_[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]
        there = values[near][valid[near]]
        assert wide[r, c] == bool(there.size) and found[r, c] == (there.min() if there.size else 0)
    valid[:, 15:] = True
    same = preview.grown(values, valid)
    assert same[0] is values and same[1] is valid
