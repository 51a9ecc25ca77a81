"""Zips arrive whole from a server that does everything a server can do wrong, or a named reason why not."""

import itertools
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from starters import at_once
from zip_server import PART_BYTES, ZIP, Server, assert_whole, handler, make_zip

from david.pack.errors import DavidError
from david.pack.fetch import lock, partial, remote
from david.pack.fetch.answers import Unavailable
from david.pack.fetch.download import check, download, download_groups
from david.pack.fetch.fetcher import DownloadOptions

ROUNDS = 2  # tests/soak/fetch.py does many


def test_zips_arrive_byte_for_byte_in_parallel_parts(server: Server, options: DownloadOptions, out: Path) -> None:
    download(out, list(server.files), options)
    assert_whole(out, server, list(server.files))
    asked = [start for name, start, _ in server.requests if name == ZIP]
    assert sorted(set(asked)) == list(range(0, len(server.files[ZIP]), PART_BYTES))
    assert server.sent == sum(map(len, server.files.values())) + len(server.files)  # a first byte each


def test_a_complete_folder_costs_no_request(server: Server, options: DownloadOptions, out: Path) -> None:
    download(out, list(server.files), options)
    server.requests.clear()
    (out / f"{ZIP}.journal").touch()  # as a kill just before its removal leaves it
    download(out, list(server.files), options)
    assert server.requests == []
    assert_whole(out, server, list(server.files))


def test_a_dropped_connection_goes_on_where_it_broke(server: Server, options: DownloadOptions, out: Path) -> None:
    server.drop_after = 9_000  # more breaks a part than tries without progress
    download(out, [ZIP], options)
    assert_whole(out, server)
    assert server.sent == len(server.files[ZIP]) + 1


def test_a_server_that_refuses_ranges_is_read_in_one_stream(
    server: Server, options: DownloadOptions, out: Path
) -> None:
    server.ranges = lambda: False
    server.drop_after, server.drops = 300_000, 2
    download(out, [ZIP], options)
    assert_whole(out, server)


def test_a_stream_of_unknown_length_is_read_to_its_end(server: Server, options: DownloadOptions, out: Path) -> None:
    server.ranges, server.chunked = lambda: False, True
    server.drop_after, server.drops = 300_000, 2
    download(out, [ZIP], options)
    assert_whole(out, server)


def test_a_stream_that_begins_again_shorter_keeps_nothing_of_the_longer_one(
    server: Server, options: DownloadOptions, out: Path, tmp_path: Path
) -> None:
    longer, server.files[ZIP] = server.files[ZIP], make_zip(tmp_path / "shorter.zip", 15, 30_000, seed=99)
    server.ranges, server.chunked, server.etag = lambda: False, True, lambda: None
    server.spoil = lambda _name, _start, body: longer if server.drops else body
    server.drop_after, server.drops = 550_000, 2  # the question's answer, and the first stream
    download(out, [ZIP], options)
    assert_whole(out, server)


def test_ranges_refused_halfway_end_in_one_stream(server: Server, options: DownloadOptions, out: Path) -> None:
    server.ranges = lambda: len(server.requests) < 5
    download(out, [ZIP], options)
    assert_whole(out, server)


def test_what_came_before_a_give_up_is_not_asked_for_again(server: Server, options: DownloadOptions, out: Path) -> None:
    server.spoil = lambda _name, start, body: body if start < 4 * PART_BYTES else b""
    server.announce = lambda length: length or 1
    with pytest.raises(Unavailable, match=r"SynthHuman_0000\.zip: .*gave up after 4 tries.*run the same command again"):
        download(out, [ZIP], replace(options, connections=1))
    assert not (out / ZIP).exists()
    server.spoil = lambda _name, _start, body: body
    server.requests.clear()
    download(out, [ZIP], options)
    assert_whole(out, server)
    assert min(start for _, start, _ in server.requests[1:]) == 4 * PART_BYTES


@pytest.mark.parametrize("lie", [1000, -1000])
def test_a_part_whose_length_is_a_lie_arrives_all_the_same(
    lie: int, server: Server, options: DownloadOptions, out: Path
) -> None:
    server.announce = lambda length: length + lie if length > 2000 else length
    download(out, [ZIP], options)
    assert_whole(out, server)


@pytest.mark.parametrize(("lie", "named"), [(1000, r"ended after|dropped.*gave up"), (-1000, "no whole zip")])
def test_a_stream_whose_length_is_a_lie_ends_in_a_named_error(
    lie: int, named: str, server: Server, options: DownloadOptions, out: Path
) -> None:
    server.ranges = lambda: False
    server.announce = lambda length: length + lie
    with pytest.raises(DavidError, match=rf"SynthHuman_0000\.zip: .*({named})"):
        download(out, [ZIP], options)
    assert not (out / ZIP).exists()


