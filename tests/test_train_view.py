"""Predictions beside samples: the truth said back stands without error in its own colours, and figures are right."""

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, chromium

from david.model.predict.fields import Fields
from david.pack import DavidError, Sample, synth
from david.pack.look import compared, preview
from david.train.eval import beside
from david.train.use import view


class Says:
    """A predictor that says what it is told, whatever the picture."""

    def __init__(self, **fields: np.ndarray):
        self.fields, self.said = tuple(fields), Fields(fields)

    def predict(self, rgb: np.ndarray) -> Fields:
        assert all(value.shape[:2] == rgb.shape[:2] for value in self.said.values())
        return self.said


@pytest.fixture(scope="module")
def sample() -> Sample:
    return synth.render(0, 0)


def truth(sample: Sample) -> Fields:
    """What a perfect network would say: its depth in another scale and shift, and anything where nothing is known."""
    depth = np.where(sample.depth_valid, sample.depth_m, 0) * 3 - 7
    return Fields(
        {"relative_depth": depth.astype(np.float32), "normals": sample.normals, "alpha": sample.alpha / np.float32(255)}
    )


def noisy(sample: Sample) -> Fields:
    rng = np.random.default_rng(0)
    perfect = truth(sample)
    return Fields({name: v + rng.normal(0, 0.2, v.shape).astype(np.float32) for name, v in perfect.items()})


def test_the_truth_said_back_stands_without_error_in_the_truths_colours(sample: Sample) -> None:
    found = beside.beside(sample, [Says(**truth(sample))], ["perfect"])
    assert list(found.rows) == ["depth", "normals", "alpha"]
    for name, (said, error) in found.rows.items():
        own, valid = preview.picture(sample, name).astype(int), sample.valid(name)
        assert np.abs(said.picture - own)[valid].max() <= 8, name
        assert error.picture[valid].max() <= 8, name
    for name in ("depth_abs_rel", "depth_rmse_cm", "normals_mean_deg", "alpha_mae", "alpha_sad"):
        assert found.scores[name][0] < 1e-2, name
    assert found.scores["alpha_iou"] == found.scores["normals_within_11.25"] == [1.0]


def test_figures_are_those_of_the_textbook(sample: Sample) -> None:
    """Against float64 and NumPy's own least squares."""
    said = noisy(sample)
    scores = beside.beside(sample, [Says(**said)], ["noisy"]).scores
    valid, true = sample.depth_valid, sample.depth_m.astype(np.float64)[sample.depth_valid]
    depth = said["relative_depth"].astype(np.float64)[valid]
    a, b = np.linalg.lstsq(np.stack([depth, np.ones_like(depth)], 1), true, rcond=None)[0]
    error = a * depth + b - true
    assert scores["depth_abs_rel"][0] == pytest.approx(np.mean(np.abs(error) / true), rel=1e-3)
    assert scores["depth_rmse_cm"][0] == pytest.approx(100 * np.sqrt(np.mean(error**2)), rel=1e-3)
    p, n = (x.astype(np.float64)[sample.normals_valid] for x in (said["normals"], sample.normals))
    p, n = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (p, n))
    angles = np.degrees(np.arccos(np.clip((p * n).sum(1), -1, 1)))
    assert scores["normals_mean_deg"][0] == pytest.approx(angles.mean(), rel=1e-3)
    apart = np.abs(said["alpha"].clip(0, 1) - sample.alpha / 255)
    assert scores["alpha_sad"][0] == pytest.approx(apart.sum() / 1000, rel=1e-3)


def test_who_says_less_leaves_places_empty_and_columns_in_line(sample: Sample) -> None:
    said = truth(sample)
    found = beside.beside(sample, [Says(alpha=said["alpha"]), Says(normals=said["normals"])], ["A", "B"])
    assert {name: len(row) for name, row in found.rows.items()} == {"normals": 4, "alpha": 4}
    assert [cell.picture is None for cell in found.rows["normals"]] == [True, False, True, False]
    assert found.rows["normals"][0].title == "A: says no normals"
    assert found.scores["alpha_mae"][1] is None and found.scores["normals_mean_deg"][0] is None
    cells = compared._cells(sample, found)
    assert len(cells) == 1 + 3 * 5  # depth has a row of its own with the truth alone
    assert [cells[at].title for at in (1, 6, 11)] == ["depth", "normals: X red, Y green, Z blue", "alpha"]


def test_depth_of_any_kind_stands_in_one_row(sample: Sample) -> None:
    metres = np.where(sample.depth_valid, sample.depth_m, 1).astype(np.float32)
    known = {"relative_depth": metres * 2, "metric_depth_m": metres, "relative_disparity": 1 / metres}
    who = [*(Says(**{name: value}) for name, value in known.items()), Says(normals=sample.normals)]
    found = beside.beside(sample, who, list("ABCD"))
    titles = [cell.title for cell in found.rows["depth"]]
    assert [title[0] for title in titles[:4]] == list("ABCD") and titles[3] == "D: says no depth"
    assert [cell.picture is not None for cell in found.rows["depth"]] == [True, True, True, False] * 2
    assert found.rows["normals"][0].title == "A: says no normals"


def test_a_picture_without_truth_has_no_errors_and_no_figures(sample: Sample) -> None:
    bare = Sample("photo", sample.rgb)
    found = beside.beside(bare, [Says(**truth(sample)), Says(**noisy(sample))], ["A", "B"])
    assert {name: [cell.title for cell in row] for name, row in found.rows.items()} == {
        "depth": ["A: relative depth", "B: relative depth"],
        "normals": ["A: normals", "B: normals"],
        "alpha": ["A: alpha", "B: alpha"],
    }
    assert found.scores == {}


