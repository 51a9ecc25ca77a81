"""Downloads as people run them: the command, killed at any moment, packed and deleted as they come."""

import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner
from zip_server import PART_BYTES, ZIP, Server, assert_whole, make_zip

from david.pack import read, synth
from david.pack.commands import register
from david.pack.errors import DavidError
from david.pack.fetch import lock
from david.pack.fetch.download_pack import download_and_pack
from david.pack.fetch.fetcher import DownloadOptions
from david.pack.shards import manifest
from david.pack.sources import synthhuman
from david.pack.work.plan import PackOptions, Plan
from david.pack.work.record import Done


@pytest.fixture
def people(server: Server, tmp_path: Path) -> list[str]:
    """Names of six small zips of synthetic samples, served in place of the others."""
    synth.write(tmp_path / "raw", samples=18, zips=6, seed=0)
    server.files = {path.name: path.read_bytes() for path in sorted((tmp_path / "raw").glob("*.zip"))}
    return list(server.files)


def test_a_set_packed_as_it_comes_is_the_same_after_a_stop_and_leaves_no_zip(
    server: Server, people: list[str], options: DownloadOptions, out: Path, tmp_path: Path
) -> None:
    pack_options = PackOptions(val_fraction=0.3, shard_samples=4)
    whole = download_and_pack(out, tmp_path / "whole", people, options, pack_options)
    assert whole.raw["samples"] == 18
    assert list(out.iterdir()) == [out / lock.NAME]
    there = {sample.key for split in ("train", "val") for sample in read(tmp_path / "whole", split=split)}
    assert there == set(synthhuman.scan(tmp_path / "raw"))

    def stop_in_the_second_group(plan: Plan, _done: list[Done]) -> None:
        if plan.group == "01":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_and_pack(out, tmp_path / "shards", people, options, pack_options, planned=stop_in_the_second_group)
    left = {path.name for path in out.glob("*.zip")}
    assert left == set(people[1::2])
    with pytest.raises(DavidError, match=r"was begun otherwise: image is jpeg there and webp now \(--lossless\)"):
        download_and_pack(out, tmp_path / "shards", people, options, replace(pack_options, image="webp"))
    with pytest.raises(DavidError, match=r"was begun with SynthHuman_0000\.zip, .* together, now .* are asked for"):
        download_and_pack(out, tmp_path / "shards", people[1:], options, pack_options)
    with pytest.raises(DavidError, match=r"was begun as 2 groups of zips, now it would be 1"):
        download_and_pack(out, tmp_path / "shards", people[:3], options, pack_options)
    server.requests.clear()
    for name in people[::2]:  # as a kill just before the first group was deleted leaves them
        (out / name).write_bytes(server.files[name])
    again = download_and_pack(out, tmp_path / "shards", people, options, pack_options)
    assert server.requests == []
    assert again.fingerprint == whole.fingerprint
    assert list(out.iterdir()) == [out / lock.NAME]
    assert download_and_pack(out, tmp_path / "shards", people, options, pack_options).fingerprint == whole.fingerprint


def test_unusual_data_is_packed_as_it_comes_where_that_is_accepted(
    server: Server, out: Path, tmp_path: Path, far_off: Path
) -> None:
    files = sorted(far_off.iterdir())
    for number in range(3):
        path = tmp_path / f"SynthHuman_{number:04}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in (one for one in files if int(one.stem.split("_")[1]) % 3 == number):
                archive.write(file, file.name)
        server.files[path.name] = path.read_bytes()
    words = (out, "--chunk", "0-2", "--pack", tmp_path / "shards", "--delete", "--base-url", server.url)
    refused = command(*words)
    assert re.search("depth is .*nothing was packed.* go on with --accept depth; expected", str(refused.exception))
    assert len(list(out.glob("*.zip"))) == 3
    done = command(*words, "--accept", "depth")
    assert done.exit_code == 0, done.output
    assert len(re.findall("^accepted: the raw data: depth is .*, as --accept depth says$", done.output, re.M)) == 2
    assert not list(out.glob("*.zip"))
    assert [one["convention"] for one in manifest.load(tmp_path / "shards").report["accepted"]] == ["depth"]


def command(*words: object) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["download", *map(str, words)])


