"""Benchmarks of depth in metres: crops, ranges, fits, edges and planes against slow twins and by hand."""

import math
from pathlib import Path

import cv2
import layouts
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_metric_metrics import slow

from david.model.predict.predictor import Predictor
from david.pack import DavidError, Sample
from david.train.eval import constant
from david.train.eval.protocols import asking, benchmark, geometry, in_metres, report, spans, table
from david.train.eval.protocols.geometry import Plane
from david.train.eval.protocols.spans import Span
from david.train.eval.protocols.truth import Truth, found

SIZE = 96, 128  # rows, columns: the Eigen crop leaves rows from 45, columns from 41


def sample(number: int, size: tuple[int, int] = SIZE, **meta: object) -> Sample:
    """A slope of 1 to 7 metres with relief, an unknown patch and one place beyond the range."""
    rng = np.random.default_rng(number)
    rows, columns = np.indices(size) / np.array(size).reshape(2, 1, 1)
    depth = (1 + 4 * rows + 2 * columns * rng.uniform(0.2, 1) + rng.uniform(0, 0.2, size)).astype(np.float32)
    depth[60:64, 60:70], depth[50:51, 50] = np.nan, 11.0
    rgb = rng.integers(0, 256, (*size, 3), np.uint8)
    return Sample(f"{number:04}", rgb, {"depth": depth}, {"depth": np.isfinite(depth)}, meta=dict(meta))


def truth(samples: list[Sample], fields: tuple[str, ...] = ("metric_depth_m",)) -> Truth:
    return Truth(Path("here"), len(samples), fields, lambda: iter(samples), {})


class Says:
    """Answers by a function of the truth, which it finds by the picture, mirrored or not."""

    def __init__(self, of: Truth, field: str, answer, name: str = "says"):
        self.known = {one.rgb.tobytes(): one for one in of.each()}
        self.known_mirrored = {np.ascontiguousarray(one.rgb[:, ::-1]).tobytes(): one for one in of.each()}
        self.fields, self.answer, self.name = (field,), answer, name

    def predict(self, rgb: np.ndarray):
        if one := self.known.get(rgb.tobytes()):
            return {self.fields[0]: self.answer(one, False)}
        return {self.fields[0]: self.answer(self.known_mirrored[rgb.tobytes()], True)[:, ::-1]}


def metres(one: Sample, mirrored: bool = False) -> np.ndarray:
    return np.nan_to_num(one.depth_m, nan=3.0) * np.float32(1.1 if not mirrored else 0.9)


def disparity(one: Sample, mirrored: bool = False) -> np.ndarray:
    rng = np.random.default_rng(int(one.key))
    return 5 / np.nan_to_num(one.depth_m, nan=3.0) + 2 + rng.uniform(0, 0.3, one.depth_m.shape)


def relative(one: Sample, mirrored: bool = False) -> np.ndarray:
    rng = np.random.default_rng(int(one.key) + 9)
    return 0.2 * np.nan_to_num(one.depth_m, nan=3.0) - 7 + rng.uniform(0, 0.05, one.depth_m.shape)


def counted(one: Sample, most: float = 10.0) -> list[tuple[int, int]]:
    """Places that count on NYU, one after the other."""
    places = np.ndindex(*one.depth_m.shape)
    return [(r, c) for r, c in places if 45 <= r < 471 and 41 <= c < 601 and 1e-3 < one.depth_m[r, c] < most]


def fitted(said: list[float], wanted: list[float]) -> tuple[float, float]:
    return tuple(np.linalg.lstsq(np.stack([said, np.ones(len(said))], 1), np.array(wanted), rcond=None)[0])


