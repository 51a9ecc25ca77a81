"""`david demo`: what the page does with a picture, who can reach it and whom it reaches, and all of it in a browser."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, chromium
from smallest import network

from david.model import weights
from david.model.predict import outputs, video
from david.model.predict.engine import TorchEngine
from david.model.predict.fields import Fields
from david.model.predict.points import Points
from david.model.predict.predictor import Predictor
from david.pack import DavidError
from david.train.use import demo, desk, uploads
from david.train.use.desk import Desk


def photo(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 RGB, smooth."""
    rng = np.random.default_rng(height * width)
    return cv2.resize(rng.integers(0, 256, (5, 4, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def written(path: Path, rgb: np.ndarray) -> Path:
    cv2.imwrite(str(path), rgb[..., ::-1])
    return path


class Half:
    """Says depth, normals and alpha by where a pixel stands: the left half is foreground, its depth grows downwards."""

    fields, name = ("relative_depth", "normals", "alpha"), "half"

    def predict(self, rgb: np.ndarray) -> Fields:
        height, width = rgb.shape[:2]
        down = np.repeat(np.linspace(0, 1, height, dtype=np.float32)[:, None], width, axis=1)
        towards = np.tile(np.array([0, 0, 1], np.float32), (height, width, 1))
        return Fields({"relative_depth": down, "normals": towards, "alpha": (np.arange(width) < width / 2) + down * 0})


@pytest.fixture
def work(tmp_path: Path) -> Desk:
    return Desk(Half(), tmp_path / "results", most_megapixels=0.1)


def test_files_are_those_of_the_command_line_and_views_are_of_the_picture(work: Desk, tmp_path: Path) -> None:
    rgb = photo(60, 80)
    path = written(tmp_path / "upload.png", rgb)
    answer = work.picture(path, "my photo.png", 60.0, list(outputs.KINDS))
    shot = outputs.Shot(rgb, work.predictor.predict(rgb))
    assert [file.name for file in answer.files] == [f"my-photo{kind.ending}" for kind in outputs.KINDS.values()]
    for file, kind in zip(answer.files, outputs.KINDS.values(), strict=True):
        assert file.read_bytes() == kind.write(shot), kind.about
    assert list(answer.views) == ["relative_depth", "normals", "alpha", "cut-out"] == work.views
    for view in (answer.input, *answer.views.values()):
        assert cv2.imread(str(view)).shape == rgb.shape
    seen = cv2.imread(str(answer.views["cut-out"])).astype(int)
    assert np.abs(seen[:, :36, ::-1] - rgb[:, :36]).mean() < 6 and (seen[:, 44:] > 245).all()
    assert re.fullmatch(r"my photo.png: 80 x 60 pixels, predicted in \d+\.\d\d s", answer.told)


def test_a_network_without_depth_or_alpha_offers_no_points_and_no_cut_out(tmp_path: Path) -> None:
    predictor = Predictor((TorchEngine(network(heads=("normals",))),), side=32)
    work = Desk(predictor, tmp_path / "results")
    assert work.views == ["normals"] and not work.has_cloud
    assert work.kinds() == ["picture", "normals", "normals-exr", "npz"]
    answer = work.picture(written(tmp_path / "a.png", photo(20, 30)), "a.png", 60.0, work.kinds())
    assert answer.cloud is None and len(answer.files) == 4


def test_points_stand_upright_before_who_looks_with_the_near_in_front() -> None:
    """Camera's axes are X right, Y down, Z away; a viewer's X right, Y up, Z towards who looks."""
    xyz = np.array([[-1, -2, 3], [1, 2, 7]], np.float32)  # the first is left, above and near
    data = desk.for_viewer(Points(xyz, np.array([[255, 0, 0], [0, 255, 0]], np.uint8)))
    head, _, body = data.partition(b"end_header\n")
    assert b"element vertex 2\n" in head and b"property uchar red\n" in head
    vertices = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    assert np.array_equal(vertices["xyz"], [[-1, 2, 2], [1, -2, -2]])
    assert np.array_equal(vertices["rgb"], [[255, 0, 0], [0, 255, 0]])


def test_a_picture_without_a_person_has_views_and_files_but_no_points(work: Desk, tmp_path: Path) -> None:
    said = work.predictor.predict(photo(20, 30))
    work.predictor.predict = lambda rgb: Fields({**said, "alpha": said["alpha"] * 0})
    answer = work.picture(written(tmp_path / "a.png", photo(20, 30)), "a.png", 60.0, work.kinds())
    assert answer.cloud is None and "no pixel is foreground" in answer.told
    assert len(answer.views) == 4 and len(answer.files) == len(outputs.KINDS)


def test_points_to_turn_are_few_and_points_to_keep_are_all(
    work: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "MOST_POINTS", 500)
    answer = work.picture(written(tmp_path / "a.png", photo(60, 80)), "view.png", 60.0, ["points"])
    counts = [int(path.read_bytes().split(b"element vertex ")[1].split()[0]) for path in (answer.cloud, *answer.files)]
    assert 100 < counts[0] <= 500 and counts[1] == 60 * 40


def test_a_bad_upload_is_one_sentence_that_names_it_and_leaves_nothing(work: Desk, tmp_path: Path) -> None:
    text, large = tmp_path / "upload1", written(tmp_path / "upload2.png", photo(400, 300))
    text.write_text("no picture at all")
    for path, told in {
        text: "holiday.jpg: no picture that can be read",
        large: "holiday.jpg: declares 400 rows x 300 columns, at most 100,000",
    }.items():
        with pytest.raises(DavidError, match=told):
            work.picture(path, "holiday.jpg", 60.0, ["npz"])
    assert not work.folder.exists()


def test_what_a_network_cant_take_is_told_by_the_pictures_name(work: Desk, tmp_path: Path) -> None:
    def refused(rgb: np.ndarray) -> Fields:
        raise DavidError("too long")

    work.predictor.predict = refused
    with pytest.raises(DavidError, match="^a.png: too long$"):
        work.picture(written(tmp_path / "upload.png", photo(8, 8)), "a.png", 60.0, [])


@pytest.fixture
def films(tmp_path: Path) -> Desk:
    return Desk(Predictor((TorchEngine(network()),), side=32, name="small"), tmp_path / "results")


def filmed(path: Path, frames: int) -> Path:
    with video.written(path, (48, 32), Fraction(10), Fraction(1, 10)) as add:
        for time in range(frames):
            add(photo(48 + time, 32)[:48], time)
    return path


def test_a_clip_becomes_one_of_as_many_frames_beside_what_is_said(
    films: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    path = filmed(tmp_path / "upload.mp4", 5)
    made, told = films.clip(path, "my clip.mov", True, lambda count, total: done.append(count))
    with video.opened(made) as clip:
        shapes = [frame.rgb.shape for frame in clip]
    assert made.name == "my-clip_video.mp4" and shapes == [(48, 4 * 32, 3)] * 5 and done == [1, 2, 3, 4, 5]
    assert told == "my clip.mov: 5 frames"
    monkeypatch.setattr(desk, "MOST_FRAMES", 3)
    _, told = films.clip(path, "my clip.mov", False, lambda count, total: None)
    assert told == "my clip.mov: 3 frames, the most that this page takes; david predict takes a whole video"
    (tmp_path / "bad").write_bytes(b"no clip")
    with pytest.raises(DavidError, match="^my clip.mov: not a video"):
        films.clip(tmp_path / "bad", "my clip.mov", True, lambda count, total: None)


def test_a_clip_under_way_ends_with_the_page(films: Desk, tmp_path: Path) -> None:
    path = filmed(tmp_path / "upload.mp4", 30)
    with pytest.raises(DavidError, match="a.mp4: stopped"):
        films.clip(path, "a.mp4", False, lambda count, total: films.stopping.set())
    assert not list(films.folder.rglob("*.mp4"))


def test_old_results_make_room_for_new_ones(work: Desk, tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", photo(8, 8))
    answers = [work.picture(path, "a.png", 60.0, ["alpha"]) for _ in range(desk.KEPT + 3)]
    assert [answer.files[0].exists() for answer in answers] == [False] * 3 + [True] * desk.KEPT
    assert len(list(work.folder.iterdir())) == desk.KEPT


def test_the_oldest_files_make_room_for_what_is_uploaded(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "a/mid", "b/old", "b/oldest")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "forgotten").mkdir()
    os.utime(tmp_path / "forgotten", (1e9, 1e9))
    for most, left in ((400, 4), (399, 3), (250, 2), (250, 2), (0, 0)):
        uploads.make_room(tmp_path, most)
        assert len([one for one in tmp_path.rglob("*") if one.is_file()]) == left
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b"]  # just emptied: an upload may be on its way


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c.png", "...", "x" * 300 + ".png", "$(rm).png", "日本.png"])
def test_a_name_from_outside_names_no_other_place(name: str, work: Desk, tmp_path: Path) -> None:
    answer = work.picture(written(tmp_path / "a.png", photo(8, 8)), name, 60.0, ["alpha"])
    assert answer.files[0].parent.parent == work.folder and len(answer.files[0].name) < 100


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment as `david demo` sets it, and put back."""
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "GRADIO_TEMP_DIR", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "kept")
    demo.settle(tmp_path)
    return tmp_path


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every host that this process connects to or asks the address of."""
    hosts: list[str] = []
    connect, ask = socket.socket.connect, socket.getaddrinfo

    def connecting(self: socket.socket, address):
        hosts.append(str(address[0]) if self.family in (socket.AF_INET, socket.AF_INET6) else "local")
        return connect(self, address)

    def asking(host, *how, **more):
        hosts.append(host.decode() if isinstance(host, bytes) else str(host))
        return ask(host, *how, **more)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    monkeypatch.setattr(socket, "getaddrinfo", asking)
    return hosts


def listening() -> set[tuple[str, int]]:
    """Addresses that this process listens at, (hexadecimal address, port)."""
    own, found = set(), set()
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own has gone
            own.add(str(handle.readlink()))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in own:
                address, port = words[1].split(":")
                found.add((address, int(port, 16)))
    return found


def some_port() -> int:
    """One that nobody listens on, and that another run of these tests hardly takes as well."""
    with socket.socket() as one:
        one.bind((demo.HOST, 0))
        return one.getsockname()[1]


def test_a_port_that_is_taken_meanwhile_is_told_in_a_sentence(work: Desk, settled: Path):
    from david.train.use.demo_page import served

    with socket.socket() as taken:
        taken.bind((demo.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DavidError, match=f"--port {port}: can't be listened on"), served(work, demo.HOST, port):
            pass


def test_a_page_listens_on_this_machine_alone_and_reaches_nothing_else(
    work: Desk, settled: Path, reached: list[str]
) -> None:
    from david.train.use.demo_page import served

    port = some_port()
    before = listening()
    with served(work, demo.HOST, port) as (address, shared):
        assert listening() - before == {("0100007F", port)} and shared is None
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address) as answer:
            policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()
        with pytest.raises(DavidError, match=f"--port {port}: can't be listened on at 127.0.0.1"):
            demo.free(demo.HOST, [port])
    assert "default-src 'self'" in policy and "http" not in policy and "*" not in policy
    assert "fonts.googleapis" not in page and "half" in page
    assert set(reached) <= {"127.0.0.1", "localhost", "local", "None"}
    assert listening() == before


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


FORM = b"--x\r\nContent-Disposition: form-data; name=files; filename=%s\r\n\r\n"


def test_an_upload_that_is_too_large_or_breaks_off_leaves_nothing(work: Desk, settled: Path) -> None:
    from david.train.use.demo_page import BYTES_PER_PIXEL, ROOM_BYTES, served

    most, port = work.most_pixels * BYTES_PER_PIXEL + ROOM_BYTES, some_port()
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with served(work, demo.HOST, port):
        for name, parts in (("one", [most + 1]), ("many", [most - 1000] * 3), ("cut", [1 << 20])):
            body = b"".join(FORM % b"%d" % number + bytes(size) + b"\r\n" for number, size in enumerate(parts))
            with socket.create_connection((demo.HOST, port)) as one:
                one.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % (len(body) + 5 + (name == "cut")))
                with suppress(BrokenPipeError, ConnectionResetError):  # who has heard enough hangs up
                    one.sendall(body + (b"--x--" if name != "cut" else b""))
                if name == "cut":
                    until(lambda: any(path.is_file() for path in settled.rglob("*")))
                else:
                    assert b" 413 " in one.recv(100)
            until(lambda: not any(path.is_file() for path in settled.rglob("*")))


def test_the_handler_of_the_page_gives_each_component_its_part(work: Desk, settled: Path, tmp_path: Path) -> None:
    import gradio

    from david.train.use import demo_page

    made = demo_page.page(work)
    (handler,) = [one for one in made.fns.values() if one.name == "predict"]
    path = written(tmp_path / "upload.png", photo(20, 30))
    found = handler.fn((str(path), "a.png"), ["npz"], 60.0)
    assert len(found) == len(handler.outputs) == 1 + len(work.views) + 1 + 1
    assert found[0].startswith("`a.png: 30 x 20 pixels, predicted in ") and found[-1][0].endswith("a_fields.npz")
    (filming,) = [one for one in made.fns.values() if one.name == "film"]
    for one, given, what in ((handler, [None, [], 60.0], "picture"), (filming, [None, True], "clip")):
        with pytest.raises(gradio.Error, match=f"no {what} yet"):
            one.fn(*given)
    path.write_bytes(b"text")
    with pytest.raises(gradio.Error, match="&lt;b&gt;.png: no picture that can be read"):
        handler.fn((str(path), "<b>.png"), [], 60.0)
    assert {(one.concurrency_limit, one.concurrency_id) for one in (handler, filming)} == {(1, "network")}
    assert made._queue.max_size == demo_page.WAITING


def test_without_gradio_one_sentence_says_what_to_install(tmp_path: Path, warm: None) -> None:
    weights.save(network(), tmp_path / "w.safetensors")
    code = "import sys; sys.modules['gradio'] = None; from david.cli import main; main()"
    words = ["demo", "--weights", str(tmp_path / "w.safetensors")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"david: the demo's page needs Gradio, which is not installed: {demo.INSTALL}\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, str, Path]]:
    """`david demo` with the smallest network, where its page is, and the folder of its temporary files."""
    weights.save(network(), tmp_path / "w.safetensors")
    (tmp_path / "temporary").mkdir()
    port = some_port()
    words = ["demo", "--weights", str(tmp_path / "w.safetensors"), "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "david.cli", *words],
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout
        told = process.stdout.readline()
        assert told == f"http://127.0.0.1:{port}/  open it in a browser; Ctrl-C ends it\n", told + process.stdout.read()
        yield process, f"http://127.0.0.1:{port}/", tmp_path / "temporary"
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_in_a_browser_a_picture_becomes_views_points_and_files_and_ctrl_c_leaves_nothing(
    running: tuple[subprocess.Popen, str, Path], tmp_path: Path
) -> None:
    process, address, temporary = running
    rgb = photo(120, 90)
    path = written(tmp_path / "my photo.png", rgb)
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "loads").mkdir()
    with chromium(tmp_path / "profile") as browser:
        browser.open(address)
        browser.wait("document.querySelector('#predict') && document.querySelector('#picture input[type=file]')")
        browser.upload("#picture input[type=file]", path)
        browser.wait("document.querySelector('#picture img')?.naturalWidth == 90")
        browser.run("document.querySelector('#predict').click()")
        browser.wait("document.querySelectorAll('#files a[download]').length == 7")
        browser.wait(
            "[...document.querySelectorAll('#view-relative_depth img')].every((one) => one.naturalWidth == 90)"
        )
        assert browser.run("document.querySelectorAll('#view-relative_depth img').length") >= 2
        assert "my photo.png: 90 x 120 pixels" in browser.run("document.querySelector('#told').innerText")

        link = "document.querySelector('#files a[download$=\"_fields.npz\"]')"
        loaded = browser.downloads(tmp_path / "loads", lambda: browser.run(f"{link}.click()"))
        predictor = Predictor((TorchEngine(network()),), side=512)
        with np.load(io.BytesIO(loaded.read_bytes())) as arrays:
            assert set(arrays) == set(predictor.fields)
            assert arrays["normals"].shape == (120, 90, 3)

        tab = "[...document.querySelectorAll('[role=tab]')].find((one) => one.innerText.includes('%s'))"
        for name in ("Normals", "Alpha", "Cut-out", "Points"):
            browser.run(f"({tab % name}).click()")
        browser.wait("document.querySelector('#points canvas')")

        browser.run(
            "document.querySelector('#picture button[aria-label*=emove], #picture button[aria-label*=lear]').click()"
        )
        browser.wait("document.querySelector('#picture input[type=file]')")
        browser.upload("#picture input[type=file]", tmp_path / "bad.png")
        browser.wait("document.querySelector('#picture img')")
        browser.run("document.querySelector('#predict').click()")
        browser.wait("document.body.innerText.includes('bad.png: no picture that can be read')")
        asked = [one for one in browser.requests if not one.startswith(("data:", "blob:", "about:"))]
        assert asked and all(one.startswith(address) for one in asked), asked
        assert any(temporary.iterdir())
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "ended; what was uploaded and made is removed\n")
    assert not list(temporary.iterdir())
