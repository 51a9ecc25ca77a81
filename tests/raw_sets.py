"""Raw data of small pictures, for tests that ask little of them."""

from pathlib import Path

import pytest
import starters


@pytest.fixture(scope="session")
def two_zips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 samples of 48 x 36 pixels in 2 zips, laid out as SynthHuman is; a 114th of `raw`'s pixels."""
    folder = tmp_path_factory.mktemp("two_zips")
    for number in range(2):
        starters.tiny_raw(folder / f"SynthHuman_{number:04}.zip", samples=12, first=12 * number)
    return folder