def test_metric_and_relative_answers_and_a_constant_stand_in_one_table_and_equal_plain_loops():
    samples = [sample(number) for number in range(3)]
    of = truth(samples)
    subjects = [
        Says(of, "metric_depth_m", metres, "one"),
        Says(of, "relative_disparity", disparity, "two"),
        Says(of, "relative_depth", relative, "three"),
    ]
    result = benchmark.measure("nyu", of, subjects)
    for place, one in enumerate(samples):
        at = counted(one)
        true = [float(one.depth_m[i]) for i in at]
        inverse = fitted([float(disparity(one)[i]) for i in at], [1 / d for d in true])
        direct = fitted([float(relative(one)[i]) for i in at], true)
        said = [
            [float(metres(one)[i]) for i in at],
            [1 / min(max(inverse[0] * float(disparity(one)[i]) + inverse[1], 0.1), 1000) for i in at],
            [direct[0] * float(relative(one)[i]) + direct[1] for i in at],
        ]
        for score, values in zip(result.scores, said, strict=False):
            for name, expected in slow(list(zip(values, true, strict=True)), (1e-3, 10.0)).items():
                assert score.values[f"metric_{name}"][place] == pytest.approx(expected, rel=1e-4, abs=1e-6), name
    (drawn,) = report.drawn(result)
    who = list(drawn.columns[0].cells)
    assert who[:8:2] == [
        "one, metric",
        "two, fitted in disparity",
        "three, fitted in depth",
        "a constant answer, metric",
    ]
    assert who[8:] == [f"Depth Anything V2 {size}, fine-tuned" for size in "SBL"] + ["ZoeD-M12-N"]
    assert list(drawn.columns[2].cells)[-4:] == ["0.961", "0.977", "0.984", "0.955"]
    scores = [score.means()["metric_abs_rel"] for score in result.scores]
    assert max(scores[:3]) < scores[3] and "worst-depth.png" in result.sheets
    assert any("fitted know each image's scale" in note for note in result.notes)
    report.benchmark_json(result, {})
    assert b"\n0000,one," in report.images_csv(result)


@pytest.mark.parametrize(
    ("shape", "crop", "box"),
    [
        ((480, 640), "eigen", (45, 471, 41, 601)),
        ((60, 50), "eigen", (45, 60, 41, 50)),
        ((40, 40), "eigen", (0, 0, 0, 0)),
        ((352, 1216), "garg", (143, 349, 43, 1172)),
        ((5, 5), "garg", (2, 4, 0, 4)),
        ((7, 9), None, (0, 7, 0, 9)),
    ],
)
def test_a_crop_is_cut_off_where_a_picture_is_smaller(shape, crop, box):
    expected = np.zeros(shape, bool)
    expected[box[0] : box[1], box[2] : box[3]] = True
    assert np.array_equal(spans.cropped(shape, crop), expected)


def test_kitti_is_cut_at_the_bottom_and_in_the_middle_before_a_network_sees_it():
    whole = sample(0, (375, 1242))
    shown = table.named("kitti").span.shown(whole)
    assert np.array_equal(shown.rgb, whole.rgb[23:, 13:1229]) and shown.depth_m.shape == (352, 1216)
    assert np.array_equal(table.named("kitti").span.shown(shown).rgb, shown.rgb)
    with pytest.raises(DavidError, match="is 96 x 128; KITTI is cut to 352 x 1216"):
        table.named("kitti").span.shown(sample(0))


def test_pictures_without_truth_that_counts_are_left_out_and_told():
    none, far = sample(1), sample(2)
    none.masks["depth"][:] = False
    far.values["depth"][:] = 20.0
    lacking = Sample("lacking", sample(3).rgb)
    of = truth([sample(0), none, far, lacking])
    result = benchmark.measure("nyu", of, [Says(of, "metric_depth_m", metres)])
    assert result.keys == ["0000"]
    assert "3 more images have no true depth that counts, and are left out." in result.notes
    empty = truth([none, far])
    with pytest.raises(DavidError, match="no image of it has a true depth that counts"):
        benchmark.measure("nyu", empty, [Says(empty, "metric_depth_m", metres)])


