"""report.html: one page that stands alone, with samples, ticks and counts."""

import re
import shutil
from pathlib import Path

import numpy as np

from david.pack.check.histogram import Histogram
from david.pack.look import report_page
from david.pack.shards import manifest


def test_the_page_shows_samples_ticks_and_counts_and_loads_nothing(shards: Path) -> None:
    page = (shards / report_page.NAME).read_text()
    assert "data:image/jpeg;base64," in page and "<th>samples</th>" in page
    assert not re.search(r"""(src|href)=["']?(?!["']?data:)|url\(|@import""", page)
    report = manifest.load(shards).report
    for name in report["evidence"]:
        assert f"<b>{name}</b>" in page
    assert "24 values, " in page


def test_ticks_stand_at_the_edges_of_bins() -> None:
    one = Histogram.between(0, 8, bins=8)
    one.add(np.array([2.5, 2.5, 5.5]))
    drawn = report_page._plot("depth_m", one)
    assert re.findall(r"<span>(.*?)</span>", drawn) == ["2", "3", "4", "5", "6"]
    assert "3 values, 2 in the tallest bar" in drawn


def test_a_set_that_cannot_be_read_is_named_in_place_of_its_pictures(shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "copy")
    dataset = manifest.load(copy)
    first = next(one for one in dataset.splits.values() if one)[0].name
    (copy / f"{first}.tar").unlink()
    page = report_page.write(dataset).read_text()
    assert f"{first}.tar" in page and "data:image" not in page
