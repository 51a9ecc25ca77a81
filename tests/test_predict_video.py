"""Videos and cameras through `david predict`: times, sound and pictures as they were, whole or absent."""

import json
import os
import signal
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from predicting import ask
from smallest import network

from david.model import weights
from david.model.predict import clips, video
from david.model.predict.clips import Filming
from david.model.predict.inputs import VIDEO, WEBCAM, Input, listed
from david.model.predict.predictor import Predictor
from david.model.predict.runner import Job
from david.pack.errors import DavidError

av = pytest.importorskip("av")
MS = Fraction(1, 1000)
UNEVEN = [0, 40, 110, 130, 260, 300, 340, 470]  # ms


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "w.safetensors"
    weights.save(network(), path)
    return path


def picture(number: int, shape: tuple[int, int]) -> np.ndarray:
    """Red above left, blue to the right, and grey that tells the number."""
    rgb = np.full((*shape, 3), 60 + 10 * (number % 12), np.uint8)
    rgb[: shape[0] // 2, : shape[1] // 2] = 220, 30, 30
    rgb[:, -shape[1] // 4 :] = 30, 30, 220
    return rgb


def film(
    path: Path,
    times_ms: list[int],
    shape: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    sound: str | None = None,
    turned: int = 0,
) -> Path:
    """A video of pictures at these times, with a tone of the same length beside."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = shape[1], shape[0], "yuv420p"
        stream.codec_context.time_base = MS
        if turned:
            stream.set_display_rotation(turned)
        tone = container.add_stream(sound, rate=48000) if sound else None
        for number, time in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(picture(number, shape), format="rgb24")
            frame.pts, frame.time_base = time, MS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone:
            samples = (8000 * np.sin(np.arange(48 * times_ms[-1]) / 20)).astype(np.int16)
            for start in range(0, len(samples), 1024):
                part = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="s16", layout="mono")
                part.sample_rate, part.pts, part.time_base = 48000, start, Fraction(1, 48000)
                container.mux(tone.encode(part))
            container.mux(tone.encode(None))
    return path


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


@pytest.mark.parametrize(("turned", "red"), [(0, "above left"), (90, "below left"), (180, "below right")])
def test_frames_are_upright_in_their_colours(tmp_path: Path, turned: int, red: str) -> None:
    with video.opened(film(tmp_path / "a.mov", [0, 100], turned=turned)) as clip:
        frames = list(clip)
    shape = (64, 48) if turned == 90 else (48, 64)
    places = {"above left": (4, 4), "below left": (-4, 4), "below right": (-4, -4)}
    assert [frame.rgb.shape for frame in frames] == [(*shape, 3)] * 2
    assert np.abs(frames[0].rgb[places[red]].astype(int) - [220, 30, 30]).max() < 12


@pytest.mark.parametrize(
    ("name", "codec", "tone"),
    [("a.mp4", "libx264", "aac"), ("a.mkv", "libx264", "flac"), ("a.webm", "libvpx-vp9", "libopus")],
)
def test_times_and_sound_are_kept(tmp_path: Path, name: str, codec: str, tone: str) -> None:
    path = film(tmp_path / name, UNEVEN, codec=codec, sound=tone)
    with video.opened(path) as clip, video.written(tmp_path / "out.mp4", (48, 64), clip.rate, clip.tick, path) as add:
        for frame in clip:
            add(frame.rgb, frame.time)
    assert times(tmp_path / "out.mp4") == pytest.approx(times(path), abs=1e-6)
    assert np.diff(times(path)) == pytest.approx(np.diff(UNEVEN) / 1000, abs=1e-3)
    assert len(sound(path)) > 3 and sound(tmp_path / "out.mp4") == sound(path)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_a_video_that_begins_late_is_as_long_as_its_pictures(name: str, tmp_path: Path) -> None:
    with video.opened(film(tmp_path / name, list(range(5000, 7000, 100)))) as clip:
        assert clip.length_s is not None and abs(clip.length_s - 2) < 0.2 and len(list(clip)) == 20
    if name == "a.mkv":
        with video.opened(cut(tmp_path / name, 0.8)) as clip, pytest.raises(DavidError, match="cut short"):
            list(clip)


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shown = [np.kron(one, np.ones((8, 8, 1), np.uint8)) for one in rng.integers(0, 255, (24, 12, 36, 3), np.uint8)]
    for number in range(4):
        with video.written(tmp_path / f"{number}.mp4", (96, 288), Fraction(10), Fraction(1, 10)) as add:
            for time, rgb in enumerate(shown):
                add(rgb, time)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_frame_of_cinemas_4k_is_read_and_one_of_more_than_was_said_is_not(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [0], (2160, 4096))
    with video.opened(path) as clip:
        assert clip.pixels == 2160 * 4096
    with pytest.raises(DavidError, match="a.mp4: frames of 4096 x 2160 pixels, more than 1 million"):
        video.opened(path, 1_000_000).__enter__()


def test_sound_that_mp4_can_not_hold_is_encoded_anew(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", [0, 100, 200, 300], codec="mpeg4", sound="pcm_s16le")
    with video.written(tmp_path / "out.mp4", (48, 64), Fraction(10), MS, path) as add:
        for number in range(4):
            add(picture(number, (48, 64)), 100 * number)
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert [stream.codec_context.name for stream in out.streams] == ["h264", "aac"]
        assert sum(frame.samples for frame in out.decode(audio=0)) >= 0.25 * 48000


def test_pictures_come_back_as_they_were_written_whatever_their_sides(tmp_path: Path) -> None:
    rgb = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8), (65, 47))
    with video.written(tmp_path / "out.mp4", (47, 65), Fraction(25), Fraction(1, 25)) as add:
        for time in range(3):
            add(rgb, time)
    with video.opened(tmp_path / "out.mp4") as clip:
        for frame in clip:
            assert frame.rgb.shape == (48, 66, 3)
            assert np.abs(frame.rgb[:47, :65].astype(int) - rgb).mean() < 4


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def only_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        tone = container.add_stream("aac", rate=48000)
        part = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        part.sample_rate = 48000
        container.mux([*tone.encode(part), *tone.encode(None)])
    return path


def text(path: Path, words: str) -> Path:
    path.write_text(words)
    return path


BROKEN = {
    "text": (lambda folder: text(folder / "a.mp4", "no video\n" * 99), "not a video that FFmpeg can read"),
    "nothing": (lambda folder: text(folder / "a.mp4", ""), "not a video that FFmpeg can read"),
    "playlist": (
        lambda folder: text(
            folder / "a.ts", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{film(folder / 'b.mp4', [0, 100])}\n"
        ),
        "not a video that FFmpeg can read",
    ),
    "no index": (lambda folder: cut(film(folder / "a.mp4", UNEVEN), 0.3), "not a video that FFmpeg can read"),
    "cut short": (lambda folder: cut(film(folder / "a.mkv", list(range(0, 4000, 100))), 0.5), "cut short"),
    "sound alone": (lambda folder: only_sound(folder / "a.mp4"), "without moving pictures"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_no_whole_video_is_one_sentence_and_leaves_nothing(trained: Path, tmp_path: Path, how: str) -> None:
    make, says = BROKEN[how]
    path = make(tmp_path)
    code, said = ask(path, "--weights", trained, "--out", tmp_path / "out", "--size", 32, "--no-progress")
    assert code == 2 and says in " ".join(said.split()) and str(path) in said.replace("\n", "")
    assert not list((tmp_path / "out").glob("*.mp4"))
    assert json.loads((tmp_path / "out" / "predictions.jsonl").read_text())["error"].startswith(str(path))


def test_a_video_becomes_a_video_and_its_frames_files(trained: Path, tmp_path: Path) -> None:
    path, out = film(tmp_path / "walk.mp4", UNEVEN, sound="aac"), tmp_path / "out"
    words = (path, "--weights", trained, "--out", out, "--size", 32, "--save", "picture,depth", "--steady")
    code, said = ask(*words)
    assert code == 0 and "1 input of 1 predicted" in said
    assert times(out / "walk_video.mp4") == pytest.approx(times(path), abs=1e-6)
    assert sound(out / "walk_video.mp4") == sound(path)
    with av.open(str(out / "walk_video.mp4")) as shown:
        frame = next(shown.decode(video=0))
        assert (frame.height, frame.width) == (48, 4 * 64)  # itself, depth, normals, alpha
    line = json.loads((out / "predictions.jsonl").read_text())
    frames = [f"walk_frames/{number:06d}_depth.png" for number in range(len(UNEVEN))]
    assert list(line["files"]) == ["walk_video.mp4", *frames]
    assert all((out / name).stat().st_size == size for name, size in line["files"].items())
    assert line["frames"] == len(UNEVEN) and line["depth_range"][0] < line["depth_range"][1]
    assert cv2.imread(str(out / frames[0]), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    before = {name: (out / name).read_bytes() for name in line["files"]}
    assert "1 were there" in ask(*words)[1]
    ask(*words, "--restart")
    assert before == {name: (out / name).read_bytes() for name in line["files"]}, "the same frames, other bytes"


def test_pictures_and_videos_of_a_folder_are_predicted_in_order(trained: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    film(folder / "b.mp4", [0, 100, 200])
    for name in ("a.png", "c.png"):
        cv2.imwrite(str(folder / name), picture(0, (20, 30)))
    assert ask(folder, "--weights", trained, "--out", out, "--size", 32, "--frames", 2)[0] == 0
    told = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [list(line["files"]) for line in told] == [["a_picture.jpg"], ["b_video.mp4"], ["c_picture.jpg"]]
    assert len(times(out / "b_video.mp4")) == 2 == told[1]["frames"]


class Says:
    """A predictor of the smallest kind: depth is red, alpha everywhere."""

    fields, side, batch, on_gpu = ("relative_depth", "alpha"), None, None, False

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        red = images[..., 0][:, None].astype(np.float32) / 255
        return {"relative_depth": red, "alpha": np.ones_like(red)}


def job(out: Path, *saves: str) -> Job:
    return Job(Predictor((Says(),), side=32), out, saves or ("picture",), threads=2)  # type: ignore[arg-type]


def test_a_video_that_is_stopped_is_not_there_and_begins_again(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", list(range(0, 1600, 40)))
    one, seen = Input("a.mp4", path, VIDEO, "a"), []
    with pytest.raises(clips.Unfinished):
        clips.predict(job(tmp_path), one, Filming(stopped=lambda: len(seen) > 9), lambda done, _: seen.append(done))
    assert [name.name for name in tmp_path.iterdir()] == ["a.mp4"]
    assert clips.predict(job(tmp_path), one, Filming(), lambda done, total: None).facts["frames"] == 40


def test_frames_are_made_only_so_far_ahead_of_who_asks() -> None:
    made: list[int] = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    with clips._ahead(items(), 3) as coming:
        for asked in range(1, 20):
            next(coming)
            assert len(made) <= asked + 3 + 2  # in the queue, in the thread's hands, and being made
    assert len(made) < 30


class Camera:
    """What OpenCV's VideoCapture is asked for; a picture that can't be had first, as cameras do, then `most`."""

    most, pressed = 6, None

    def __init__(self, number: int):
        self.number, self.given = number, 0

    def isOpened(self) -> bool:
        return self.number == 1

    def get(self, what: int) -> float:
        return 30.0

    def read(self):
        self.given += 1
        if self.given == self.pressed:
            os.kill(os.getpid(), signal.SIGINT)
        if self.given == 1 or self.given > self.most + 1:
            return False, None
        return True, picture(self.given, (24, 32))[..., ::-1].copy()

    def release(self) -> None:
        pass


def test_a_camera_films_until_it_ends_or_is_told_to(trained: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    out = tmp_path / "out"
    words = ("webcam:1", "--weights", trained, "--out", out, "--size", 32, "--no-progress")
    assert ask(*words, "--steady")[0] == 0
    (shown,) = out.glob("webcam_1-*_video.mp4")
    assert len(times(shown)) == 6 and (np.diff(times(shown)) > 0).all()
    assert ask(*words, "--frames", 3, "--restart")[0] == 0
    (shown,) = out.glob("webcam_1-*_video.mp4")
    assert len(times(shown)) == 3


def test_ctrl_c_ends_a_film_that_is_kept(trained: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "most", 10**9)
    monkeypatch.setattr(Camera, "pressed", 8)
    code, said = ask("webcam:1", "--weights", trained, "--out", tmp_path, "--size", 32, "--no-progress")
    assert code == 0 and "1 input of 1 predicted" in said
    (shown,) = tmp_path.glob("webcam_1-*_video.mp4")
    assert 3 <= len(times(shown)) <= 8


def test_a_camera_that_is_not_there_is_one_sentence(trained: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    code, said = ask("webcam", "--weights", trained, "--out", tmp_path / "out", "--size", 32)
    assert code == 2 and "webcam:0: there is no such camera" in " ".join(said.split())


def test_names_of_cameras_and_videos_are_told_apart(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.MP4").touch()
    assert [one.kind for one in listed(["webcam", "webcam:12", "a.MP4"]).inputs] == [WEBCAM, WEBCAM, VIDEO]
    with pytest.raises(DavidError, match="no such file"):
        listed(["webcam:x"])


def test_without_pyav_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with (
        pytest.raises(DavidError, match=r"PyAV, which is not installed: pip install .*\[video\]"),
        video.opened(tmp_path),
    ):
        pass
