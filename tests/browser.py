"""A headless Chromium, driven over its DevTools protocol through a pair of pipes: no driver, no port, no package."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--enable-unsafe-swiftshader", "--hide-scrollbars", "--window-size=1280,1000"),
]
DEADLINE_S = 120.0  # of what should come; a machine under load is slow


class Browser:
    """One page. requests: every address that it has asked for; problems: what it told of errors"""

    def __init__(self, read: int, write: int):
        self._read, self._write = read, write
        self._number, self._buffer, self._session = 0, b"", None
        self.requests: list[str] = []
        self.problems: list[str] = []
        self._events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        deadline = time.monotonic() + DEADLINE_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.event(lambda one: one["method"] == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true, asked again and again."""
        done = self.run(
            f"""new Promise((yes) => {{
              const end = performance.now() + {1000 * DEADLINE_S - 10_000};
              const ask = () => {{
                const found = (() => {condition})();
                if (found || performance.now() > end) yes(Boolean(found)); else setTimeout(ask, 50);
              }}; ask();
            }})"""
        )
        assert done, (condition, self.problems, self.run("document.body.innerText.slice(0, 2000)"))

    def upload(self, selector: str, path: Path) -> None:
        """Give a file to an <input type=file>."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]
        assert "objectId" in found, selector
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["objectId"])

    def downloads(self, folder: Path, begin: Callable[[], Any]) -> Path:
        """The file that lies in `folder` after `begin` has made the page download one."""
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)
        begin()
        name = self.event(lambda one: one["method"] == "Browser.downloadWillBegin")["params"]["suggestedFilename"]
        self.event(lambda one: one["method"] == "Browser.downloadProgress" and one["params"]["state"] == "completed")
        return folder / name

    def event(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event of this kind that was not taken yet."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            for place, one in enumerate(self._events):
                if wanted(one):
                    return self._events.pop(place)
            self._next(deadline)

    def screenshot(self, path: Path) -> None:
        """Of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1})
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has gone"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(f"{message['params']['entry']['text']} {message['params']['entry'].get('url', '')}")
        elif message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(message["params"]["exceptionDetails"].get("exception", {}).get("description")))
        elif "method" in message:
            self._events.append(message)
        return message


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser of its own, with nothing remembered."""
    assert CHROMIUM
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()

    def placed() -> None:
        """Its ends of the pipes at the numbers where it looks for them."""
        ends = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (theirs_in, theirs_out)]
        for number, one in zip((3, 4), ends, strict=True):
            os.dup2(one, number)

    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
        preexec_fn=placed,
        pass_fds=(3, 4),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_in, ours_out)
    finally:
        os.close(ours_out)  # it ends with its pipe
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_in)