def test_means_are_over_the_samples_that_were_measured() -> None:
    scores = [{"x": [1.0, None]}, {"x": [2.0, None], "y": [None, 4.0]}, {"y": [5.0, 8.0]}]
    assert compared.means(scores) == {"x": [1.5, None], "y": [5.0, 6.0]}


def entries(page: Path) -> list[dict]:
    match = re.search(r"const entries=(.*);\n", page.read_text())
    assert match
    return json.loads(match[1])


def of(sample: Sample) -> compared.Compared:
    return beside.compared([Says(**truth(sample)), Says(**noisy(sample))], ["perfect", "noisy <b>"])


def test_a_page_weighs_little_and_shrinks_what_is_large(sample: Sample, tmp_path: Path) -> None:
    many, means = compared.page("page", [("val", sample)] * 2, of(sample), tmp_path / "page.html")
    assert many == 2 and means["depth_abs_rel"][0] < 1e-3 < means["depth_abs_rel"][1]
    size = (tmp_path / "page.html").stat().st_size
    assert size < 2 * 16 * 384 * 512 / 2  # half a byte a pixel
    large = Sample("large", np.repeat(np.repeat(sample.rgb, 4, 0), 4, 1))
    compared.page("page", [("", large)], beside.compared([], []), tmp_path / "large.html")
    (shown,) = entries(tmp_path / "large.html")[0]["pictures"]
    data = np.frombuffer(base64.b64decode(shown.partition(",")[2]), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (compared.LONGEST, compared.LONGEST * 3 // 4, 3)


def test_a_contact_sheet_has_a_line_a_sample_and_a_cell_a_picture(sample: Sample, tmp_path: Path) -> None:
    many, means = compared.sheet([("val", sample)] * 3, of(sample), tmp_path / "sheet.png")
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    line = 256 + preview.BAR_PX + preview.GAP_PX
    assert many == 3 and means["alpha_iou"][0] == 1
    assert picture is not None
    assert picture.shape == (preview.BAR_PX + preview.GAP_PX + 3 * line, preview.GAP_PX + 16 * 198, 3)


def test_ordinary_pictures_are_samples_of_rgb_alone_and_broken_ones_are_named(
    figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep").mkdir()
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    for name in ("a.png", "deep/b.jpg", "deep/c.webp"):
        cv2.imwrite(str(tmp_path / name), rgb[..., ::-1])
    (tmp_path / "deep" / "bad.jpg").write_bytes(b"no picture")
    found = dict(view.samples(tmp_path, 0, 9, None, None))
    keys = [sample.key for _, sample in view.samples(tmp_path, 0, 9, None, None)]
    assert keys == ["a", "deep/b", "deep/c"] and list(found) == ["pictures"]
    assert "bad.jpg" in capsys.readouterr().out
    (_, only), *others = view.samples(tmp_path / "a.png", 0, 9, None, None)
    assert not others and np.array_equal(only.rgb, rgb) and not only.values
    with pytest.raises(DavidError, match="no picture that can be read from position 4 on, of 4"):
        list(view.samples(tmp_path, 4, 9, None, None))
    assert next(view.samples(figures, 0, 1, "val", None))[0] == "val"
    assert next(view.samples(figures.parent / "raw.zip", 0, 1, None, None))[0] == "raw"


def test_names_that_are_alike_are_told_apart() -> None:
    given = ["runs/a/w.safetensors", "runs/b/w.safetensors", "x", "x"]
    found = view.distinct(["w.safetensors", "w.safetensors", "x", "x"], given)
    assert found == [*given[:2], "x (3)", "x (4)"]
    assert view.distinct(["a", "b"], ["runs/a", "runs/b"]) == ["a", "b"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_rows_of_pictures_and_the_figures(sample: Sample, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    _, means = compared.page("page", [("val", sample)], of(sample), page)
    with chromium(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        browser.wait("[...document.querySelectorAll('#pictures img')].every((one) => one.naturalWidth > 0)")
        boxes = browser.run(
            "[...document.querySelectorAll('#pictures figure')].map((one) => one.getBoundingClientRect().toJSON())"
        )
        assert len(boxes) == 16 == browser.run("document.querySelectorAll('#pictures img').length")
        rows = [boxes[start : start + 5] for start in (1, 6, 11)]
        for row in rows:
            assert len({round(box["top"]) for box in row}) == 1
        for column in zip(*rows, strict=True):
            assert len({round(box["left"]) for box in column}) == 1
        assert boxes[0]["right"] <= rows[0][0]["left"] and browser.run("innerWidth") >= rows[0][-1]["right"]
        told = browser.run("[...document.querySelector('#scores').rows].map((row) => row.innerText.split('\\t'))")
        head, first = told[0], told[1]
        assert head[1:3] == head[4:6] == ["perfect", "noisy <b>"]
        assert first[0] == "depth_abs_rel" and float(first[2]) == pytest.approx(means["depth_abs_rel"][1], rel=1e-3)
        apart = sum(len(set(values)) > 1 for values in means.values())  # nobody is best where all are alike
        assert browser.run("document.querySelectorAll('#scores td.best').length") == 2 * apart < 2 * len(means)
        assert browser.problems == []
