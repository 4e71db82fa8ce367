"""Certificates for tests of TLS, made by the openssl program when asked for."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from dicom_node.config.settings import TlsSettings
from tests.peers import require


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority `ca`, and what it signed; `strange` it did not sign."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}_key.pem"

    def server(self, *, mutual: bool = False) -> TlsSettings:
        return TlsSettings(
            port=0,
            certificate_file=self.certificate("server"),
            private_key_file=self.key("server"),
            client_ca_file=self.ca if mutual else None,
        )


def make_certificates(folder: Path) -> Certificates:
    """Make the authority, a server, a client and a stranger in `folder`."""
    require("openssl")
    made = Certificates(folder)
    _openssl(*_request(made, "ca"), "-x509", "-out", made.ca)
    _openssl(*_request(made, "strange"), "-x509", "-out", made.certificate("strange"))
    names = folder / "names.ext"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        request = folder / f"{name}.csr"
        _openssl(*_request(made, name), "-out", request)
        _openssl(
            *("x509", "-req", "-in", request, "-CA", made.ca, "-CAkey", made.key("ca")),
            *("-CAcreateserial", "-days", "2", "-extfile", names),
            *("-out", made.certificate(name)),
        )
    return made


def _request(made: Certificates, name: str) -> tuple[object, ...]:
    new_key = ("req", "-newkey", "rsa:2048", "-nodes", "-keyout", made.key(name))
    return (*new_key, "-days", "2", "-subj", f"/CN={name}.invalid")


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