def test_a_file_of_truth_that_is_all_holes_is_left_out_wherever_it_stands(tmp_path: Path):
    raw = layouts.nyu(tmp_path / "raw", 0, 2)
    layouts.picture(sorted(raw.rglob("*.png"))[0], np.zeros(layouts.WIDE, np.uint16))
    of = found(table.named("nyu"), raw)
    result = benchmark.measure("nyu", of, [Says(of, "metric_depth_m", metres)], accept=["depth"])
    assert len(result.keys) == 1 and "1 more image has no true depth that counts, and is left out." in result.notes


def test_what_is_infinite_or_no_number_is_clipped_in_metres_and_refused_of_a_fit():
    one = sample(0)
    of, at = truth([one]), counted(one)

    def broken(one: Sample, mirrored: bool) -> np.ndarray:
        said = metres(one).copy()
        said[at[0]], said[at[1]], said[at[2]] = np.inf, np.nan, -5
        return said

    found = benchmark.measure("nyu", of, [Says(of, "metric_depth_m", broken)]).scores[0].means()
    pairs = [(float(broken(one, False)[i]), float(one.depth_m[i])) for i in at]
    assert found["metric_abs_rel"] == pytest.approx(slow(pairs, (1e-3, 10.0))["abs_rel"], rel=1e-5)
    with pytest.raises(DavidError, match="its relative_disparity of 0000 holds what is no finite number"):
        benchmark.measure("nyu", of, [Says(of, "relative_disparity", broken)])


def test_flipping_averages_the_mirror_images_answer():
    of = truth([sample(0), sample(1)])
    once, both = (benchmark.measure("nyu", of, [Says(of, "metric_depth_m", metres)], flip=one) for one in (False, True))
    assert once.scores[0].means()["metric_abs_rel"] == pytest.approx(0.1, rel=1e-3)
    assert both.scores[0].means()["metric_abs_rel"] < 1e-6  # 1.1 and 0.9 times the truth
    with pytest.raises(DavidError, match="--flip: nyu has truth for metric_depth_m, normals; only depth alone"):
        benchmark.measure("nyu", truth([sample(0)], ("metric_depth_m", "normals")), [], flip=True)


def test_a_relative_network_given_as_metric_is_refused_with_what_was_seen():
    of = truth([sample(number) for number in range(9)])

    def sigmoid(one: Sample, mirrored: bool) -> np.ndarray:
        """What disparity becomes behind a metric network's last layer."""
        return 20 / (1 + np.exp(-disparity(one)))

    says = Says(of, "metric_depth_m", sigmoid, "file.pth")
    with pytest.raises(
        DavidError, match=r"file.pth: what it says as metres falls .* \(correlation -0.\d\d over 8 pict"
    ):
        benchmark.measure("nyu", of, [says])
    with pytest.raises(DavidError, match="over 3 pictures"):
        benchmark.measure("nyu", truth([sample(number) for number in range(3)]), [says])
    assert benchmark.measure("nyu", of, [says], accept=["depth"]).scores[0].means()["metric_a1"] < 0.2


class Engine:
    fields, side, batch, precision, on_gpu = ("metric_depth_m",), None, None, "float32", False

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {"metric_depth_m": images[..., :1].transpose(0, 3, 1, 2).astype(np.float32)}


