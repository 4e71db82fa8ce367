"""The sections *worklist* and *hl7*: who tells what was ordered."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork, field_validator

from dicom_node.config.section import Port, Seconds, Section, valid_ae_title, valid_host


class WorklistSettings(Section):
    """The RIS, asked by Modality Worklist C-FIND what was ordered (PS3.4 Annex K)."""

    host: str
    """Name or address of the machine."""

    port: Annotated[int, Field(ge=1, le=65535)]
    """Its TCP port."""

    ae_title: str
    """Its AE title, which we call; we call ourselves `dimse.ae_title`."""

    tls_ca_file: Path | None = None
    """When given, the association runs over TLS and the peer must match this CA."""

    tls_certificate_file: Path | None = None
    """Our certificate for mutual TLS, PEM."""

    tls_private_key_file: Path | None = None
    """Its private key, PEM."""

    timeout_s: Seconds = 5.0
    """For connecting, and for every answer."""

    query_limit_s: Seconds = 20.0
    """For a whole query; what has not come by then is cancelled."""

    wait_s: Seconds = 3.0
    """Longest that a report waits for the answer to a question, of which there is one for each
    accession number and one for the patient; a later answer is kept all the same."""

    maximum_matches: Annotated[int, Field(ge=1, le=100_000)] = 500
    """A query that matches more is cancelled, and counts as not answered."""

    modalities: tuple[Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")], ...] = ("CR", "DX")
    """Scheduled steps of other modalities are left aside."""

    refresh_s: Seconds = 300.0
    """How often the orders of the days around today are fetched."""

    days_before: Annotated[int, Field(ge=0, le=31)] = 1
    """How many days before today are fetched, and looked at for a patient's other orders."""

    days_after: Annotated[int, Field(ge=0, le=31)] = 1
    """How many days after."""

    failures_before_rest: Annotated[int, Field(ge=1, le=100)] = 3
    """After this many failures in a row the worklist is left alone."""

    rest_s: Seconds = 30.0
    """For how long; then one query tries again."""

    _host = field_validator("host")(valid_host)
    _title = field_validator("ae_title")(valid_ae_title)


AccessionField = Literal[
    "IPC-1", "OBR-2", "OBR-3", "OBR-18", "OBR-19", "OBR-20", "ORC-2", "ORC-3", "ORC-4"
]


class Hl7Settings(Section):
    """A listener for HL7 v2 orders (ORM^O01, OMI^O23, OMG^O19) over MLLP."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""

    port: Port = 2575
    """TCP port; 0 asks the system for a free one."""

    addresses: tuple[IPvAnyNetwork, ...] = (
        IPv4Network("127.0.0.0/8"),
        IPv6Network("::1/128"),
    )
    """IP addresses or networks (CIDR) that may send; MLLP knows no other proof."""

    application: str = "DICOM_NODE"
    """What acknowledgements call us (MSH-3)."""

    charset: str = "UNICODE UTF-8"
    """Character set of messages that name none in MSH-18 (HL7 Table 0211)."""

    processing_ids: tuple[Literal["P", "T", "D"], ...] = ("P",)
    """Accepted MSH-11: production, training, debugging."""

    accession_fields: tuple[AccessionField, ...] = ("IPC-1", "OBR-18", "ORC-3")
    """Where the accession number is; the first that is not empty."""

    patient_id_types: tuple[str, ...] = ("MR", "PI", "PT")
    """Which repetition of PID-3 is the Patient ID of the images, by CX-5; else the first."""

    local_authorities: tuple[str, ...] = ()
    """Assigning authorities that the images do not name (CX-4, EI-2): a number of one of these
    counts as a number without issuer."""

    modalities: tuple[str, ...] = ("CR", "DX", "DR", "RG", "RX", "XR", "RAD")
    """Orders whose IPC-5 or OBR-24 says something else are acknowledged and left aside."""

    maximum_message_bytes: Annotated[int, Field(ge=1_000, le=16_777_216)] = 262_144
    """A larger message is refused and the connection closed."""

    maximum_connections: Annotated[int, Field(ge=1, le=1_000)] = 16
    """Open at the same time; one more is closed at once."""

    message_timeout_s: Seconds = 30.0
    """For the rest of a message once its first byte has come, and for taking our answer."""

    idle_timeout_s: Seconds = 3600.0
    """Silence between messages after which a connection is closed."""