@pytest.mark.parametrize("lie", [1000, -1000])
def test_a_total_that_is_a_lie_ends_in_a_named_error(
    lie: int, server: Server, options: DownloadOptions, out: Path
) -> None:
    server.announce_total = lambda total: total + lie
    with pytest.raises(DavidError, match=r"SynthHuman_0000\.zip: .*(416|no whole zip|changes at the server)"):
        download(out, [ZIP], options)
    assert not (out / ZIP).exists()


def flipped(at: int, only: Callable[[], bool]) -> Callable[[str, int, bytes], bytes]:
    """A server's vice: the byte `at` of the first zip arrives with a flipped bit where `only` says so."""

    def spoil(name: str, start: int, body: bytes) -> bytes:
        if name == ZIP and start <= at < start + len(body) and len(body) > 1 and only():
            return body[: at - start] + bytes([body[at - start] ^ 4]) + body[at - start + 1 :]
        return body

    return spoil


def test_a_corrupt_byte_costs_only_the_parts_around_its_member(
    server: Server, options: DownloadOptions, out: Path
) -> None:
    once = iter([True])
    server.spoil = flipped(200_000, lambda: next(once, False))
    download(out, [ZIP], options)
    assert_whole(out, server)
    assert (
        len(server.files[ZIP]) < server.sent <= len(server.files[ZIP]) + 1 + 4 * PART_BYTES
    )  # the member's, and the directory's


@pytest.mark.parametrize("record", [b"PK\1\2", b"PK\5\6"], ids=["member", "end"])
def test_a_corrupt_directory_is_fetched_again(
    record: bytes, server: Server, options: DownloadOptions, out: Path
) -> None:
    once = iter([True])
    server.spoil = flipped(server.files[ZIP].rindex(record) + 16, lambda: next(once, False))  # CRC-32; directory offset
    download(out, [ZIP], options)
    assert_whole(out, server)


def test_a_byte_that_stays_corrupt_is_never_accepted_and_keeps_no_other_zip_back(
    server: Server, options: DownloadOptions, out: Path
) -> None:
    server.spoil = flipped(200_000, lambda: True)
    with pytest.raises(DavidError, match=r"SynthHuman_0000\.zip: 3 times in a row what arrived was no whole zip"):
        download(out, list(server.files), options)
    assert not (out / ZIP).exists()
    for name in list(server.files)[1:]:
        assert (out / name).read_bytes() == server.files[name]
    server.spoil = lambda _name, _start, body: body
    download(out, list(server.files), options)
    assert_whole(out, server, list(server.files))


def test_versions_of_a_file_are_never_mixed(
    server: Server, options: DownloadOptions, out: Path, tmp_path: Path
) -> None:
    old, new = server.files[ZIP], make_zip(tmp_path / "new.zip", 20, 30_000, seed=99)
    assert len(old) == len(new)

    def version() -> str:
        if len(server.requests) > 6:
            server.files[ZIP] = new
        return '"old"' if server.files[ZIP] is old else '"new"'

    server.etag = version
    download(out, [ZIP], options)
    assert (out / ZIP).read_bytes() in (old, new)
    assert_whole(out, server)


def test_an_unfinished_older_version_is_not_gone_on_with(
    server: Server, options: DownloadOptions, out: Path, tmp_path: Path
) -> None:
    server.spoil = lambda _name, start, body: body if start < 4 * PART_BYTES else b""
    server.announce = lambda length: length or 1
    with pytest.raises(Unavailable):
        download(out, [ZIP], options)
    server.files[ZIP] = make_zip(tmp_path / "new.zip", 20, 30_000, seed=99)
    server.etag = lambda: '"v2"'
    server.spoil = lambda _name, _start, body: body
    server.sent = 0
    download(out, [ZIP], options)
    assert_whole(out, server)
    assert server.sent == len(server.files[ZIP]) + 1


def test_a_file_that_keeps_changing_is_given_up(server: Server, options: DownloadOptions, out: Path) -> None:
    server.etag = lambda: f'"{len(server.requests)}"'
    with pytest.raises(DavidError, match="changes at the server while it is being read"):
        download(out, [ZIP], options)


def test_retry_after_is_honoured(server: Server, options: DownloadOptions, out: Path) -> None:
    server.answers = [(503, {"Retry-After": "1"})]
    told: list[str] = []
    began_s = time.monotonic()
    download(out, [ZIP], options, lambda name, doing, done, total: told.append(doing))
    assert time.monotonic() - began_s >= 1
    assert "the server answers 503 Service Unavailable; again in 1 s (try 2 of 4)" in told
    assert_whole(out, server)