@pytest.mark.parametrize("fit", ["square", "stretch"])
def test_depth_comes_back_by_its_corners(fit):
    rgb = sample(0, (45, 61)).rgb
    predictor = Predictor((Engine(),), fit=fit, side=28)
    found = asking.answer(predictor, rgb, True, False)["metric_depth_m"]
    seen = torch.from_numpy(predictor.prepare(rgb).image[..., 0]).float()
    whole = F.interpolate(
        seen[None, None], (61, 61) if fit == "square" else (45, 61), mode="bilinear", align_corners=True
    )
    top = 8 if fit == "square" else 0
    assert found.shape == (45, 61) and np.allclose(found, whole[0, 0, top : top + 45])
    if fit == "stretch":
        assert found[0, 0] == seen[0, 0] and found[-1, -1] == seen[-1, -1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_no_constant_is_better_than_the_best(seed: int):
    rng = np.random.default_rng(seed)
    images = [rng.uniform(0.5, 9, rng.integers(1, 30)) for _ in range(3)]

    def abs_rel(c: float) -> float:
        return float(np.mean([np.mean(np.abs(c - d) / d) for d in images]))

    best = abs_rel(constant.best_m(images))
    assert best <= min(abs_rel(c) for c in np.linspace(0.4, 9.5, 500)) + 1e-9
    assert constant.best_m([np.empty(0)]) == 1


# iBims-1: edges, planes, sides


def slow_canny(image: np.ndarray) -> np.ndarray:
    """Pixel by pixel, from Canny's description."""
    height, width = image.shape
    reach = 6
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / 4)
    weights = np.outer(taps, taps)

    def at(x: np.ndarray, r: int, c: int) -> float:  # the border's pixels repeated
        return x[min(max(r, 0), height - 1), min(max(c, 0), width - 1)]

    smooth = np.zeros(image.shape)
    for r, c in np.ndindex(height, width):
        rows, columns = np.arange(r - reach, r + reach + 1), np.arange(c - reach, c + reach + 1)
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
        part = image[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
        smooth[r, c] = (weights * part)[inside].sum() / weights[inside].sum()
    dx, dy = np.zeros(image.shape), np.zeros(image.shape)
    for r, c in np.ndindex(height, width):
        dx[r, c] = sum(k * (at(smooth, r + i, c + 1) - at(smooth, r + i, c - 1)) for i, k in ((-1, 1), (0, 2), (1, 1)))
        dy[r, c] = sum(k * (at(smooth, r + 1, c + i) - at(smooth, r - 1, c + i)) for i, k in ((-1, 1), (0, 2), (1, 1)))
    slope = np.hypot(dx, dy)
    weak = np.zeros(image.shape, bool)
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            x, y = dx[r, c], dy[r, c]
            if slope[r, c] < 0.1:
                continue
            larger = max(abs(x), abs(y))
            beside = []
            for side in (1, -1):
                step_r, step_c = side * y / larger, side * x / larger  # one of the two is a whole pixel
                low_r, low_c = math.floor(step_r + 1e-12), math.floor(step_c + 1e-12)
                part_r, part_c = step_r - low_r, step_c - low_c
                value = 0.0
                for i, j, share in (
                    (0, 0, (1 - part_r) * (1 - part_c)),
                    (1, 0, part_r * (1 - part_c)),
                    (0, 1, (1 - part_r) * part_c),
                    (1, 1, part_r * part_c),
                ):
                    if share > 1e-9:
                        value += share * slope[r + low_r + i, c + low_c + j]
                beside.append(value)
            weak[r, c] = all(slope[r, c] >= one - 1e-12 for one in beside)
    edges, grown = weak & (slope >= 0.2), None
    while grown is None or (grown != edges).any():
        edges = edges if grown is None else grown
        padded = np.pad(edges, 1)
        near = np.any(
            [padded[1 + i : 1 + i + height, 1 + j : 1 + j + width] for i in (-1, 0, 1) for j in (-1, 0, 1)], 0
        )
        grown = weak & near
    return edges


@pytest.mark.parametrize("seed", range(3))
def test_edges_are_those_of_a_slow_canny(seed: int):
    rng = np.random.default_rng(seed)
    image = np.zeros((30, 36), np.float32)
    for _ in range(4):
        r, c = rng.integers(0, 24), rng.integers(0, 30)
        image[r : r + rng.integers(5, 16), c : c + rng.integers(5, 16)] += rng.uniform(0.1, 0.4)
    image = (image + rng.uniform(0, 0.05, image.shape)).clip(0, 1).astype(np.float32)
    found, expected = geometry.canny(image), slow_canny(image.astype(np.float64))
    assert 10 < expected.sum() < 400 and (found != expected).sum() <= 2  # ties of the last digit


def wall(at: int) -> np.ndarray:
    depth = np.full((40, 60), 2.0)
    depth[:, at], depth[:, at + 1 :] = 3.0, 4.0  # symmetric about a pixel, so that one line is its edge
    return depth


def test_edges_that_are_off_cost_their_distance_and_none_cost_the_most():
    true = geometry.canny(((wall(30) - 2) / 2).astype(np.float32))
    assert geometry.boundaries(wall(30), true) == {"dbe_accuracy": 0, "dbe_completeness": 0}
    assert geometry.boundaries(wall(33), true) == pytest.approx({"dbe_accuracy": 3, "dbe_completeness": 3})
    assert geometry.boundaries(wall(45), true) == {"dbe_accuracy": 10, "dbe_completeness": 10}  # beyond 10 pixels
    assert geometry.boundaries(np.full((40, 60), 2.0), true) == {"dbe_accuracy": 10, "dbe_completeness": 10}
    assert all(math.isnan(one) for one in geometry.boundaries(wall(30), np.zeros((40, 60), bool)).values())


CAMERA = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])


