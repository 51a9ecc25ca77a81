"""The gallery shows what is in the set, in a real browser, without a server."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from people import cm

from david.pack import DavidError, read, synth
from david.pack.look import preview, view
from david.pack.sources import synthhuman

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=3000",
    "--window-size=1200,900",
]


def entries(page: Path) -> list[dict]:
    match = re.search(r"const entries=(.*);\n", page.read_text())
    assert match
    return json.loads(match[1])


def test_a_page_shows_every_sample_asked_for_in_order(shards: Path, raw: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert view.gallery(shards, page, 0, 100, None) == 24
    keys = [sample.key for split in ("train", "val") for sample in read(shards, split)]
    assert [one["name"] for one in entries(page)] == keys
    assert view.gallery(shards, page, 15, 6, None) == 6
    assert [one["name"] for one in entries(page)] == keys[15:21]
    assert view.gallery(shards, page, 1, 2, "val") == 2
    assert {one["split"] for one in entries(page)} == {"val"}
    assert view.gallery(raw, page, 20, 100, None) == 4
    assert [one["name"] for one in entries(page)] == list(synthhuman.scan(raw))[20:]
    with pytest.raises(DavidError, match="no sample at position 24"):
        view.gallery(shards, page, 24, 1, None)


def test_a_contact_sheet_is_a_png_of_the_samples(shards: Path, tmp_path: Path) -> None:
    preview.contact_sheet([s for _, s in view.samples(shards, 0, 5, "train")], tmp_path / "sheet.png")
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture is not None and picture.shape[0] > 2 * 256


def test_a_name_cannot_end_the_script(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "</script><script>alert(1)</script>"
    monkeypatch.setattr(view, "entry", lambda split, sample: {"name": evil, "split": split})
    view.gallery(shards, tmp_path / "page.html", 0, 1, None)
    assert evil not in (tmp_path / "page.html").read_text()


@pytest.fixture
def browse(tmp_path: Path):
    """A page's DOM in headless Chromium after a script has run in it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")

    def run(page: Path, script: str = "", fragment: str = "") -> str:
        scripted = page.with_name("scripted.html")
        scripted.write_text(page.read_text() + f"<script>{script}</script>")
        command = [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            scripted.as_uri() + fragment,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    return run


def shown(dom: str) -> str:
    """What the header says stands on the screen."""
    match = re.search(r'<b id="place">(.*?)</b>', dom)
    assert match
    return html.unescape(match[1])


PRESS = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '%s'}));"


def test_keys_step_filters_narrow_and_links_open_in_a_browser(shards: Path, tmp_path: Path, browse) -> None:
    page = tmp_path / "page.html"
    view.gallery(shards, page, 0, 24, None)
    every = entries(page)
    names = [one["name"] for one in every]
    dom = browse(page)
    assert shown(dom) == f"{names[0]}   1 of 24"
    assert dom.count("<figcaption>") == 4 and not re.search(r"""(src|href)=["'](?!data:)""", dom)
    assert shown(browse(page, PRESS % "ArrowRight" * 3 + PRESS % "ArrowLeft")) == f"{names[2]}   3 of 24"
    assert shown(browse(page, PRESS % "End")) == f"{names[-1]}   24 of 24"
    assert shown(browse(page, fragment=f"#{names[7]}")) == f"{names[7]}   8 of 24"
    choose = "const s = document.getElementById('scenario'); s.value = 'face'; s.onchange();"
    faces = [one["name"] for one in every if one["scenario"] == "face"]
    first = faces[0] if every[0]["scenario"] != "face" else names[0]
    assert shown(browse(page, choose)) == f"{first}   {faces.index(first) + 1} of {len(faces)}"


