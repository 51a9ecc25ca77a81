"""The official models arrive whole from a server that breaks, or a named reason why not."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from zip_server import PART_BYTES, Server, make_zip, serving

from david.cli import app
from david.pack.errors import DavidError
from david.pack.fetch import download as work
from david.pack.fetch import lock, models, onnxcheck
from david.pack.fetch.answers import Unavailable
from david.pack.fetch.download import check, download
from david.pack.fetch.fetcher import DownloadOptions
from david.pack.fetch.kinds import MODEL
from david.pack.fetch.remote import Patience

FILES = [models.MODELS["depth-base"], models.MODELS["multi-task-large"]]


def make_onnx(seed: int, floats: int = 50_000) -> bytes:
    onnx = pytest.importorskip("onnx")
    helper, numbers = onnx.helper, onnx.numpy_helper
    weights = numbers.from_array(np.random.default_rng(seed).normal(size=floats).astype(np.float32), "w")
    value = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [floats])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [weights], "said")
    return helper.make_model(graph, producer_name="test").SerializeToString()


@pytest.fixture
def publisher() -> Iterator[Server]:
    with serving({name: make_onnx(seed) for seed, name in enumerate(FILES)}) as it:
        yield it


@pytest.fixture
def how(publisher: Server) -> DownloadOptions:
    patience = Patience(tries=4, first_pause_s=0.01, timeout_s=0.5)
    return DownloadOptions(publisher.url, connections=4, part_bytes=PART_BYTES, patience=patience, kind=MODEL)


def assert_whole(out: Path, publisher: Server, names: list[str] = FILES) -> None:
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, lock.MODELS_NAME])
    entries = lock.load(out / lock.MODELS_NAME)
    for name in names:
        data = publisher.files[name]
        assert (out / name).read_bytes() == data
        assert (entries[name].bytes, entries[name].sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_after_a_cut_models_are_gone_on_with_and_nothing_comes_twice(
    publisher: Server, how: DownloadOptions, tmp_path: Path
) -> None:
    publisher.spoil = lambda _name, start, body: body if start < PART_BYTES else b""
    publisher.announce = lambda length: length or 1
    with pytest.raises(Unavailable, match=r"\.onnx: .*run the same command again to go on"):
        download(tmp_path, FILES, replace(how, connections=1))
    assert not list(tmp_path.glob("*.onnx"))
    publisher.spoil = lambda _name, _start, body: body
    publisher.requests.clear()
    publisher.drop_after = 9_000
    download(tmp_path, FILES, how)
    assert_whole(tmp_path, publisher)
    begun = [name for name, start, _ in publisher.requests if start == 0]
    assert len(begun) <= 3  # a question of each; one's first part was there


def test_what_is_whole_costs_no_request(publisher: Server, how: DownloadOptions, tmp_path: Path) -> None:
    download(tmp_path, FILES, how)
    publisher.requests.clear()
    download(tmp_path, FILES, how)
    assert publisher.requests == []
    assert_whole(tmp_path, publisher)
    assert list(check(tmp_path, kind=MODEL)) == FILES


def test_another_size_than_the_locks_is_refused(publisher: Server, how: DownloadOptions, tmp_path: Path) -> None:
    download(tmp_path / "one", FILES, how)
    publisher.files[FILES[0]] = make_onnx(9, floats=50_001)
    publisher.etag = lambda: '"v2"'
    locked = replace(how, lock_file=tmp_path / "one" / lock.MODELS_NAME)
    with pytest.raises(DavidError, match=r"depth-model.*has \d[\d,]+ bytes, but the lock says .*another version"):
        download(tmp_path / "two", FILES, locked)
    assert not (tmp_path / "two" / FILES[0]).exists()
    (tmp_path / "one" / FILES[0]).unlink()  # also by the lock beside them
    with pytest.raises(DavidError, match="depth-model.*but the lock says"):
        download(tmp_path / "one", FILES, how)


def test_other_bytes_of_the_same_size_are_refused_by_the_lock(
    publisher: Server, how: DownloadOptions, tmp_path: Path
) -> None:
    download(tmp_path / "one", FILES, how)
    publisher.files[FILES[0]] = make_onnx(9)
    publisher.etag = lambda: '"v2"'
    with pytest.raises(DavidError, match="depth-model.*SHA-256.*but the lock says"):
        download(tmp_path / "two", FILES, replace(how, lock_file=tmp_path / "one" / lock.MODELS_NAME))
    assert not (tmp_path / "two" / FILES[0]).exists()


def test_what_is_no_onnx_file_never_gets_its_name(publisher: Server, how: DownloadOptions, tmp_path: Path) -> None:
    publisher.files[FILES[0]] = b"<html>" + bytes(90_000)
    with pytest.raises(DavidError, match="depth-model.*no whole ONNX file"):
        download(tmp_path, FILES, how)
    assert not (tmp_path / FILES[0]).exists() and (tmp_path / FILES[1]).is_file()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_cut_of_a_file_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = make_onnx(0, floats=40)
    path = tmp_path_factory.getbasetemp() / "cut.onnx"
    length = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:length])
    behind = whole.rfind(b"\x42")  # a model is whole without its last field too, an opset behind the graph
    found = onnxcheck.damage(path, lambda done: None)
    assert found == ([] if length in (len(whole), behind) else [(0, length)])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_other_bytes_are_no_onnx_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.onnx"
    path.write_bytes(content)
    assert onnxcheck.damage(path, lambda done: None) == [(0, len(content))]


def test_the_command_brings_those_that_are_named_or_all_seven(
    publisher: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.files |= dict.fromkeys(models.MODELS.values(), publisher.files[FILES[0]])

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, ["download", *words, "--base-url", publisher.url])
        assert result.exit_code == 0, result.output
        return result.output

    said = call(str(tmp_path / "one"), "--model", "depth-base", "--model", FILES[1])
    assert "2 ONNX files" in said and "models.lock.json" in said
    assert_whole(tmp_path / "one", publisher)
    call(str(tmp_path / "all"), "--models")
    assert_whole(tmp_path / "all", publisher, list(models.MODELS.values()))
    assert "7 ONNX files" in call(str(tmp_path / "all"), "--check")
    asked = []
    monkeypatch.setattr(work, "download", lambda out, names, options, report: asked.append((names, options)) or {})
    result = CliRunner().invoke(app, ["download", str(tmp_path), "--models"])
    assert result.exit_code == 0 and asked[0][0] == list(models.MODELS.values())
    assert asked[0][1].kind.base_url == models.BASE_URL and asked[0][1].base_url == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "depth-huge"], "--model depth-huge: there are foreground-base, .*, multi-task-large"),
        (["--models", "--all"], "zips and models come from two folders"),
        (["--models", "--pack", "shards", "--delete"], "--pack is for SynthHuman's zips"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(words: list[str], told: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["download", str(tmp_path / "out"), *words])
    assert isinstance(result.exception, DavidError)
    with pytest.raises(DavidError, match=told):
        raise result.exception
    assert not (tmp_path / "out").exists()


def test_models_and_zips_may_lie_in_one_folder(publisher: Server, how: DownloadOptions, tmp_path: Path) -> None:
    publisher.files["SynthHuman_sample.zip"] = make_zip(tmp_path / "x.zip", 3, 1000, seed=0)
    out = tmp_path / "out"
    download(out, FILES, how)
    download(out, ["SynthHuman_sample.zip"], DownloadOptions(publisher.url, patience=how.patience))
    assert {lock.NAME, lock.MODELS_NAME} < {path.name for path in out.iterdir()}
    said = CliRunner().invoke(app, ["download", str(out), "--check"]).output
    assert "1 zips" in said and "2 ONNX files" in said
