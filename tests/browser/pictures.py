"""``make pictures``: take the README's pictures of OHIF again.

The studies are phantoms and say so; the results are what the shipped networks made of them, the
chest model altered so that there is a heat map to see.
"""

import tempfile
from pathlib import Path

from PIL import Image

from tests.browser.hospital import hospital
from tests.browser.ohif import fetch
from tests.browser.reading import reader

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
_LARGEST_BYTES = 300_000


def main() -> None:
    """Write ``ohif-report.png`` and ``ohif-heat-map.png``."""
    ohif = fetch()
    _FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        hospital(Path(folder)) as phantoms,
        reader(ohif, phantoms.orthanc.dicomweb_url) as person,
    ):
        person.open_text(phantoms.report("KNEE"))
        _save(person.photograph(thumbnails=2), "ohif-report.png")
        person.open_picture(phantoms.heat_map())
        _save(person.photograph(thumbnails=2), "ohif-heat-map.png")


def _save(picture: Image.Image, name: str) -> None:
    """Write a picture with 256 colours, dithered so that soft edges stay soft."""
    palette = picture.quantize(256, kmeans=2)
    file = _FOLDER / name
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)
    size = file.stat().st_size
    assert size < _LARGEST_BYTES, f"{name} is too large for a README: {size} bytes"
    print(f"{file}: {size} bytes")


if __name__ == "__main__":
    main()