def test_a_run_shows_its_sheets_and_its_loss(tmp_path: Path, browse) -> None:
    run = tmp_path / "run"
    (run / "pictures").mkdir(parents=True)
    (run / "recipe.json").write_text("{}")
    with pytest.raises(DavidError, match="a run without pictures"):
        view.gallery(run, tmp_path / "page.html", 0, 1, None)
    picture = preview.colour_alpha(np.full((8, 6), 200, np.uint8))
    for name in ("pictures/step-00000000.png", "pictures/step-00000100.png", "loss.png"):
        preview.write_png(run / name, picture)
    assert view.gallery(run, tmp_path / "page.html", 0, 1, None) == 3
    assert shown(browse(tmp_path / "page.html", PRESS % "End")) == "loss   3 of 3"


def test_a_page_of_a_run_weighs_a_tenth_of_its_pictures(tmp_path: Path) -> None:
    run, page = tmp_path / "run", tmp_path / "page.html"
    (run / "recipe.json").parent.mkdir()
    (run / "recipe.json").write_text("{}")
    drawn = [synth.render(0, number, height=128, width=96) for number in range(4)]
    for step in range(3):
        preview.contact_sheet(drawn, run / "pictures" / f"step-{step:08d}.png")
    assert view.gallery(run, page, 0, 1, None) == 3
    assert page.stat().st_size < 0.25 * sum(path.stat().st_size for path in (run / "pictures").iterdir())
    (run / "pictures" / "step-00000002.png").write_bytes(b"torn")
    with pytest.raises(DavidError, match="step-00000002.png: not a picture"):
        view.gallery(run, page, 0, 1, None)


def test_a_search_narrows_by_any_part_of_a_name(shards: Path, tmp_path: Path, browse) -> None:
    page = tmp_path / "page.html"
    view.gallery(shards, page, 0, 6, None)
    name = entries(page)[4]["name"]
    find = (
        "byId('search').value = '%s'; byId('search').oninput(); document.body.append(`${byId('place').textContent};`);"
    )
    dom = browse(page, find % name[-4:] + find % "no such sample")
    assert f"{name}   1 of 1;nothing matches;" in dom


def test_the_depth_under_the_cursor_is_the_samples_own_and_a_click_magnifies(
    shards: Path, tmp_path: Path, browse
) -> None:
    page = tmp_path / "page.html"
    view.gallery(shards, page, 0, 1, None)
    _, sample = view.samples(shards, 0, 1)[0]
    rows, columns = np.nonzero(sample.depth_valid)
    row, column = int(rows[len(rows) // 2]), int(columns[len(rows) // 2])
    height, width = sample.depth_valid.shape
    dom = browse(
        page,
        f"""const pointed = () => {{
          if (!levels) return setTimeout(pointed, 20);
          const image = document.querySelector("#pictures img"), box = image.getBoundingClientRect();
          const at = {{bubbles: true, clientX: box.left + box.width * {(column + 0.5) / width},
                      clientY: box.top + box.height * {(row + 0.5) / height}}};
          for (const kind of ["mousemove", "click"]) image.dispatchEvent(new MouseEvent(kind, at));
        }}; pointed();""",
    )
    told = re.search(r"column (\d+), row (\d+): ([\d.]+) cm", dom)
    assert told and abs(int(told[1]) - column) <= 1 and abs(int(told[2]) - row) <= 1
    depths = cm(sample)[sample.depth_valid]
    found = cm(sample)[int(told[2]), int(told[1])]
    assert abs(float(told[3]) - found) <= 0.06 + (depths.max() - depths.min()) / 254
    assert "--zoom: 4" in dom


def test_the_colour_scale_says_the_colours_of_the_picture(shards: Path, tmp_path: Path) -> None:
    view.gallery(shards, tmp_path / "page.html", 0, 1, None)
    _, sample = view.samples(shards, 0, 1)[0]
    near, far = preview.depth_span(sample.depth_m, sample.depth_valid)
    told = entries(tmp_path / "page.html")[0]["depth"]
    assert (told["near_m"], told["far_m"]) == (near, far)
    assert told["least_m"] <= near < far <= told["most_m"]