def plane_depth(normal: np.ndarray, away: float) -> np.ndarray:
    """Depth (48, 64) of a plane of this normal (X right, Y away, Z up), met at `away` metres straight ahead."""
    rows, columns = np.indices((48, 64)) + 0.5
    ray = np.stack([(columns - 32) / 60, np.ones((48, 64)), -(rows - 24) / 60], -1)
    return normal[1] * away / (ray @ normal)


@pytest.mark.parametrize("degrees", [0.0, 5.0, 20.0])
def test_a_turned_plane_costs_its_angle_whatever_its_scale_and_relief_costs_centimetres(degrees: float):
    flat, turn = np.array([0.0, -1.0, 0.0]), math.radians(degrees)
    turned = np.array([math.sin(turn), -math.cos(turn), 0.0])
    everywhere = np.ones((48, 64), bool)
    true = plane_depth(flat, 3.0)
    found = geometry.planes(1.7 * plane_depth(turned, 3.0), true, everywhere, [Plane(everywhere, flat)], CAMERA)
    assert found["pe_orientation_deg"] == pytest.approx(degrees, abs=1e-6)
    assert found["pe_planarity_cm"] == pytest.approx(0, abs=1e-6)
    rough = true + 0.02 * np.sign(np.indices((48, 64)).sum(0) % 2 - 0.5)
    found = geometry.planes(rough, true, everywhere, [Plane(everywhere, flat)], CAMERA)
    assert found["pe_planarity_cm"] == pytest.approx(2, rel=0.02) and found["pe_orientation_deg"] < 0.2
    small = np.zeros((48, 64), bool)
    small[:6, :20] = True  # under a twentieth
    for mask, valid in ((small, everywhere), (everywhere, small)):  # of the plane itself, or of it where depth is valid
        found = geometry.planes(true, true, valid, [Plane(mask, flat)], CAMERA)
        assert found.pop("pe_planes") == 0 and all(math.isnan(x) for x in found.values())


def test_sides_are_judged_by_one_mask():
    true, said = np.array([[1.0, 2, 4, 5, np.nan]]), np.array([[1.0, 3.5, 2.5, 6, 1]])
    found = geometry.sides(said, true, np.isfinite(true))
    assert found == {"dde_right": 0.5, "dde_near": 0.25, "dde_far": 0.25, "dde_pixels": 4}


def room_with_planes() -> Sample:
    one = sample(0)
    edges = np.zeros(SIZE, np.uint8)
    edges[:, 80] = 255
    floor = np.zeros(SIZE, np.uint8)
    floor[50:, 45:] = 1
    values = one.values | {"edges": edges, "floor": floor}
    planes = {"floor": [[0, 0, 0, 0, 0.0, 0.0, 1.0]], "wall": [], "table": []}
    camera = np.array([[100.0, 0, 64], [0, 100, 48], [0, 0, 1]])
    masks = one.masks | {name: np.ones(SIZE, bool) for name in ("edges", "floor")}
    return Sample("ibims", one.rgb, values, masks, camera, {"planes": planes})


