"""Acknowledgements in original mode: AA, AE or AR (HL7 Sections 2.9.2 and 2.13) (pure)."""

from datetime import datetime

from dicom_node.orders.er7 import Hl7Refused, Message

_ESCAPES = str.maketrans(
    {sign: f"\\{name}\\" for sign, name in zip("\\|^&~", "EFSTR", strict=True)}
)
_TABLE_0357 = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    207: "Application internal error",
}


def acknowledgement(
    message: Message | None,
    *,
    application: str,
    at: datetime,
    problem: Hl7Refused | None = None,
) -> bytes:
    """Return the answer to a message, without MLLP's block characters.

    Parameters
    ----------
    message : Message, optional
        What is answered, or its MSH alone; None where not even that could be read.
    application : str
        What we call ourselves (MSH-3).
    at : datetime
        The moment of the answer (MSH-7), from which its own control id is made.
    problem : Hl7Refused, optional
        Why it is not taken; its words name no value of the message.
    """

    def told(field: int, component: int = 1) -> str:
        return _escaped(message.header.text(field, component)) if message is not None else ""

    version = told(12) or "2.5.1"
    header = [
        *("MSH", r"^~\&", _escaped(application), told(6), told(3), told(4)),
        *(f"{at:%Y%m%d%H%M%S%z}", "", "^".join(filter(None, ("ACK", told(9, 2), "ACK")))),
        *(f"{at:%y%m%d%H%M%S%f}", told(11) or "P", version, "", "", "", "", "", told(18)),
    ]
    answer = problem.answer if problem is not None else "AA"
    segments = ["|".join(header), f"MSA|{answer}|{told(10)}"]
    if problem is not None:
        segments[-1] += f"|{_escaped(str(problem))}"
        segments.append(_error(problem, version))
    text = "\r".join((*segments, ""))
    return text.encode(message.codec if message is not None else "ascii", "replace")


def _error(problem: Hl7Refused, version: str) -> str:
    """Return ERR as the version has it: one composite before 2.5, fields since."""
    meaning = _TABLE_0357[problem.error]
    if version.split(".")[:2] < ["2", "5"]:
        return f"ERR|^^^{problem.error}&{meaning}&HL70357"
    return f"ERR|||{problem.error}^{meaning}^HL70357|E||||{_escaped(str(problem))}"


def _escaped(value: str) -> str:
    """Return `value` with our delimiters escaped and without what would break the block."""
    return "".join(sign for sign in value if sign.isprintable()).translate(_ESCAPES)
