"""Benchmarks: figures against slow twins and by hand, each picture once, wrong roots named."""

import csv
import json
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import COUNT, SIZE, cutouts, number_file, p3m, people, picture, ppm, rendered
from smallest import network
from test_model_predict import onnx_file
from typer.testing import CliRunner

import david
from david.cli import app
from david.model import weights
from david.pack import DavidError, Sample
from david.pack.shards import manifest
from david.pack.work import build, plan
from david.train.eval.protocols import band, benchmark, report, table, truth
from david.train.eval.protocols.ahead import ahead
from david.train.eval.protocols.figures import EDGES, PAIRS, PLANES, SIDES, TARGETS
from david.train.eval.protocols.published import PUBLISHED
from david.train.eval.protocols.score import Score
from david.train.metrics.table import METRICS

WRITE = {"p3m-500-np": p3m, "ppm-100": ppm, "photomatte85": cutouts, "hi4d": rendered, "goliath-face": rendered}


def found(name: str, root: Path, **told: object) -> truth.Truth:
    return truth.found(table.named(name), root, told)


class Says:
    """Answers by a function of the truth, which it finds by the picture."""

    def __init__(self, of: truth.Truth, answer, name: str = "says", fields: tuple[str, ...] = ()):
        self.samples = {sample.rgb.tobytes(): sample for sample in of.each()}
        self.answer, self.name, self.fields = answer, name, fields or of.fields

    def predict(self, rgb: np.ndarray):
        return self.answer(self.samples[rgb.tobytes()])


def perfect(sample: Sample) -> dict[str, np.ndarray]:
    """The truth, as a network says it: depth to a scale and a shift of its own."""
    said = {}
    if "depth" in sample.values:
        said["relative_depth"] = np.where(sample.depth_valid, 0.3 * sample.depth_m + 1, 1e4).astype(np.float32)
    if "normals" in sample.values:
        said["normals"] = np.where(sample.normals_valid[..., None], sample.normals, [0, 1, 0]).astype(np.float32)
    if "alpha" in sample.values:
        said["alpha"] = sample.alpha.astype(np.float32) / 255
    return said


def noisy(sample: Sample) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(sample.rgb.astype(int).sum())
    said = {
        name: x + rng.normal(0, 0.02 if name == "relative_depth" else 0.2, x.shape)
        for name, x in perfect(sample).items()
    }
    if "alpha" in said:
        said["alpha"] = said["alpha"].clip(0, 1)
    if "normals" in said:
        said["normals"] /= np.linalg.norm(said["normals"], axis=-1, keepdims=True)
    return {name: x.astype(np.float32) for name, x in said.items()}


def slow_fit(p: list[float], d: list[float]) -> tuple[float, float]:
    """The least squares line through (p, d), by the normal equations."""
    n, sp, sd = len(p), sum(p), sum(d)
    spp, spd = sum(x * x for x in p), sum(x * y for x, y in zip(p, d, strict=True))
    scale = (n * spd - sp * sd) / (n * spp - sp * sp)
    return scale, (sd - scale * sp) / n


def slow_depth(sample: Sample, said: dict[str, np.ndarray]) -> list[tuple[float, float]]:
    """(aligned, true) metres of each pixel of the person."""
    places = [place for place in np.ndindex(*sample.depth_valid.shape) if sample.depth_valid[place]]
    p, d = ([float(x[place]) for place in places] for x in (said["relative_depth"], sample.depth_m))
    scale, shift = slow_fit(p, d)
    return [(scale * x + shift, y) for x, y in zip(p, d, strict=True)]


def slow_angles(sample: Sample, said: dict[str, np.ndarray]) -> list[float]:
    angles = []
    for place in np.ndindex(*sample.normals_valid.shape):
        if sample.normals_valid[place]:
            a, b = said["normals"][place].astype(float), sample.normals[place].astype(float)
            cosine = sum(a * b) / (sum(a * a) * sum(b * b)) ** 0.5
            angles.append(float(np.degrees(np.arccos(min(1, max(-1, cosine))))))
    return angles