def test_ibims_measures_edges_planes_and_sides_where_its_files_tell_them():
    of = truth([room_with_planes(), sample(1)])
    score = benchmark.measure("ibims", of, [Says(of, "metric_depth_m", metres)]).scores[0]
    for name in ("dbe_accuracy", "dbe_completeness", "pe_planarity_cm", "pe_orientation_deg"):
        told, untold = score.values[name]
        assert told > 0 and math.isnan(untold) and score.means()[name] == told
    assert all(0 < one <= 1 for one in score.values["dde_right"])


def test_ibims_geometry_is_of_all_pixels_and_pooled_over_planes_whatever_the_crop_and_the_range_of_other_figures():
    """As its authors' evaluator has it: depth beyond 10 m and outside Eigen's crop too; a mean over all planes."""
    one, other = room_with_planes(), sample(1)
    wall = np.zeros(SIZE, np.uint8)
    wall[:40] = 1  # above the crop
    one.values["depth"][:40], other.values["depth"][:40] = one.values["depth"][:40] + 12, 2.0
    one.values["wall"], one.masks["wall"] = wall, np.ones(SIZE, bool)
    one.meta["planes"]["wall"] = [[0, 0, 0, 0, 0.0, -1.0, 0.0]]
    for name in ("floor", "edges"):
        other.values[name], other.masks[name] = one.values[name], one.masks[name]
    other = Sample(
        "other",
        other.rgb,
        other.values,
        other.masks,
        one.intrinsics,
        {"planes": {"floor": one.meta["planes"]["floor"]}},
    )
    of = truth([one, other])
    score = benchmark.measure("ibims", of, [Says(of, "metric_depth_m", metres)]).scores[0]
    planes, right, all_pixels = [], 0, 0
    for each in (one, other):
        valid, true, said = each.depth_valid, each.depth_m.astype(np.float64), metres(each).astype(np.float64)
        for plane in in_metres.planes_of(each):
            found = geometry.planes(said, true, valid, [plane], each.intrinsics)
            planes.append([found["pe_planarity_cm"], found["pe_orientation_deg"]])
        right += ((said <= 3) == (true <= 3))[valid].sum()
        all_pixels += valid.sum()
    assert len(planes) == 3 and np.isfinite(planes).all()
    pooled = score.pooled()
    assert [pooled["pe_planarity_cm"], pooled["pe_orientation_deg"]] == pytest.approx(np.mean(planes, axis=0), rel=1e-5)
    by_image = np.mean([np.mean(planes[:2], axis=0), planes[2]], axis=0)
    assert score.means()["pe_planarity_cm"] == pytest.approx(by_image[0], rel=1e-5) != pooled["pe_planarity_cm"]
    assert pooled["dde_right"] == pytest.approx(right / all_pixels) and pooled["dde_right"] < 1


def test_da2k_counts_pairs_by_the_kind_of_scene():
    pairs = [[10, 10, 90, 100], [20, 5, 80, 30], [90, 100, 10, 10]]  # row and column of the nearer; the last is wrong
    samples = [
        sample(0, scene_type="indoor", pairs=pairs),
        sample(1, scene_type="aerial", pairs=pairs[:1]),
    ]
    of = truth(samples, ("nearness",))
    for field, answer in (("relative_disparity", disparity), ("relative_depth", relative), ("metric_depth_m", metres)):
        result = benchmark.measure("da2k", of, [Says(of, field, answer)])
        pooled = result.scores[0].pooled()
        assert pooled["pairs_right"] == pytest.approx(3 / 4)
        assert pooled["pairs_indoor"] == pytest.approx(2 / 3) and pooled["pairs_aerial"] == 1
        assert "pairs_outdoor" not in pooled
        assert result.scores[1].pooled()["pairs_right"] == 0.5  # who says all is as near
    (drawn,) = report.drawn(result)
    assert list(drawn.columns[1].cells) == ["pairs", "pairs", "published", "published", "published"]
    assert list(drawn.columns[2].cells)[2:] == ["95.3%", "97.0%", "97.1%"]
    with pytest.raises(DavidError, match="no pixel of it has pairs"):
        benchmark.measure("da2k", truth([sample(0)], ("nearness",)), [Says(of, "metric_depth_m", metres)])


