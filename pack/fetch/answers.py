"""What a server's answer says: of a file, of the bytes that follow, and of whether another try may meet with more.

The answers are urllib3's.
"""

import re
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, SSLError

from david.pack.errors import DavidError

PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that another try may not meet


class Unavailable(DavidError):
    """The server, the network or the disk fails every file alike: no use going on with the others."""


class Broken(Exception):
    """One try failed and another may not. at: the byte reached; pause_s: what the server asks to wait; slow: what came
    was too little to count as getting on."""

    def __init__(self, reason: str, at: int = 0, pause_s: float | None = None, slow: bool = False):
        super().__init__(reason)
        self.at, self.pause_s, self.slow = at, pause_s, slow


@dataclass(frozen=True)
class About:
    """What a server says of one file. size: in bytes, None where it doesn't tell; ranges: it serves parts of it;
    etag, last_modified: the headers that name its version, None where there are none."""

    size: int | None
    ranges: bool
    etag: str | None
    last_modified: str | None


def serves(response: urllib3.BaseHTTPResponse, start: int, stop: int | None) -> bool:
    """Whether this answer holds exactly the bytes start .. stop."""
    said = re.fullmatch(r"bytes (\d+)-(\d+)/(?:\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status != 206 or said is None:
        return False
    return int(said[1]) == start and (stop is None or int(said[2]) == stop - 1)


def about_of(response: urllib3.BaseHTTPResponse) -> About:
    if response.status == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = response.headers.get("Content-Length", "")
    size = int(total) if total.isascii() and total.isdigit() else None
    ranges = response.status == 206 and size is not None
    return About(size, ranges, response.headers.get("ETag"), response.headers.get("Last-Modified"))


def same(answer: About, asked: About) -> bool:
    """Whether an answer is of the file that was asked about; a size that wasn't told may come with the answer."""
    version = answer.etag == asked.etag and answer.last_modified == asked.last_modified
    return version and (answer.size == asked.size or asked.size is None)


def refuse(url: str, response: urllib3.BaseHTTPResponse) -> None:
    answer = f"the server answers {response.status} {response.reason}"
    if response.status in PASSING:
        raise Broken(answer, pause_s=_retry_after_s(response))
    hint = {
        401: "is it open to you?",
        403: "is it open to you?",
        404: "is the base URL right?",
        416: "the file there is shorter than it was said to be",
    }.get(response.status, "try again later, or another --base-url")
    raise DavidError(f"{url}: {answer}; {hint}")


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float | None:
    try:
        return urllib3.Retry().get_retry_after(response)
    except InvalidHeader:
        return None


def plain(error: HTTPError) -> str:
    """One plain clause for what urllib3 wraps two or three times; its narrow classes stand before the wide ones."""
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the server's name can't be resolved (no network?)"
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ProxyError | SSLError):
        return f"no connection ({error.__cause__ or error.args[-1]})"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "the server has gone silent"
    return "the connection dropped"
