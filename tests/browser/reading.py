"""What a person does and sees in OHIF: open a series, read its text, look at its picture."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset

from tests.browser.chromium import Browser, browser
from tests.browser.ohif import Viewer, serving

CRASH = "Something went wrong"
"""How OHIF's error page begins."""

_CANVAS = "canvas.cornerstone-canvas"
_CLOSE_CINE = "[data-cy=cine-player-close]"
_LIMIT_S = 60.0

_SAYS = "return [...arguments].some(text => document.body.innerText.includes(text))"
_HAS = "return document.querySelector(arguments[0]) !== null"
_THUMBNAILS_ARE_DRAWN = """
const drawn = [...document.querySelectorAll('[data-cy=study-browser-thumbnail] img')];
return drawn.length == arguments[0] && drawn.every(img => img.complete && img.naturalWidth);
"""


class Reader:
    """A person in front of OHIF."""

    def __init__(self, browser: Browser, viewer: Viewer) -> None:
        self._browser = browser
        self._viewer = viewer

    def text(self) -> str:
        """Return the text of the page as it stands."""
        return self._browser.text()

    def open_text(self, report: Dataset) -> str:
        """Open an SR and return the text of the page, also where that is the error page."""
        self._open(report)
        title = report.ConceptNameCodeSequence[0].CodeMeaning
        self._browser.wait_for(_SAYS, title, CRASH)
        return self.text()

    def open_picture(self, ds: Dataset, *, at_least: float = 0.9) -> None:
        """Open an image; return when the viewport shows it, fail when it does not."""
        self._open(ds)
        self._browser.wait_for(_HAS, _CANVAS)
        deadline = time.monotonic() + _LIMIT_S
        while (like := self.likeness(ds)) < at_least:
            assert time.monotonic() < deadline, f"not the picture that was stored: {like:.2f}"
            time.sleep(0.1)

    def likeness(self, ds: Dataset) -> float:
        """Return how like the viewport's picture is to the pixels of `ds`: 1 is the same.

        The viewer fits the picture into the viewport and lays a few words and buttons over
        it; the number is the correlation over all channels of what both show. The image
        that a heat map was made of is less than 0.6 like it.
        """
        shown = np.asarray(self._browser.picture(_CANVAS), dtype=np.float64)
        scale = min(shown.shape[0] / ds.Rows, shown.shape[1] / ds.Columns)
        height, width = round(scale * ds.Rows), round(scale * ds.Columns)
        top, left = (shown.shape[0] - height) // 2, (shown.shape[1] - width) // 2
        seen = shown[top : top + height, left : left + width]
        stored = np.asarray(Image.fromarray(ds.pixel_array).resize((width, height)))
        if not seen.std() or not stored.std():
            return 0.0
        return float(np.corrcoef(seen.ravel(), stored.ravel())[0, 1])

    def photograph(self, *, thumbnails: int) -> Image.Image:
        """Return the page once so many thumbnails are drawn, without the cine buttons."""
        self._browser.wait_for(_THUMBNAILS_ARE_DRAWN, thumbnails)
        self._browser.run(
            "document.querySelectorAll(arguments[0]).forEach(button => button.click())",
            _CLOSE_CINE,
        )
        self._browser.wait_for("return document.querySelector(arguments[0]) === null", _CLOSE_CINE)
        return self._browser.picture()

    def _open(self, ds: Dataset) -> None:
        """Open the study of `ds` at its series."""
        self._browser.open(
            self._viewer.study(ds.StudyInstanceUID, series_instance_uid=ds.SeriesInstanceUID)
        )


@contextmanager
def reader(ohif: Path, dicomweb_url: str) -> Iterator[Reader]:
    """Serve OHIF beside a DICOMweb service, and sit a reader in front of it."""
    with serving(ohif, dicomweb_url) as viewer, browser() as window:
        yield Reader(window, viewer)
