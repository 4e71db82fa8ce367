"""HL7 messages for tests. Every patient here is invented."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

START, END = b"\x0b", b"\x1c\r"


def order_message(
    *,
    control: str = "NW",
    accession: str = "A1",
    procedure: str = "XKNE^XR KNEE LEFT^L",
    patient: str = "P1^^^HOSP^MR",
    message_id: str = "M1",
    kind: str = "OMI^O23^OMI_O23",
    version: str = "2.5.1",
    charset: str = "UNICODE UTF-8",
    processing: str = "P",
    modality: str = "CR",
    procedure_id: str = "RP1",
    study_uid: str = "1.2.3",
    status: str = "",
    name: str = "Doe^Jane",
) -> str:
    """Return an order as text; OMI^O23 with IPC, others with OBR-18 and ZDS."""
    header = (
        f"MSH|^~\\&|RIS|HOSP|DICOM_NODE|NODE|20260102101500||{kind}|{message_id}|{processing}"
        f"|{version}||||||{charset}"
    )
    obr = [""] * 25
    obr[1], obr[2], obr[3], obr[4] = "1", f"PL-{accession}^RIS", f"FI-{accession}^RIS", procedure
    obr[18], obr[19], obr[24] = accession, procedure_id, modality
    segments = [
        header,
        f"PID|1||{patient}||{name}||19700101|F",
        f"ORC|{control}|PL-{accession}^RIS|FI-{accession}^RIS||{status}||^^^20260103080000",
        "|".join(("OBR", *obr[1:])),
        f"IPC|{accession}|{procedure_id}|{study_uid}|SPS1|{modality}"
        if kind.startswith("OMI")
        else f"ZDS|{study_uid}^RIS^Application^DICOM",
    ]
    return "\r".join(segments) + "\r"


def fields(answer: bytes, segment: str) -> list[str]:
    """Return the fields of a segment of an acknowledgement; empty without the segment."""
    for line in answer.decode("utf-8").split("\r"):
        if line.startswith(segment + "|"):
            return line.split("|")
    return []


def answer_code(answer: bytes) -> str:
    """Return MSA-1."""
    return fields(answer, "MSA")[1]


class MllpPeer:
    """A sender of messages over a real socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._held = b""

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.connection.sendall(data)

    def answer(self) -> bytes:
        """Return the next acknowledgement, without its block characters."""
        while END not in self._held:
            data = self.connection.recv(65_536)
            if not data:
                raise EOFError("the connection ended before an answer")
            self._held += data
        first, self._held = self._held.split(END, 1)
        assert first.startswith(START)
        return first[1:]

    def ask(self, message: str | bytes, codec: str = "utf-8") -> bytes:
        """Send a message as one block and return its acknowledgement."""
        body = message.encode(codec) if isinstance(message, str) else message
        self.write(START + body + END)
        return self.answer()

    def ended(self) -> bool:
        """Tell whether the other side closed; waits for that."""
        try:
            return self.connection.recv(65_536) == b""
        except ConnectionError:
            return True


@contextmanager
def mllp_peer(port: int, *, host: str = "127.0.0.1") -> Iterator[MllpPeer]:
    """Connect to a listener on this machine."""
    with socket.create_connection((host, port), timeout=10) as connection:
        yield MllpPeer(connection)