def slow_alpha(sample: Sample, said: dict[str, np.ndarray], unknown: np.ndarray) -> dict[str, float]:
    errors, inside = [], []
    for place in np.ndindex(*sample.alpha.shape):
        errors.append(abs(float(said["alpha"][place]) - int(sample.alpha[place]) / 255))
        inside += [errors[-1]] if unknown[place] else []
    n = len(errors)
    return {
        "alpha_sad": sum(errors) / 1000,
        "alpha_sad_unknown": sum(inside) / 1000,
        "alpha_mse": sum(e * e for e in errors) / n,
        "alpha_mae": sum(errors) / n,
    }


def slow_ellipse(alpha: np.ndarray) -> np.ndarray:
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (30, 30)) > 0
    out, (height, width) = np.zeros(alpha.shape, bool), alpha.shape
    for row, column in np.ndindex(height, width):
        rows, columns = (range(max(0, at - 15), min(end, at + 15)) for at, end in ((row, height), (column, width)))
        inside = shape[
            rows.start - row + 15 : rows.stop - row + 15, columns.start - column + 15 : columns.stop - column + 15
        ]
        seen = alpha[rows.start : rows.stop, columns.start : columns.stop][inside]
        out[row, column] = seen.max() > 5 and seen.min() < 250
    return out


def measured(name: str, of: truth.Truth, answer) -> Score:
    return benchmark.measure(name, of, [Says(of, answer)]).scores[0]


