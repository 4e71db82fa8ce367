"""HL7 v2 messages in their ER7 encoding: bytes to fields (pure).

python-hl7 splits a message by the delimiters that it declares. Character sets and escape
sequences are done here, because the library's own way of undoing escapes logs the field.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import hl7

from audit.errors import InvalidConfiguration, Rejected

_HEAD = re.compile(r"MSH(?P<field>[!-/:-@\[-`{-~])(?P<others>[!-/:-@\[-`{-~]{4,5})(?P=field)")
_CODECS: Final = {
    "ASCII": "ascii",
    "ISOIR6": "ascii",
    "UNICODE": "utf-8",  # in practice; UTF-16 cannot pass MLLP
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "ISOIR14": "shift_jis",
    "ISOIR87": "iso2022_jp_ext",
    "ISOIR159": "iso2022_jp_ext",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    "KSX1001": "euc_kr",
    "BIG5": "big5",
    **{f"8859{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    **{f"ISO8859{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
"""HL7 Table 0211, without spaces and punctuation, and the spellings seen instead."""

_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")
_LAYOUT = re.compile(r"\.(br|ce|sp|sk|in|ti|fi|nf)[-+]?[0-9]*")


class Hl7Refused(Rejected):
    """A message that cannot be taken; says what to answer its sender.

    Parameters
    ----------
    answer : str
        ``AE`` where the content is wrong, ``AR`` where messages of this kind or at this
        time are not taken (HL7 Table 0008).
    error : int
        HL7 Table 0357.
    """

    code = "hl7.message.refused"

    def __init__(self, rule: str, *, answer: str = "AE", error: int = 102) -> None:
        super().__init__(rule)
        self.answer = answer
        self.error = error


def codec_for(names: Sequence[str], default: str) -> str:
    """Return Python's name for the character sets of MSH-18.

    Parameters
    ----------
    names : sequence of str
        The repetitions of MSH-18; several mean code extension (HL7 Section 2.14.9.18).
    default : str
        Where there are none, or the only one is empty.

    Raises
    ------
    Hl7Refused
        For a character set that cannot be read.
    """
    known = [_CODECS.get(re.sub(r"[\s_/.-]", "", name.upper())) for name in names if name.strip()]
    if not known:
        return _CODECS[re.sub(r"[\s_/.-]", "", default.upper())]
    if "iso2022_jp_ext" in known:
        return "iso2022_jp_ext"
    if None in known or len(set(known) - {"ascii"}) > 1:
        raise Hl7Refused(
            "MSH-18 names character sets that are not supported", answer="AR", error=103
        )
    return next((codec for codec in known if codec != "ascii" and codec is not None), "ascii")


def check_charset(name: str) -> None:
    """Check the configured character set.

    Raises
    ------
    InvalidConfiguration
        When it is none of HL7 Table 0211 that can be read.
    """
    try:
        codec_for([name], "ASCII")
    except Hl7Refused:
        raise InvalidConfiguration(["hl7.charset: must be a name of HL7 Table 0211"]) from None


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; fields, repetitions and components are counted from 1, as HL7 does."""

    name: str
    _fields: Any
    _unescaped: Any

    def text(self, field: int, component: int = 1, sub: int = 1, *, repetition: int = 1) -> str:
        """Return a value without its escapes, or nothing where it is absent or ``""``.

        The delete indication ``""`` (HL7 Section 2.5.3) counts as absent.
        """
        return self._value(field, repetition, component, sub)

    def whole(self, field: int, component: int, *, repetition: int = 1) -> str:
        """Return a component that has no subcomponents: a separator in it is text.

        Otherwise as `text`.
        """
        return self._value(field, repetition, component)

    def repetitions(self, field: int) -> int:
        """Return how often a field is repeated; 1 where it is empty."""
        node = _at(self._fields, field)
        return max(1, len(node)) if isinstance(node, list) else 1

    def _value(self, field: int, *numbers: int) -> str:
        node = _at(self._fields, field)
        for number in numbers:
            node = _at(node, number - 1)
        value = self._unescaped(str(node)).strip()
        return "" if value == '""' else str(value)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as its segments, MSH first."""

    segments: tuple[Segment, ...]
    codec: str
    """Python's name of its character set."""

    @property
    def header(self) -> Segment:
        """MSH. Field numbers are HL7's: MSH-1 is the field separator itself."""
        return self.segments[0]

    def named(self, name: str) -> Iterator[Segment]:
        """Yield the segments of this name."""
        return (segment for segment in self.segments if segment.name == name)


