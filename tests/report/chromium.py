"""A headless Chromium over its debugging pipe: no driver, no port, nothing to install beside it."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def found() -> str | None:
    """The browser's command, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Browser:
    """A page in a browser.

    Args:
        commands: where it reads.
        answers: where it writes.
        events: what it told without being asked.
    """

    commands: Any
    answers: Any
    events: list[dict[str, Any]] = field(default_factory=list)
    session: str = ""
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the answer to a command of the Chrome DevTools Protocol."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Show a file as a screen of that size would, and wait until it is there."""
        self.events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not self.seen("Page.loadEventFired"):
            self.events.append(self._next())
        time.sleep(0.1)  # not by a script of the page's: they may be switched off

    def evaluate(self, script: str) -> Any:
        """Return what a script comes to on the page."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def seen(self, method: str) -> list[dict[str, Any]]:
        """Return the events of a kind since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def picture(self, *, top: int = 0, height: int = 900, kind: str = "png") -> bytes:
        """Return a picture of the page from some height on."""
        width = self.evaluate("innerWidth")
        # A screen as high as that, as what lies beyond a screen may not be painted yet.
        size = {"width": width, "height": top + height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 300)))")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        more = {} if kind == "png" else {"quality": 82}
        answer = self.call("Page.captureScreenshot", format=kind, clip=clip, **more)
        return base64.b64decode(answer["data"])

    def _next(self) -> dict[str, Any]:
        content = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            assert byte, "the browser is gone"
            content += byte
        return json.loads(content)


@contextmanager
def browser(command: str, profile: Path) -> Generator[Browser]:
    """Start a browser with an empty profile and end it."""
    (their_in, our_out), (our_in, their_out) = _pipe(), _pipe()
    arguments = (
        "--headless=new",
        "--remote-debugging-pipe",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-extensions",
        "--disable-background-networking",
        f"--user-data-dir={profile}",
    )

    def give_pipes() -> None:
        os.dup2(their_in, 3)
        os.dup2(their_out, 4)

    process = subprocess.Popen(
        [command, *arguments, "about:blank"],
        preexec_fn=give_pipes,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    with open(our_out, "wb") as commands, open(our_in, "rb") as answers:  # noqa: PTH123 - of pipes
        try:
            page = Browser(commands, answers)
            targets = page.call("Target.getTargets")["targetInfos"]
            target = next(each["targetId"] for each in targets if each["type"] == "page")
            attached = page.call("Target.attachToTarget", targetId=target, flatten=True)
            page.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.call(f"{domain}.enable")
            yield page
        finally:
            with suppress(OSError):
                page.session = ""
                page.call("Browser.close")
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _pipe() -> tuple[int, int]:
    """Return a pipe whose ends are not 3 and 4, which are the browser's own."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