def test_a_server_that_asks_to_wait_for_hours_is_given_up(server: Server, options: DownloadOptions, out: Path) -> None:
    server.answers = [(429, {"Retry-After": "7200"})]
    with pytest.raises(Unavailable, match=r"429 Too Many Requests, asks to wait 7,200 s; gave up"):
        download(out, [ZIP], options)


def test_passing_troubles_pass(server: Server, options: DownloadOptions, out: Path) -> None:
    server.answers = [(status, {}) for status in (500, 502)]
    server.silences = 1
    download(out, [ZIP], options)
    assert_whole(out, server)


def test_a_server_that_trickles_is_given_up(server: Server, options: DownloadOptions, out: Path) -> None:
    """A byte at a time, and three seconds from one look at the clock to the next."""
    seconds = itertools.count(0, 3)
    server.block_bytes = 1
    patience = replace(options.patience, clock=lambda: float(next(seconds)))
    with pytest.raises(Unavailable, match=r"the server gave [\d,]+ bytes in \d+ s; gave up after 4 tries without"):
        download(out, [ZIP], replace(options, connections=1, patience=patience))
    server.block_bytes = 16384
    download(out, [ZIP], options)  # what came is kept
    assert_whole(out, server)


def test_headers_without_end_are_given_up(server: Server, options: DownloadOptions, out: Path) -> None:
    server.endless_headers = True
    patience = replace(options.patience, tries=2, window_s=0.2)
    with pytest.raises(Unavailable, match=r"the server has gone silent; gave up after 2 tries"):
        download(out, [ZIP], replace(options, patience=patience))


