"""What is sent to the page of `david demo`, and made for it, held within bounds on this machine's disk.

Gradio writes uploads and copies of what it shows to one folder, forgets uploads that broke off, and removes the others
by their age alone, so however much comes within that time would be kept.
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 4 << 30  # of all files together
OLD_S = 600.0  # a folder without files is left over after so long


def make_room(folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Take the oldest files below a folder away until the rest has at most `most_bytes`, and folders that are empty."""
    there = []
    for root, folders, names in os.walk(folder, topdown=False):
        for name in names:
            with suppress(OSError):  # it went meanwhile
                path = Path(root, name)
                found = path.lstat()
                there.append((found.st_mtime, found.st_size, path))
        if not names and not folders and Path(root) != folder:
            _take_away_old(Path(root))
    excess = sum(size for _, size, _ in there) - most_bytes
    for _, size, path in sorted(there):
        if excess <= 0:
            break
        with suppress(OSError):
            path.unlink()
        excess -= size


def _take_away_old(folder: Path) -> None:
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > OLD_S:
            folder.rmdir()


class Uploads:
    """Before each upload there is room for it, and of one that is too large or breaks off nothing stays.

    most_bytes: of one request, however many files it holds"""

    def __init__(self, app: ASGIApp, make_room: Callable[[], None], most_bytes: int):
        self.app, self._make_room, self._most = app, make_room, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].rstrip("/").endswith("/upload"):
            await self.app(scope, receive, send)
            return
        await asyncio.to_thread(self._make_room)
        came = 0

        async def counted() -> Message:
            """Gradio takes away what it has written where the form, of which this is a part, is wrong."""
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if message["type"] == "http.disconnect":
                raise MultiPartException("the upload broke off")
            if came > self._most:
                raise MultiPartException(f"more than the maximum allowed size of {self._most} bytes")
            return message

        await self.app(scope, counted, send)