@pytest.mark.parametrize(("name", "per_metre"), [("hi4d", 1), ("goliath-face", 10)])
def test_depth_and_normals_are_those_of_plain_loops(name: str, per_metre: int, tmp_path: Path) -> None:
    of = found(name, rendered(tmp_path))
    score = measured(name, of, noisy)
    unit = "m" if per_metre == 1 else "dm"
    all_depths, all_angles = [], []
    for place, sample in enumerate(of.each()):
        said = noisy(sample)
        depths, angles = slow_depth(sample, said), slow_angles(sample, said)
        squares = [(p - d) ** 2 for p, d in depths]
        ratios = [abs(p - d) / d for p, d in depths]
        value = {figure: values[place] for figure, values in score.values.items()}
        assert value[f"depth_rmse_{unit}"] == pytest.approx(per_metre * (sum(squares) / len(squares)) ** 0.5, rel=1e-6)
        assert value["depth_abs_rel"] == pytest.approx(sum(ratios) / len(ratios), rel=1e-6)
        assert value["normals_mean_deg"] == pytest.approx(sum(angles) / len(angles), rel=1e-5)
        assert value["normals_median_deg"] == pytest.approx(sorted(angles)[(len(angles) - 1) // 2], rel=1e-5)
        for degrees in (11.25, 22.5, 30):
            share = sum(angle < degrees for angle in angles) / len(angles)
            assert value[f"normals_within_{degrees:g}"] == pytest.approx(share) and 0 < share < 1
        all_depths += depths
        all_angles += angles
    assert score.means() == {name: pytest.approx(sum(v) / COUNT) for name, v in score.values.items()}
    pooled, n = score.pooled(), len(all_depths)
    assert pooled[f"depth_rmse_{unit}"] == pytest.approx(
        per_metre * (sum((p - d) ** 2 for p, d in all_depths) / n) ** 0.5, rel=1e-6
    )
    assert pooled["depth_abs_rel"] == pytest.approx(sum(abs(p - d) / d for p, d in all_depths) / n, rel=1e-6)
    assert pooled["normals_mean_deg"] == pytest.approx(np.mean(all_angles), rel=1e-5)
    assert pooled["normals_median_deg"] == pytest.approx(np.median(all_angles), abs=0.01)
    assert pooled["normals_within_22.5"] == pytest.approx(np.mean(np.array(all_angles) < 22.5))
    assert any(abs(score.means()[name] - pooled[name]) > 1e-4 * pooled[name] for name in pooled)


@pytest.mark.parametrize("name", ["p3m-500-np", "ppm-100", "photomatte85"])
def test_alpha_is_that_of_plain_loops(name: str, tmp_path: Path) -> None:
    of = found(name, WRITE[name](tmp_path))
    score = measured(name, of, noisy)
    by_image: dict[str, list[float]] = {}
    for place, sample in enumerate(of.each()):
        if name == "p3m-500-np":
            unknown = sample.value("trimap") == 128
        else:
            unknown = slow_ellipse(sample.alpha) if name == "ppm-100" else np.zeros(SIZE, bool)
        for figure, value in slow_alpha(sample, noisy(sample), unknown).items():
            if figure in score.values:
                by_image.setdefault(figure, []).append(value)
                assert score.values[figure][place] == pytest.approx(value, rel=1e-5), figure
    assert by_image.keys() == score.values.keys() and ("alpha_sad_unknown" in by_image) == (name != "photomatte85")
    pooled = score.pooled()  # all pictures are of one size
    assert pooled == {
        figure: pytest.approx(np.mean(by_image[figure]), rel=1e-5) for figure in ("alpha_mse", "alpha_mae")
    }


def test_pooled_figures_weigh_pictures_by_their_pixels(tmp_path: Path) -> None:
    p3m(tmp_path, samples=people(1, (48, 36)))
    for folder in ("original_image", "mask", "trimap"):
        for path in (tmp_path / folder).iterdir():
            path.rename(path.with_stem("small"))
    p3m(tmp_path, samples=people(1, (96, 60)))
    of = found("p3m-500-np", tmp_path)

    def answer(sample: Sample) -> dict[str, np.ndarray]:
        wrong = 0.5 if sample.key == "small" else 0.25
        return {"alpha": np.where(sample.alpha >= 128, sample.alpha / 255 - wrong, sample.alpha / 255 + wrong)}

    score = measured("p3m-500-np", of, answer)
    few, many = 48 * 36, 96 * 60
    assert score.means()["alpha_mae"] == pytest.approx(0.375)
    assert score.pooled()["alpha_mae"] == pytest.approx((0.5 * few + 0.25 * many) / (few + many))
    assert score.means()["alpha_sad"] == pytest.approx((0.5 * few + 0.25 * many) / 2000)
    assert "alpha_sad" not in score.pooled()


@pytest.mark.parametrize("name", WRITE)
def test_a_perfect_answer_has_no_error(name: str, tmp_path: Path) -> None:
    of = found(name, WRITE[name](tmp_path))
    score = measured(name, of, perfect)
    for figure, value in score.means().items():
        assert value == pytest.approx(1 if "within" in figure else 0, abs=2e-5), figure
        if figure in score.pooled():
            assert score.pooled()[figure] == pytest.approx(value, abs=1e-2 if "median" in figure else 1e-6)
    assert score.mirrored == 0


def by_hand(folder: Path) -> Path:
    """2 x 4 pixels, the person on the 6 left of each row's 3: depths 1, 1, 4 m in both rows, normals 0 and 60 degrees
    from the camera."""
    picture(folder / "image/a/0.png", np.zeros((2, 4, 3), np.uint8))
    picture(folder / "mask/a/0.png", np.array([[255, 255, 255, 0]] * 2, np.uint8))
    number_file(folder / "depth/a/0.npy", np.array([[1, 1, 4, 90]] * 2, np.float32))
    tilted = [np.sin(np.pi / 3), 0, np.cos(np.pi / 3)]
    number_file(folder / "normal/a/0.npy", np.array([[[0, 0, 1], [0, 0, 1], tilted, tilted]] * 2, np.float32))
    return folder


def test_a_constant_answer_has_the_figures_computed_by_hand(tmp_path: Path) -> None:
    of = found("goliath-full", by_hand(tmp_path))
    result = benchmark.measure("goliath-full", of, [])
    means = result.scores[-1].means()
    assert result.scores[-1].name == "a constant answer"
    assert means["depth_rmse_dm"] == pytest.approx(10 * 2**0.5)  # from the mean, 2 m: 1, 1 and 2 m
    assert means["depth_abs_rel"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert means["normals_mean_deg"] == pytest.approx(20) and means["normals_median_deg"] == pytest.approx(0, abs=1e-4)
    assert means["normals_within_30"] == pytest.approx(2 / 3)
    picture(tmp_path / "matte/original_image/0.png", np.zeros((1, 4, 3), np.uint8))
    picture(tmp_path / "matte/mask/0.png", np.array([[0, 51, 255, 255]], np.uint8))
    picture(tmp_path / "matte/trimap/0.png", np.array([[0, 128, 128, 255]], np.uint8))
    means = benchmark.measure("p3m-500-np", found("p3m-500-np", tmp_path / "matte"), []).scores[-1].means()
    assert means == {  # all foreground: off by 1 and 0.8
        "alpha_sad": pytest.approx(0.0018),
        "alpha_sad_unknown": pytest.approx(0.0008),
        "alpha_mse": pytest.approx(1.64 / 4),
        "alpha_mae": pytest.approx(1.8 / 4),
    }


def test_a_mirrored_depth_counts_as_flat_and_is_told(tmp_path: Path) -> None:
    of = found("hi4d", rendered(tmp_path))
    mirrored = Says(of, lambda sample: {**perfect(sample), "relative_depth": -perfect(sample)["relative_depth"]})
    result = benchmark.measure("hi4d", of, [mirrored])
    who, flat = result.scores
    assert who.values["depth_rmse_m"] == pytest.approx(flat.values["depth_rmse_m"], rel=1e-6)
    assert f"says: depth of {COUNT} of {COUNT} images does not grow with distance, and counts as flat." in result.notes


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_a_networks_own_scale_and_shift_of_depth_change_nothing(scale: float, shift: float) -> None:
    sample = people(1)[0]
    depth = noisy(sample)["relative_depth"].astype(np.float64)
    figures = []
    for said in (depth, scale * (depth + shift)):
        score = Score("x", table.named("hi4d"), ("relative_depth",))
        score.add({"relative_depth": said}, sample)
        figures.append(score.means())
    assert figures[0] == pytest.approx(figures[1], rel=1e-4)


def test_a_packed_benchmark_measures_as_its_files_do(tmp_path: Path) -> None:
    raw, shards = p3m(tmp_path / "raw"), tmp_path / "shards"
    source = truth.sources.chosen(raw)
    build.build(raw, shards, plan.PackOptions(image="webp", order="stored"), source=source, workers=1)
    of = [found("p3m-500-np", root) for root in (raw, shards)]
    scores = [benchmark.measure("p3m-500-np", one, [Says(one, noisy)]) for one in of]
    assert scores[0].keys == scores[1].keys and scores[0].scores[0].values == scores[1].scores[0].values
    for name, of in {"hi4d": "rendered", "p3m-500-p": "p3m-500-p", "nyu": "nyu or nyu_labeled"}.items():
        with pytest.raises(DavidError, match=f"shards: a set of p3m-500-np, and this benchmark is measured on {of}$"):
            found(name, shards)
    whole = manifest.load(shards)
    replace(whole, options=whole.options | {"source": "mine"}).write()  # of a source that is nobody else's
    with pytest.raises(DavidError, match="holds alpha, rgb, trimap; this benchmark needs depth, normals"):
        found("hi4d", shards)
    with pytest.raises(DavidError, match="--depth-scale: .* is a shard set, packed with what it was told then"):
        found("p3m-500-np", shards, depth_scale=0.001)


def test_the_files_agree_and_the_published_stand_beside(tmp_path: Path) -> None:
    of = found("hi4d", rendered(tmp_path / "raw"))
    says = [Says(of, noisy, "net"), Says(of, perfect, "net", ("normals",))]
    result = benchmark.measure("hi4d", of, says, worst=2)
    report.write(result, tmp_path / "out", {"net": {"source": "net.onnx"}})
    content = json.loads((tmp_path / "out/benchmark.json").read_text())
    assert [one["name"] for one in content["subjects"]] == ["net", "net (2)", "a constant answer"]
    with (tmp_path / "out/images.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["image"] for line in lines] == [key for key in result.keys for _ in range(3)]
    assert len(set(result.keys)) == COUNT == content["images"]
    for subject in content["subjects"]:
        for figure, value in subject["over_images"].items():
            values = [float(line[figure]) for line in lines if line["subject"] == subject["name"]]
            assert value == pytest.approx(np.mean(values), rel=1e-5, abs=1e-6)
    assert {line["depth_abs_rel"] for line in lines if line["subject"] == "net (2)"} == {""}
    depth, normals = report.drawn(result)
    assert [len(one.rows) for one in (depth, normals)] == [4 + 7, 6 + 4]  # of seven papers four say normals
    assert list(normals.columns[0].cells)[-4:] == ["DAViD Base", "DAViD Large", "DAViD multi-task Large", "Sapiens-2B"]
    assert list(normals.columns[2].cells)[-4:] == ["15.72", "15.37", "15.61", "12.14"]
    assert list(normals.columns[4].cells)[-4:] == ["43.2%", "45.1%", "", ""]
    assert any("hi4d has 1,195 images, 3 are here" in note for note in report.notes(result))


def test_the_worst_stand_first_on_the_sheets(tmp_path: Path) -> None:
    of = found("hi4d", rendered(tmp_path))
    wrong = {key: wrong for wrong, key in enumerate(sample.key for sample in of.each())}

    def answer(sample: Sample) -> dict[str, np.ndarray]:
        return {"normals": sample.normals + np.array([wrong[sample.key], 0, 0], np.float32)}

    from david.train.eval.protocols.worst import Worst

    drawn = Worst(2, of.fields, ["says"])
    score = Score("says", table.named("hi4d"), ("normals",))
    for sample in of.each():
        drawn.see(sample, [answer(sample)], [score.add(answer(sample), sample)])
    order = [of_key for of_key, _ in sorted(wrong.items(), key=lambda item: -item[1])]
    assert [row.captions[0] for row in drawn.rows["normals"]] == order[:2]
    assert drawn.labels["normals"] == ["rgb", "truth", "says", "error 0 to 45 degrees"]
    sheets = drawn.sheets()
    assert list(sheets) == ["worst-normals.png"]
    pixels = cv2.imdecode(np.frombuffer(sheets["worst-normals.png"], np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None and pixels.shape[1] > 4 * 192 and pixels.std() > 10


class Thing:
    pass


def test_the_next_is_made_while_one_is_used_and_no_third_is_there() -> None:
    made, alive = [threading.Event() for _ in range(5)], weakref.WeakSet()

    def things():
        for event in made:
            assert len(alive) < 2
            thing = Thing()
            alive.add(thing)
            event.set()
            yield thing
            del thing

    used = 0
    for thing in ahead(things()):
        used += 1
        if used < len(made):
            assert made[used].wait(60), "the next is made only when it is asked for"
        del thing
    assert used == len(made)


def test_what_goes_wrong_ahead_is_told_in_its_place() -> None:
    def things():
        yield 1
        yield 2
        raise DavidError("the third")

    seen = []
    with pytest.raises(DavidError, match="the third"):
        for thing in ahead(things()):
            seen.append(thing)
    assert seen == [1, 2]


def test_the_command_measures_weights_and_onnx_files_side_by_side(tmp_path: Path) -> None:
    """And says in JSON what it writes; an ONNX file that says red as depth is measured as red is."""
    weights.save(network(), tmp_path / "w.safetensors")
    onnx_file(tmp_path / "red.onnx", "relative_depth", "normals", "alpha", side=48)
    root, out = rendered(tmp_path / "raw"), tmp_path / "out"
    words = ["eval", "--benchmark", "hi4d", "--root", str(root), "--out", str(out), "--device", "cpu", "--json"]
    words += ["--weights", str(tmp_path / "w.safetensors"), "--onnx", str(tmp_path / "red.onnx")]
    result = CliRunner().invoke(app, [*words, "--normals-axes", "x,y,z", "--worst", "1"])
    assert result.exit_code == 0, result.output
    content = json.loads((out / "benchmark.json").read_text())
    assert json.loads(result.stdout) == content
    assert [one["name"] for one in content["subjects"]] == ["w.safetensors", "red.onnx", "a constant answer"]
    assert [one.get("side") for one in content["subjects"]] == [512, 48, None]
    assert sorted(one.name for one in out.iterdir()) == [
        "benchmark.json", "images.csv", "worst-depth.png", "worst-normals.png",
    ]  # fmt: skip
    of = found("hi4d", root)
    red = david.load(tmp_path / "red.onnx")
    alone = benchmark.measure("hi4d", of, [red]).scores[0].means()
    assert content["subjects"][1]["over_images"] == pytest.approx(alone)
    for sample, value in zip(
        of.each(), benchmark.measure("hi4d", of, [red]).scores[0].values["depth_rmse_m"], strict=True
    ):
        aligned = slow_depth(sample, {"relative_depth": red.predict(sample.rgb)["relative_depth"]})
        mean = np.mean([true for _, true in aligned])
        flat = np.mean([(true - mean) ** 2 for _, true in aligned]) ** 0.5
        fitted = np.mean([(said - true) ** 2 for said, true in aligned]) ** 0.5
        assert value == pytest.approx(fitted, rel=1e-5) or value == pytest.approx(flat, rel=1e-5)  # where red falls


def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path) -> None:
    of = found("p3m-500-np", p3m(tmp_path / "matte"))
    for said, answer, fields in (
        ("says: says normals, but p3m-500-np in .* has truth for alpha", perfect, ("normals",)),
        ("says: its alpha of p_0000 holds what is no finite number", lambda s: {"alpha": np.full(SIZE, np.nan)}, ()),
    ):
        with pytest.raises(DavidError, match=said):
            benchmark.measure("p3m-500-np", of, [Says(of, answer, fields=fields)])
    with pytest.raises(DavidError, match="--benchmark is `coco`, but can only be p3m-500-np, p3m-500-p, ppm-100"):
        table.named("coco")
    raw = rendered(tmp_path / "opencv", [flipped(one) for one in people(8, (192, 144))])
    with pytest.raises(
        DavidError,
        match="Y points down and Z away from the camera, as OpenCV has it.*--normals-axes right.*--accept normals",
    ):
        found("hi4d", raw)
    assert found("hi4d", raw, normals_axes="x,-y,-z").images == 8
    accepted = truth.found(table.named("hi4d"), raw, accept=["normals"])
    assert "as OpenCV has it" in accepted.doubts[0]
    assert f"Accepted: {accepted.doubts[0]}." in benchmark.measure("hi4d", accepted, []).notes


def flipped(sample: Sample) -> Sample:
    """With normals as OpenCV has them."""
    values = sample.values | {"normals": sample.normals * np.array([1, -1, -1], np.float32)}
    return Sample(sample.key, sample.rgb, values, sample.masks, step_m=sample.step_m)


def test_every_row_can_be_measured_and_every_published_figure_is_one_of_its_protocol() -> None:
    for name, protocol in table.BENCHMARKS.items():
        figures = {one.name: one for of_field in protocol.figures.values() for one in of_field}
        assert protocol.source in truth.sources.SOURCES and set(protocol.figures) <= set(TARGETS)
        own = {one.of for one in (*EDGES, *PLANES, *SIDES, *PAIRS)}  # which no split is measured by
        assert all(one.of in own or METRICS[one.of].grows == one.grows for one in figures.values())
        assert ("alpha_sad_unknown" in figures) == (protocol.band is not None)
        for row in PUBLISHED.get(name, ()):
            assert row.figures.keys() <= figures.keys() and row.source
    assert set(PUBLISHED) <= set(table.BENCHMARKS)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 40))
def test_the_ellipse_is_that_of_plain_loops(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = rng.choice(np.array([0, 3, 255, 252, 128], np.uint8), (height, width), p=[0.6, 0.2, 0.1, 0.09, 0.01])
    assert np.array_equal(band.ellipse(alpha), slow_ellipse(alpha))