def test_a_body_without_a_length_or_an_end_is_given_up(
    server: Server, options: DownloadOptions, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.ranges, server.chunked = lambda: False, True
    monkeypatch.setattr(remote, "MOST_UNTOLD_BYTES", 300_000)
    with pytest.raises(DavidError, match=r"SynthHuman_0000\.zip: more than 0\.0 GB came, and the server told no"):
        download(out, [ZIP], options)
    assert sum(path.stat().st_size for path in out.iterdir()) <= 310_000


def test_an_address_that_is_none_is_named(server: Server, options: DownloadOptions, out: Path) -> None:
    server.answers = [(302, {"Location": "http://[::bad"})]
    with pytest.raises(DavidError, match=r"leads on to http://\[::bad, no address that can be opened \(Invalid IPv6"):
        download(out, [ZIP], options)
    with pytest.raises(DavidError, match=r"^http://\[::bad: not an address that can be opened"):
        download(out, [ZIP], replace(options, base_url="http://[::bad"))


def test_what_the_system_refuses_names_the_path(options: DownloadOptions, out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(OSError) as caught:
        download(out, [ZIP], options)
    assert caught.value.filename == str(out)
    with pytest.raises(OSError) as caught:
        download(out / "inner", [ZIP], options)
    assert str(caught.value.filename).startswith(str(out))
    assert partial.NoDisk("full").exit_code == 1


def test_a_zip_that_is_not_there_is_named_and_keeps_no_other_back(
    server: Server, options: DownloadOptions, out: Path
) -> None:
    with pytest.raises(DavidError, match=r"data/SynthHuman_0042\.zip: the server answers 404 Not Found; is the base"):
        download(out, ["SynthHuman_0042.zip", ZIP], options)
    assert_whole(out, server)


def test_a_server_that_is_not_there_is_named(options: DownloadOptions, out: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    with pytest.raises(Unavailable, match=rf"^{url}/SynthHuman_0000\.zip: no connection .*; gave up after 4 tries"):
        download(out, [ZIP], replace(options, base_url=url))


def test_a_page_in_place_of_a_zip_is_refused(server: Server, options: DownloadOptions, out: Path) -> None:
    server.files[ZIP] = b"<!DOCTYPE html><title>Log in to this network</title>"
    with pytest.raises(DavidError, match="no whole zip"):
        download(out, [ZIP], options)
    assert not (out / ZIP).exists()


def test_a_lock_from_someone_else_is_held_to(
    server: Server, options: DownloadOptions, out: Path, tmp_path: Path
) -> None:
    entry = download(tmp_path / "theirs", [ZIP], options)[ZIP]
    given = replace(options, lock_file=tmp_path / "given.json")

    lock.save(tmp_path / "given.json", {ZIP: replace(entry, bytes=entry.bytes + 1)})
    server.sent = 0
    with pytest.raises(DavidError, match=rf"has {entry.bytes:,} bytes, but the lock says {entry.bytes + 1:,}"):
        download(out, [ZIP], given)
    assert server.sent <= 1

    lock.save(tmp_path / "given.json", {ZIP: replace(entry, sha256="0" * 64)})
    with pytest.raises(DavidError, match=rf"SHA-256 {entry.sha256}, but the lock says .* {'0' * 64}"):
        download(out, [ZIP], given)
    assert not (out / ZIP).exists()

    with pytest.raises(DavidError, match=r"given\.json: lists no SynthHuman_0001\.zip"):
        download(out, ["SynthHuman_0001.zip"], given)

    lock.save(tmp_path / "given.json", {ZIP: entry})
    server.sent = 0
    download(out, [ZIP], given)
    assert_whole(out, server)
    assert server.sent == 1  # what the wrong lock refused was kept


def test_a_zip_that_comes_again_must_be_the_one_that_was_locked(
    server: Server, options: DownloadOptions, out: Path, tmp_path: Path
) -> None:
    download(out, [ZIP], options)
    (out / ZIP).unlink()
    server.files[ZIP] = make_zip(tmp_path / "new.zip", 20, 30_000, seed=99)
    with pytest.raises(DavidError, match="the server has another version"):
        download(out, [ZIP], options)


def test_zips_from_elsewhere_are_checked_and_listed(server: Server, options: DownloadOptions, out: Path) -> None:
    out.mkdir()
    (out / ZIP).write_bytes(server.files[ZIP])
    download(out, [ZIP], options)
    assert_whole(out, server)
    assert server.requests == []
    (out / "SynthHuman_0001.zip").write_bytes(server.files["SynthHuman_0001.zip"][:-100])
    with pytest.raises(DavidError, match=r"SynthHuman_0001\.zip: is there already, but isn't a whole zip; remove it"):
        download(out, ["SynthHuman_0001.zip"], options)


def test_check_finds_a_flipped_bit(server: Server, options: DownloadOptions, out: Path) -> None:
    download(out, list(server.files), options)
    assert list(check(out)) == list(server.files)
    data = bytearray(server.files[ZIP])
    data[12_345] ^= 1
    (out / ZIP).write_bytes(data)
    with pytest.raises(DavidError, match=r"SynthHuman_0000\.zip: has .* but the lock says .*remove it"):
        check(out)
    (out / ZIP).write_bytes(data[:-1])
    with pytest.raises(DavidError, match="bytes, but had"):
        download(out, [ZIP], options)


def test_too_little_room_is_said_before_anything_is_written(
    server: Server, options: DownloadOptions, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(out.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(DavidError, match=r"0\.0 GB are still to come, but only 0\.0 GB are free there; make room"):
        download(out, list(server.files), options)
    assert list(out.iterdir()) == []
    download(out, [ZIP], options)
    assert_whole(out, server)


def test_a_disk_that_fills_up_keeps_what_has_arrived(
    server: Server, options: DownloadOptions, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite

    def pwrite(handle: int, data: memoryview, offset: int) -> int:
        if offset + len(data) > 5 * PART_BYTES:
            raise OSError(28, "No space left on device")
        return real(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(Unavailable, match=r"SynthHuman_0000\.zip\.part: the disk is full .*make room and run"):
        download(out, [ZIP], replace(options, connections=1))
    monkeypatch.undo()
    server.sent = 0
    download(out, [ZIP], options)
    assert_whole(out, server)
    assert server.sent == len(server.files[ZIP]) + 1 - 5 * PART_BYTES


def test_only_one_download_works_in_a_folder(server: Server, options: DownloadOptions, out: Path) -> None:
    groups = download_groups(out, [[ZIP], ["SynthHuman_0001.zip"]], options)
    next(groups)
    with pytest.raises(DavidError, match="another `david download` is at work there"):
        download(out, [ZIP], options)
    groups.close()
    download(out, [ZIP], options)


@pytest.mark.parametrize("count", [2, 4])
def test_of_downloads_that_start_together_one_brings_the_zip(
    count: int, server: Server, options: DownloadOptions, out: Path
) -> None:
    for number in range(ROUNDS):
        folder = out / str(number)
        outcomes = at_once([lambda: download(folder, [ZIP], options)] * count)  # noqa: B023
        brought = [one for one in outcomes if isinstance(one, dict)]
        refused = [one for one in outcomes if "another `david download` is at work there" in str(one)]
        assert brought and len(brought) + len(refused) == count, outcomes
        assert_whole(folder, server)


def test_a_lock_that_cannot_be_read_keeps_no_later_download_out(
    server: Server, options: DownloadOptions, out: Path
) -> None:
    out.mkdir()
    (out / lock.NAME).write_text("[]")
    with pytest.raises(DavidError, match="not a lock of david's downloads") as kept:
        download(out, [ZIP], options)
    (out / lock.NAME).unlink()
    download(out, [ZIP], options)
    assert kept
    assert_whole(out, server)


def test_groups_come_in_order_and_never_exceed_their_room(server: Server, options: DownloadOptions, out: Path) -> None:
    for number in range(3, 8):
        server.files[f"SynthHuman_{number:04d}.zip"] = server.files[ZIP]
    names = list(server.files)
    groups = [names[0:2], names[2:4], names[4:6], names[6:8]]
    counts = []  # of zips, finished or not, whenever more of one is asked for

    def count(_name: str, _start: int, body: bytes) -> bytes:
        counts.append(len({path.name.partition(".zip")[0] for path in out.glob("SynthHuman*")}))
        return body

    server.spoil = count
    for wanted, paths in zip(groups, download_groups(out, groups, options, zips_on_disk=4), strict=True):
        assert [path.name for path in paths] == wanted
        for path in paths:
            assert path.read_bytes() == server.files[path.name]
    assert 2 <= max(counts) <= 4
    assert list(out.iterdir()) == [out / lock.NAME]
    assert sorted(lock.load(out / lock.NAME)) == names
    with pytest.raises(DavidError, match="room for 1 zips, but a group has 2"):
        next(download_groups(out, groups, options, zips_on_disk=1))


def test_only_https_is_read_from_other_machines(server: Server, options: DownloadOptions, out: Path) -> None:
    with pytest.raises(DavidError, match=r"^http://example\.org: only https addresses are read"):
        download(out, [ZIP], replace(options, base_url="http://example.org"))
    server.answers = [(302, {"Location": "http://example.org/x.zip"})]
    with pytest.raises(DavidError, match=r"http://example\.org/x\.zip: only https addresses are read"):
        download(out, [ZIP], options)


def test_a_redirect_is_followed(server: Server, options: DownloadOptions, out: Path) -> None:
    server.answers = [(302, {"Location": f"/elsewhere/{ZIP}"})]
    download(out, [ZIP], options)
    assert_whole(out, server)
    server.answers = [(302, {"Location": "/again"})] * 5
    with pytest.raises(DavidError, match="5 redirects in a row"):
        download(out, ["SynthHuman_0001.zip"], options)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate, and is not at hand")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    paths = ["-keyout", str(key), "-out", str(certificate), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *paths], check=True, capture_output=True)
    return certificate, key


def test_tls_is_verified(
    server: Server,
    certificate: tuple[Path, Path],
    options: DownloadOptions,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    secure = ThreadingHTTPServer(("127.0.0.1", 0), handler(server))
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=secure.serve_forever, args=(0.01,), daemon=True).start()
    url = f"https://127.0.0.1:{secure.server_port}"
    with pytest.raises(Unavailable, match=r"the server's certificate is not trusted \(self.signed certificate\)"):
        download(out, [ZIP], replace(options, base_url=url))
    assert server.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    download(out, [ZIP], replace(options, base_url=url))
    assert_whole(out, server)
    secure.shutdown()
    secure.server_close()


def test_a_proxy_from_the_environment_is_used(
    out: Path, options: DownloadOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Proxy(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_CONNECT(self) -> None:
            seen.append((self.path, self.headers["Proxy-Authorization"]))
            self.send_error(403)

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("https_proxy", f"http://me:my%20word@127.0.0.1:{proxy.server_port}")
    with pytest.raises(Unavailable, match=r"https://example\.org/SynthHuman_0000\.zip: no connection .*403"):
        download(out, [ZIP], replace(options, base_url="https://example.org"))
    proxy.shutdown()
    proxy.server_close()
    assert seen[0] == ("example.org:443", "Basic bWU6bXkgd29yZA==")


def test_journal_names_are_not_zips(server: Server, options: DownloadOptions, out: Path) -> None:
    """`david pack` reads every `*.zip` of a folder; an unfinished one must not be among them."""
    server.spoil = lambda _name, start, body: body if start < 4 * PART_BYTES else b""
    server.announce = lambda length: length or 1
    with pytest.raises(Unavailable):
        download(out, [ZIP], options)
    assert len(list(out.iterdir())) == 2
    assert list(out.glob("*.zip")) == []
    assert partial.held(out / ZIP) >= 4 * PART_BYTES
    assert json.loads((out / f"{ZIP}.journal").read_text().splitlines()[0])["size"] == len(server.files[ZIP])
