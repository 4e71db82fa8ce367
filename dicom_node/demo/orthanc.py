"""A private Orthanc: free ports, temporary storage, the DICOMweb plug-in loaded.

It is the PACS of the demonstration and of the tests, where it is installed.

Orthanc 1.10 cannot bind one address or take port 0: it listens on every address, refuses
HTTP from other machines (``RemoteAccessAllowed``), and is told two ports that were free a
moment ago. Should another process take one of them meanwhile, it is started once more.
"""

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PLUGINS = (
    Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),
    Path("/usr/lib/orthanc/plugins/libOrthancDicomWeb.so"),
)
START_S = 30.0
STOP_S = 20.0


class OrthancStartError(Exception):
    """Orthanc ended before it answered; the message holds the end of its log."""

    code = "demo.orthanc.not_started"


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    ae_title: str
    dicom_port: int
    http_port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Base of the REST interface, without a slash at the end."""
        return f"http://{self.host}:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        """Base of the DICOMweb service."""
        return f"{self.url}/dicom-web"

    def get(self, path: str) -> Any:
        """Return the JSON at `path` of the REST interface."""
        return httpx.get(f"{self.url}{path}", timeout=30).raise_for_status().json()

    def post(self, path: str, document: Any) -> Any:
        """Post `document` as JSON and return the JSON answer."""
        answer = httpx.post(f"{self.url}{path}", json=document, timeout=60)
        return answer.raise_for_status().json()

    def add_dicomweb_server(self, name: str, url: str, **options: Any) -> None:
        """Make a DICOMweb server known; post to ``/dicom-web/servers/<name>/stow`` to use it."""
        httpx.put(
            f"{self.url}/dicom-web/servers/{name}", json={"Url": url, **options}, timeout=30
        ).raise_for_status()

    def sop_instance_uids(self) -> set[str]:
        """Return the SOP Instance UIDs that it holds."""
        return {
            instance["MainDicomTags"]["SOPInstanceUID"]
            for instance in self.get("/instances?expand")
        }

    def file(self, sop_instance_uid: str) -> bytes:
        """Return the stored Part 10 file of an instance."""
        [orthanc_id] = httpx.post(
            f"{self.url}/tools/lookup", content=sop_instance_uid, timeout=30
        ).json()
        return httpx.get(f"{self.url}/instances/{orthanc_id['ID']}/file", timeout=30).content

    def clear(self) -> None:
        """Delete everything that it holds."""
        for patient in self.get("/patients"):
            httpx.delete(f"{self.url}/patients/{patient}", timeout=30).raise_for_status()


def free_port() -> int:
    """Return a TCP port that was free a moment ago (for programs that cannot take port 0)."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_orthanc(
    folder: Path, *, ae_title: str = "ORTHANC", options: Mapping[str, Any] | None = None
) -> Iterator[Orthanc]:
    """Run an Orthanc whose storage lies in `folder`.

    Parameters
    ----------
    options
        Laid over the configuration, for example ``{"RegisteredUsers": {"ai": "secret"},
        "AuthenticationEnabled": True}``.
    """
    for attempt in range(2):
        orthanc = Orthanc(ae_title=ae_title, dicom_port=free_port(), http_port=free_port())
        process = _start(folder, orthanc, options or {})
        try:
            try:
                _wait_until_it_answers(orthanc, process, folder)
            except OrthancStartError:
                if attempt:
                    raise
                continue
            yield orthanc
            return
        finally:
            _stop(process)


def _start(folder: Path, orthanc: Orthanc, options: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {
        "Name": "private",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": orthanc.http_port,
        "DicomPort": orthanc.dicom_port,
        "DicomAet": orthanc.ae_title,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomModalities": {},
        "UnknownSopClassAccepted": False,
        "OverwriteInstances": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "SslEnabled": False,
        "StableAge": 1,
        "Plugins": [str(plugin) for plugin in PLUGINS if plugin.exists()],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Servers": {}},
        **options,
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own arguments
            ["Orthanc", str(file)],  # noqa: S607 - wherever the system has it
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait_until_it_answers(
    orthanc: Orthanc, process: "subprocess.Popen[bytes]", folder: Path
) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            # Any answer will do: with users configured it is 401.
            httpx.get(f"{orthanc.url}/system", timeout=1)
            socket.create_connection((orthanc.host, orthanc.dicom_port), timeout=1).close()
            return
        except (httpx.TransportError, OSError):
            time.sleep(0.05)
    raise OrthancStartError((folder / "orthanc.log").read_text(errors="replace")[-2000:])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