def test_the_command_brings_what_is_asked_for(server: Server, out: Path) -> None:
    done = command(out, "--chunk", "1-2", "--chunk", "0", "--base-url", server.url)
    assert done.exit_code == 0, done.output
    assert_whole(out, server, list(server.files))
    assert "3 zips, 0.00 GB, whole in" in done.output
    assert "SynthHuman_0002.zip: whole" in done.output
    assert command(out, "--check").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing asked for: say --sample, --chunk N, --all"),
        (["--chunk", "60"], "chunk 60: SynthHuman has chunks 0 .. 59"),
        (["--chunk", "9-x"], "--chunk 9-x: must be a number like 7 or a range like 10-19"),
        (["--chunk", "0-999999999"], "chunk 999999999: SynthHuman has chunks"),
        (["--all", "--delete"], "--pack SHARDS and --delete go together"),
        (["--all", "--pack", "x"], "--pack SHARDS and --delete go together"),
        (["--all", "--pack", "x", "--delete", "--set", "size=3"], "packing knows no `size`, only image"),
        (["--all", "--pack", "x", "--delete", "--set", "seed=a"], "seed must be of type int"),
        (["--all", "--pack", "x", "--delete", "--on-bad", "drop"], "--on-bad is `drop`, but can only be stop or"),
        (
            ["--all", "--pack", "x", "--delete", "--accept", "dept"],
            "--accept is `dept`, but can only be normals",
        ),
        (["--all", "--accept", "depth"], "--set and --accept with both"),
        (["--all", "--lock", "nowhere.json"], "nowhere.json: the lock file can't be read (No such file"),
        (["--all", "--base-url", "ftp://x"], "ftp://x: only https addresses are read"),
    ],
)
def test_a_wrong_call_is_one_sentence(words: list[str], message: str, out: Path) -> None:
    done = command(out, *words)
    assert isinstance(done.exception, DavidError)
    assert message in str(done.exception)
    assert not out.exists()


RUN = """
import sys
from pathlib import Path
from david.pack.fetch.download import DownloadOptions, download
from david.pack.fetch.remote import Patience
url, out, part_bytes, connections = sys.argv[1:5]
patience = Patience(tries=4, first_pause_s=0.01, timeout_s=5)
options = DownloadOptions(url, connections=int(connections), part_bytes=int(part_bytes), patience=patience)
def run(out=Path(out)):
    download(out, ["SynthHuman_0000.zip"], options)
"""

# for each moment a child that kills itself just before its n-th write, sync, rename or removal, and one that goes on
AT_EACH_CALL = """
import itertools, os, signal
def doom(n):
    left = itertools.count(n, -1)
    def deadly(real):
        def call(*args, **kwargs):
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for name in ("pwrite", "write", "fsync", "ftruncate", "replace", "unlink"):
        setattr(os, name, deadly(getattr(os, name)))
def child(n, out):
    if (pid := os.fork()) == 0:
        if n is not None:
            doom(n)
        run(out)
        os._exit(0)
    return os.waitpid(pid, 0)[1]
for n in itertools.count():
    folder = Path(out) / str(n)
    status = child(n, folder)
    assert child(None, folder) == 0
    if status == 0:
        break
print(n)
"""

# ten children that are killed at any moment, and one that goes on
AT_RANDOM = """
import os, random, signal, time
chance, kills = random.Random(0), 0
while kills < 10:
    if (pid := os.fork()) == 0:
        run()
        os._exit(0)
    time.sleep(chance.uniform(0, 0.25))
    os.kill(pid, signal.SIGKILL)
    if os.waitpid(pid, 0)[1] == signal.SIGKILL:
        kills += 1
    else:
        Path(out, "SynthHuman_0000.zip").unlink()
run()
"""


def drive(script: str, server: Server, out: Path, part_bytes: int, connections: int) -> str:
    command = [sys.executable, "-c", RUN + script, server.url, str(out), str(part_bytes), str(connections)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_before_any_write_sync_or_rename_the_zip_is_the_same(server: Server, out: Path) -> None:
    moments = int(drive(AT_EACH_CALL, server, out, 250_000, 1))
    assert moments > 15
    for n in range(moments + 1):
        assert_whole(out / str(n), server)


def test_killed_ten_times_at_random_the_zip_is_the_same(server: Server, out: Path, tmp_path: Path) -> None:
    server.files[ZIP] = make_zip(tmp_path / "large.zip", 100, 40_000, seed=7)
    server.pause_s = 0.004
    drive(AT_RANDOM, server, out, PART_BYTES, 4)
    assert_whole(out, server)
