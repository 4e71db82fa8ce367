"""OHIF, fetched once from the npm registry and served beside a DICOMweb service."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse

from dicom_node.config.settings import WebSettings
from dicom_node.web.server import WebServer

VERSION = "3.13.2"
SHA256 = "b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1"
"""Of the package's archive, 50 MB."""

_FOLDER = Path(__file__).resolve().parents[2] / ".work" / f"ohif-{VERSION}"
_NOT_NEEDED = (".map", "/ort/")
"""Source maps and a neural network runtime: most of the package, never loaded here."""

_CONFIGURATION = """window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  showStudyList: true,
  showErrorDetails: 'always',
  showPatientInfo: 'visible',
  investigationalUseDialog: { option: 'never' },
  customizationService: [{ 'ohif.tours': { $set: [] } }],
  defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'Orthanc',
      qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web',
      imageRendering: 'wadors',
      thumbnailRendering: 'wadors',
      singlepart: 'pdf,video',
      bulkDataURI: { enabled: true },
      omitQuotationForMultipartRequest: true,
    },
  }],
};
"""


class OhifUnavailable(Exception):
    """OHIF is not here and cannot be fetched; the message says why."""


def fetch() -> Path:
    """Return the folder of the built application; fetch it where it is not here yet.

    Raises
    ------
    OhifUnavailable
        When npm cannot fetch the package, or it is not the one that is pinned.
    """
    if not fetched():
        _FOLDER.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_FOLDER.parent) as temporary:
            archive = _downloaded(Path(temporary))
            with tarfile.open(archive) as packed:
                wanted = [m for m in packed if not any(part in m.name for part in _NOT_NEEDED)]
                if hasattr(tarfile, "data_filter"):  # not in every Python 3.11
                    packed.extraction_filter = tarfile.data_filter
                packed.extractall(temporary, wanted)
            shutil.rmtree(_FOLDER, ignore_errors=True)
            (Path(temporary) / "package" / "dist").rename(_FOLDER)
    return _FOLDER


def fetched() -> bool:
    """Return whether the application is here already."""
    return (_FOLDER / "index.html").is_file()


def _downloaded(folder: Path) -> Path:
    packing = subprocess.run(
        ["npm", "pack", "--silent", f"@ohif/app@{VERSION}"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "npm_config_update_notifier": "false"},
    )
    archives = list(folder.glob("*.tgz"))
    if packing.returncode or len(archives) != 1:
        raise OhifUnavailable(f"npm cannot fetch @ohif/app {VERSION}")
    [archive] = archives
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise OhifUnavailable(f"@ohif/app {VERSION} is not the package that is pinned")
    return archive


class Viewer:
    """OHIF at an address."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def study(self, study_instance_uid: str, *, series_instance_uid: str) -> str:
        """Return the address that opens a study, that series first."""
        query = {
            "StudyInstanceUIDs": study_instance_uid,
            "initialSeriesInstanceUID": series_instance_uid,
        }
        return f"{self._base}/viewer?{urlencode(query)}"


@contextmanager
def serving(folder: Path, dicomweb_url: str) -> Iterator[Viewer]:
    """Serve the application, and the DICOMweb service under ``/dicom-web`` beside it."""
    with httpx.Client(timeout=60) as client:
        server = WebServer(_application(folder, dicomweb_url, client), WebSettings(port=0))
        server.start()
        try:
            yield Viewer(server.port)
        finally:
            server.stop()


def _application(folder: Path, dicomweb_url: str, client: httpx.Client) -> FastAPI:
    app = FastAPI(openapi_url=None)
    root = folder.resolve()

    @app.get("/app-config.js")
    def configuration() -> Response:
        return Response(_CONFIGURATION, media_type="text/javascript")

    @app.get("/dicom-web/{path:path}")
    def relay(path: str, request: Request) -> Response:
        kept = {key: request.headers[key] for key in ("accept", "host") if key in request.headers}
        answer = client.get(f"{dicomweb_url}/{path}?{request.url.query}", headers=kept)
        content_type = answer.headers.get("content-type")
        return Response(
            answer.content, answer.status_code, {"content-type": content_type or "text/plain"}
        )

    @app.get("/{path:path}")
    def page(path: str) -> Response:
        file = (root / path).resolve()
        inside = file.is_file() and file.is_relative_to(root)
        return FileResponse(file if inside else root / "index.html")

    return app
