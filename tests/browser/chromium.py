"""A headless Chromium, driven over the W3C WebDriver protocol (one JSON post a command)."""

import base64
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import httpx
from PIL import Image

WIDTH, HEIGHT = 1400, 900
"""Of the page, in pixels."""

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""What WebDriver calls a reference to an element (W3C WebDriver, section 11)."""

_OPTIONS = (
    "--headless=new",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
    "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
"""WebGL without a graphics card; no other machine is spoken to."""


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._client = httpx.Client(base_url=f"{session}/", timeout=120)

    def open(self, address: str) -> None:
        """Go to `address` and wait for the page's load event."""
        self._post("url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what the body of a JavaScript function returns."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def text(self) -> str:
        """Return the text of the page as a reader sees it."""
        return str(self.run("return document.body.innerText"))

    def wait_for(self, script: str, *arguments: Any, limit_s: float = 60.0) -> Any:
        """Return the script's answer as soon as it is true; fail after `limit_s`."""
        deadline = time.monotonic() + limit_s
        while not (answer := self.run(script, *arguments)):
            assert time.monotonic() < deadline, f"waited in vain; the page says: {self.text()}"
            time.sleep(0.1)
        return answer

    def picture(self, selector: str | None = None) -> Image.Image:
        """Return the page, or the first element that `selector` names, as RGB."""
        path = "screenshot"
        if selector is not None:
            found = self._post("element", {"using": "css selector", "value": selector})
            path = f"element/{found[_ELEMENT]}/screenshot"
        data = _value(self._client.get(path))
        return Image.open(BytesIO(base64.b64decode(data))).convert("RGB")

    def set_size(self, width: int, height: int) -> None:
        """Give the page, not the window around it, this size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        self._post("goog/cdp/execute", command)

    def close(self) -> None:
        """Send no more commands; the driver ends the window."""
        self._client.close()

    def _post(self, path: str, document: dict[str, Any]) -> Any:
        return _value(self._client.post(path, json=document))


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a Chromium with a fresh profile."""
    with _driver() as address:
        arguments = [*_OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}}
        document = {"capabilities": {"alwaysMatch": wanted}}
        started = _value(httpx.post(f"{address}/session", json=document, timeout=60))
        window = Browser(f"{address}/session/{started['sessionId']}")
        try:
            window.set_size(WIDTH, HEIGHT)
            yield window
        finally:
            window.close()


@contextmanager
def _driver() -> Iterator[str]:
    """Run chromedriver on a free port and give its address."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        )
        try:
            address = f"http://127.0.0.1:{_port(process)}"
            try:
                yield address
            finally:
                httpx.get(f"{address}/shutdown", timeout=20)  # and every Chromium that is left
        finally:
            process.terminate()
            process.wait(20)


def _port(process: "subprocess.Popen[str]") -> int:
    """Return the port that chromedriver prints."""
    assert process.stdout is not None
    for line in process.stdout:
        if said := re.search(r"started successfully on port (\d+)", line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return int(said.group(1))
    raise AssertionError("chromedriver ended before it was ready")


def _value(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text[:500]
    return answer.json()["value"]