def read(body: bytes, default_charset: str) -> Message:
    """Return the message in `body`, the content of one MLLP block.

    Raises
    ------
    Hl7Refused
        When it is no message: nothing else is ever raised.
    """
    codec = codec_for(_declared_charsets(body), default_charset)
    try:
        text = body.decode(codec)
    except UnicodeDecodeError:
        raise Hl7Refused("the text is not in the character set of the message") from None
    return _split(text.replace("\r\n", "\r").replace("\n", "\r").strip(), codec)


def head_of(body: bytes) -> Message | None:
    """Return MSH alone of a message that `read` refuses, None where even that is not there.

    It is enough to address an answer.
    """
    line = re.split(rb"[\r\n]", body.lstrip(), maxsplit=1)[0]
    try:
        return _split(line.decode("ascii", "replace").strip(), "ascii")
    except Hl7Refused:
        return None


def _split(text: str, codec: str) -> Message:
    match = _HEAD.match(text)
    if match is None or len(set(match[1] + match[2])) != 1 + len(match[2]):
        raise Hl7Refused("it does not begin with MSH and five delimiters", error=100)
    escape = match["others"][2]
    delimiters = match["field"] + match["others"]

    def unescaped(value: str) -> str:
        return unescape(value, delimiters, codec) if escape in value else value

    parsed = hl7.parse(text)
    return Message(tuple(_segments(parsed, unescaped)), codec)


def _segments(parsed: Iterable[Any], unescaped: Any) -> Iterator[Segment]:
    for each in parsed:
        name = str(_at(_at(each, 0), 0))
        if name.strip():
            yield Segment(name.strip(), each, unescaped)


def unescape(value: str, delimiters: str, codec: str) -> str:
    r"""Return `value` with its escape sequences undone (HL7 Section 2.7).

    Highlighting and layout become a space or nothing; what is not known is left out.

    Parameters
    ----------
    value : str
        A field or a part of one.
    delimiters : str
        Field, component, repetition, escape, subcomponent, and what may follow.
    codec : str
        In which ``\Xdd..\`` are bytes.
    """
    field, component, repetition, escape, sub = list(delimiters[:5])
    plain = {"F": field, "S": component, "T": sub, "R": repetition, "E": escape}
    if len(delimiters) > 5:
        plain["P"] = delimiters[5]

    def undone(match: re.Match[str]) -> str:
        sequence = match[1]
        if sequence in plain:
            return plain[sequence]
        if (found := _HEX.fullmatch(sequence)) is not None:
            return bytes.fromhex(found[1]).decode(codec, "replace")
        return " " if _LAYOUT.fullmatch(sequence) else ""

    mark = re.escape(escape)
    return re.sub(f"{mark}([^{mark}]*){mark}", undone, value)


def _declared_charsets(body: bytes) -> list[str]:
    """Return the repetitions of MSH-18, read before the text can be."""
    line = re.split(rb"[\r\n]", body.lstrip(), maxsplit=1)[0].decode("latin-1")
    match = _HEAD.match(line)
    if match is None:
        return []
    fields = line.split(match["field"])
    return fields[17].split(match["others"][1]) if len(fields) > 17 else []


def _at(node: Any, index: int) -> Any:
    """Return a part of python-hl7's nested lists; a text is its own first part."""
    if isinstance(node, list):
        return node[index] if index < len(node) else ""
    return node if index == 0 else ""
