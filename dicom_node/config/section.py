"""What every section of the configuration is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=0, le=65535, strict=True)]
Seconds = Annotated[float, Field(gt=0)]
AE_TITLE_LENGTH = 16


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def valid_host(host: str) -> str:
    """Return `host`.

    Raises
    ------
    ValueError
        When it is empty, or no resolver can be asked for it (RFC 1035 Section 2.3.4).
    """
    try:
        asked = host.encode("idna")
    except UnicodeError:
        asked = b""
    if not asked.strip():
        raise ValueError("must be the name or the address of a machine")
    return host


def valid_ae_title(title: str) -> str:
    """Return `title` without padding.

    Raises
    ------
    ValueError
        When it is not 1 to 16 printable ASCII characters without backslash
        (PS3.5 Section 6.2, VR AE).
    """
    stripped = title.strip(" ")
    plain = stripped.isascii() and stripped.isprintable() and "\\" not in stripped
    if not (1 <= len(stripped) <= AE_TITLE_LENGTH and plain):
        raise ValueError("must be a valid AE value (PS3.5 Section 6.2)")
    return stripped