def test_kitti_from_its_published_layout_is_a_plain_loop_over_what_both_crops_and_the_range_leave(tmp_path: Path):
    raw = layouts.kitti(tmp_path / "raw", 1, 2, (355, 1220))

    def metres_of(rgb: np.ndarray) -> np.ndarray:
        said = (rgb[..., 0].astype(np.float32) - 20) * 0.5  # from below 0 to beyond 80
        said[200, 400:410], said[201, 400:410] = np.inf, np.nan
        return said

    class Reads:
        name, fields = "reads", ("metric_depth_m",)

        def predict(self, rgb: np.ndarray):
            assert rgb.shape == (352, 1216, 3)
            return {"metric_depth_m": metres_of(rgb)}

    result = benchmark.measure("kitti", found(table.named("kitti"), raw), [Reads()], accept=["depth"])
    assert len(result.keys) == 1 and "1 more image has no true depth that counts, and is left out." in result.notes
    rgb, depth, _ = (raw / "kitti_eigen_test_files_with_gt.txt").read_text().split()[:3]
    seen, steps = (cv2.imread(str(raw / one), cv2.IMREAD_UNCHANGED) for one in (f"raw/{rgb}", f"gts/{depth}"))
    assert seen is not None and steps is not None
    said, true = metres_of(seen[3:, 2:1218, ::-1]), steps[3:, 2:1218] / 256
    pairs = [
        (float(said[r, c]), float(true[r, c]))
        for r in range(int(0.40810811 * 352), int(0.99189189 * 352))
        for c in range(int(0.03594771 * 1216), int(0.96405229 * 1216))
        if 1e-3 < true[r, c] < 80
    ]
    assert len(pairs) > 10_000 and true.max() > 80 and min(p for p, _ in pairs) < 0
    for name, expected in slow(pairs, (1e-3, 80.0)).items():
        assert result.scores[0].values[f"metric_{name}"][0] == pytest.approx(expected, rel=1e-4), name


def test_spans_leave_out_what_is_not_strictly_within():
    one = sample(0)
    one.values["depth"][:] = 5.0
    one.values["depth"][0, :3] = 0.001, 10.0, 9.99
    counts = Span(1e-3, 10.0).counts(one)
    assert counts[0, :3].tolist() == [False, False, True]


@pytest.mark.parametrize("name", ["nyu", "sunrgbd", "ibims", "da2k"])
def test_each_benchmark_reads_its_published_layout_and_who_says_the_truth_is_right(name: str, tmp_path: Path):
    of = found(table.named(name), getattr(layouts, name)(tmp_path / "raw"))
    assert 0 < of.images <= 3

    def says(one: Sample, mirrored: bool) -> np.ndarray:
        """The truth, where the test can tell it; of DA-2K's rooms, which have the same numbers everywhere, that."""
        if "depth" in one.values:
            return np.where(one.depth_valid, one.depth_m, 3)
        return next(view.depth_m for view in layouts.views(3) if np.abs(view.rgb.astype(int) - one.rgb).mean() < 12)

    score = benchmark.measure(name, of, [Says(of, "metric_depth_m", says)]).scores[0]
    if name == "da2k":
        assert score.pooled()["pairs_right"] == 1
        return
    means = score.means()
    assert means["metric_abs_rel"] < 1e-6 and means["metric_a1"] == 1
    if name == "ibims":
        assert means["pe_planarity_cm"] < 2 and means["pe_orientation_deg"] < 1 and means["dde_right"] == 1
        assert means["dbe_accuracy"] < 3
