"""The section *accession*: is each image under the right order, and who is told."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from dicom_node.config.section import Seconds, Section


class OrderedBy(StrEnum):
    """Who may say what was ordered."""

    WORKLIST = "worklist"
    """Modality Worklist; see the section *worklist*."""

    HL7 = "hl7"
    """HL7 v2 orders; see the section *hl7*."""

    REQUEST = "request"
    """Requested procedure, as code or words, in the image."""

    DESCRIPTION = "description"
    """Study, series and protocol descriptions and Body Part Examined, in the image."""


class AcceptAction(StrEnum):
    """What accepting a proposal does, besides being recorded."""

    NOTIFY = "notify"
    """Tells those named in *webhook* and *email*; the archive is mended by hand."""

    CORRECT = "correct"
    """Also sends a correction package (IHE IOCM): copies under the right order, and a
    rejection note for the wrongly filed images."""


class Unimaged(StrEnum):
    """Which orders without any image are called incomplete, once none is awaited any more."""

    ALL = "all"
    """Every one: patients who never came, too."""

    SIBLINGS = "siblings"
    """Those of patients of whom other images of the same days came."""

    NONE = "none"
    """None: for a node that is not sent every image."""


class DeviceSettings(Section):
    """A device, or several that are counted as one, in metrics."""

    label: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    """What metrics call it."""

    station_names: Annotated[tuple[str, ...], Field(min_length=1)]
    """(0008,1010) Station Name of its images."""


class WebhookSettings(Section):
    """An HTTP service that is told of proposals; JSON, by POST."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    """Where to post."""

    token_file: Path | None = None
    """File that holds a bearer token, so that it is not in this one."""

    timeout_s: Seconds = 10.0
    """For connecting, and for the answer."""

    with_identifiers: bool = False
    """True adds accession numbers and the sentence that names them. Otherwise the message
    names the proposal by its number alone."""


class EmailSettings(Section):
    """A mailbox that is told of proposals, by SMTP."""

    host: str
    """The mail server."""

    port: Annotated[int, Field(ge=1, le=65535)] = 587
    """Its TCP port."""

    security: Literal["starttls", "tls", "none"] = "starttls"
    """``starttls`` upgrades a plain connection, ``tls`` is encrypted from the start."""

    username: str = ""
    """For SMTP authentication; empty sends none."""

    password_file: Path | None = None
    """File that holds the password, so that it is not in this one."""

    sender: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
    """From whom the mail is."""

    recipients: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...], Field(min_length=1)
    ]
    """To whom it goes."""

    timeout_s: Seconds = 30.0
    """For connecting, and for every answer."""

    with_identifiers: bool = False
    """As in *webhook*. Mail is read on telephones and kept for years: think twice."""


class AccessionSettings(Section):
    """Is each image under the right order, and if not, where does it belong?"""

    sources: Annotated[tuple[OrderedBy, ...], Field(min_length=1)] = (
        OrderedBy.HL7,
        OrderedBy.WORKLIST,
        OrderedBy.REQUEST,
        OrderedBy.DESCRIPTION,
    )
    """Who is believed first about what was ordered: the first that names a known body part
    decides. One that is left out is not asked."""

    day_window: Annotated[int, Field(ge=0, le=30)] = 1
    """A patient's studies and orders at most this many days apart are looked at together."""

    worklist_cache_s: Seconds = 300.0
    """How long a worklist's answer about one accession holds; afterwards it counts as stale
    where the worklist cannot be asked again."""

    watch_h: Annotated[float, Field(gt=0, le=720)] = 48.0
    """How long after its last image a study is verified again when an order changes."""

    unimaged: Unimaged = Unimaged.ALL
    """Which orders under which no image came are called incomplete: ``all``, ``siblings``
    (of patients of whom other images of the same days came) or ``none``, for a node that is
    not sent every image."""

    unimaged_after_h: Annotated[float, Field(gt=0, le=720)] = 2.0
    """How long after the patient's last image an order of that day or before is awaited no
    more. Where no image came on its day or later, until `day_window` days after its day."""

    least_odds: Annotated[float, Field(gt=1)] = 19.0
    """A move is proposed when it is this many times as probable as the next best
    explanation of what the images show."""

    on_accept: AcceptAction = AcceptAction.NOTIFY
    """What accepting a proposal does."""

    correction_destinations: tuple[str, ...] = ()
    """Where correction packages go, by name; empty means where the reports on the moved
    images go."""

    devices: tuple[DeviceSettings, ...] = ()
    """Devices whose mismatches are counted apart; all others are counted as ``other``."""

    api_token_file: Path | None = None
    """File that holds the bearer token of ``/api/accessions``; without it that is not
    served, for it names patients' orders."""

    webhook: WebhookSettings | None = None
    """Told of every proposal, and of every decision; absent means nobody."""

    email: EmailSettings | None = None
    """Told of the same; absent means nobody."""

    @field_validator("sources")
    @classmethod
    def _each_once(cls, sources: tuple[OrderedBy, ...]) -> tuple[OrderedBy, ...]:
        if len(set(sources)) != len(sources):
            raise ValueError("a source is named twice")
        return sources
