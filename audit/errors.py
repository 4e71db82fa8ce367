"""Root of the exception hierarchy; each class says what happens next.

* NodeError
  - Transient        try again later (peer away, database away, disk full)
    - DiskFull
    - DatabaseAway
    - PeerUnreachable
  - Rejected         the input is unacceptable; retrying cannot help
    - InvalidDataset
    - UndecodablePixels
  - Fault            our bug or a broken installation; a person must look
    - InvalidConfiguration
    - BrokenModel

Messages describe the rule that was broken, never the value that broke it: they go to
logs and to peers, and a value may identify a patient.
"""

from enum import StrEnum
from typing import ClassVar


class Disposition(StrEnum):
    """What the engine does with the work whose step raised."""

    RETRY = "retry"
    REJECT = "reject"
    PARK = "park"


class NodeError(Exception):
    """Base of every error that this product raises on purpose."""

    code: ClassVar[str] = "node.error"
    disposition: ClassVar[Disposition] = Disposition.PARK


class Transient(NodeError):
    """Try again later: the same input may succeed."""

    code = "node.transient"
    disposition = Disposition.RETRY


class DiskFull(Transient):
    """The file system that holds the data has no space left."""

    code = "storage.disk.full"


class DatabaseAway(Transient):
    """The database cannot be reached or is locked."""

    code = "storage.database.away"


class PeerUnreachable(Transient):
    """A destination refused the connection, the association, or went silent."""

    code = "delivery.peer.unreachable"


class Rejected(NodeError):
    """The input is unacceptable; trying again cannot help."""

    code = "node.rejected"
    disposition = Disposition.REJECT


class InvalidDataset(Rejected):
    """The data set cannot be parsed or lacks what the node needs to file it."""

    code = "dicom.dataset.invalid"


class UndecodablePixels(Rejected):
    """The pixel data is absent, damaged, or in a form that no decoder here reads."""

    code = "inference.pixels.undecodable"


class Fault(NodeError):
    """Our bug or a broken installation; a person must look."""

    code = "node.fault"


class InvalidConfiguration(Fault):
    """The configuration does not validate; `problems` lists every reason."""

    code = "config.invalid"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class BrokenModel(Fault):
    """A model folder is incomplete, or its weights do not match their sha256."""

    code = "inference.model.broken"
