"""The whole configuration as one frozen value. Units are in the names.

Unknown keys are errors, and `load.load` reports every problem at once. The keys are
documented in ``docs/configuration.md``; a test compares the two.
"""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from dicom_node.config.accession import AcceptAction, AccessionSettings
from dicom_node.config.orders import Hl7Settings, WorklistSettings
from dicom_node.config.section import Port, Seconds, Section, valid_ae_title, valid_host


class StorageSettings(Section):
    """Where bytes live."""

    root: Path = Path("node-data")
    """Folder for received files, report objects and the embedded database."""

    minimum_free_bytes: Annotated[int, Field(ge=0)] = 500_000_000
    """Below this the node answers A700H (out of resources) instead of filling the disk."""


class DatabaseSettings(Section):
    """Where rows live."""

    url: str = ""
    """SQLAlchemy URL; empty means SQLite in the storage root.
    PostgreSQL: ``postgresql+psycopg://user:password@host/name``."""

    pool_size: Annotated[int, Field(ge=4, le=500)] = 80
    """Most connections; more than the threads that use them."""


class TlsSettings(Section):
    """The second DIMSE port, with TLS (PS3.15 Annex B, BCP 195 profile)."""

    port: Port = 2762
    """TCP port; 0 asks the system for a free one."""

    certificate_file: Path
    """Our certificate with its chain, PEM."""

    private_key_file: Path
    """The certificate's private key, PEM, without a passphrase."""

    client_ca_file: Path | None = None
    """When given, a client must present a certificate that this CA signed."""


class DimseSettings(Section):
    """The C-STORE and C-ECHO acceptor."""

    ae_title: str = "AI_NODE"
    """Our AE title: what a PACS calls, and what we call ourselves when we send."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""

    port: Port = 11112
    """TCP port; 0 asks the system for a free port."""

    tls: TlsSettings | None = None
    """A second listener with TLS; absent means none."""

    extra_sop_classes: tuple[str, ...] = ()
    """Further Storage SOP Class UIDs to accept."""

    maximum_pdu_bytes: Annotated[int, Field(ge=4096, le=16_777_216)] = 131_072
    """Maximum length of a P-DATA PDU that we announce (PS3.8 Section D.1)."""

    maximum_object_bytes: Annotated[int, Field(ge=1_000_000)] = 2_000_000_000
    """A larger data set is refused with A700H."""

    maximum_associations: Annotated[int, Field(ge=1, le=10_000)] = 400
    """Open at the same time; one more is rejected as transient."""

    association_timeout_s: Seconds = 10.0
    """For the TLS handshake and the A-ASSOCIATE-RQ (ARTIM, PS3.8 Section 9.1.5)."""

    pdu_timeout_s: Seconds = 30.0
    """For the rest of a PDU once its first byte has come."""

    idle_timeout_s: Seconds = 60.0
    """Silence between messages after which the association is aborted."""

    _title = field_validator("ae_title")(valid_ae_title)


class PeerSettings(Section):
    """An application entity that may send to us."""

    ae_title: str
    """Its calling AE title."""

    addresses: tuple[str, ...] = ()
    """IP addresses or networks (CIDR) it may call from; empty means any."""

    settle_s: Seconds | None = None
    """Overrides `settle.settle_s` for studies from this peer."""

    _title = field_validator("ae_title")(valid_ae_title)


class AccessSettings(Section):
    """Who may associate."""

    accept_unknown_peers: bool = False
    """True accepts any calling AE title from any address: for trials only."""

    called_ae_titles: tuple[str, ...] = ()
    """Further titles we answer to, besides `dimse.ae_title`."""

    peers: tuple[PeerSettings, ...] = ()
    """Who may send; see the section *peers*."""


class SettleSettings(Section):
    """When a study counts as complete."""

    settle_s: Annotated[float, Field(ge=0)] = 5.0
    """Quiet time after the last image, once no open association carries the study; one that has
    brought none of it for ten times this, and a minute, does not count."""

    poll_s: Seconds = 0.25
    """How often settled studies are looked for."""


class ReportProfile(StrEnum):
    """The form of the SR that a destination takes (see docs/decisions)."""

    VIEWER = "viewer"
    """Comprehensive SR, private root title: shows as text in every viewer."""

    IHE_AIR = "ihe-air"
    """Comprehensive 3D SR, title (126000, DCM): for IHE AI Results consumers."""


class RetrySettings(Section):
    """Exponential back-off with jitter."""

    first_delay_s: Seconds = 5.0
    """Longest wait after the first failure; it doubles with every further one."""

    maximum_delay_s: Seconds = 3600.0
    """Longest wait ever."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 48
    """After this many the job is parked for a person to look at: with these delays after 19 to 38
    hours."""


class DimseDestination(Section):
    """A PACS reached by C-STORE."""

    kind: Literal["dimse"]
    """C-STORE over an association."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    """What routes, jobs and logs call it."""

    host: str
    """Name or address of the machine."""

    port: Annotated[int, Field(ge=1, le=65535)]
    """Its TCP port."""

    ae_title: str
    """Its AE title, which we call."""

    tls_ca_file: Path | None = None
    """When given, the association runs over TLS and the peer must match this CA."""

    tls_certificate_file: Path | None = None
    """Our certificate for mutual TLS, PEM."""

    tls_private_key_file: Path | None = None
    """Its private key, PEM."""

    timeout_s: Seconds = 30.0
    """For connecting, for every answer, and for how long nothing may move while an object is
    sent. The answer to an object is awaited longer, by a second for each 100 000 bytes of it."""

    profile: ReportProfile = ReportProfile.VIEWER
    """The form of SR that it takes: ``viewer`` or ``ihe-air``."""

    _host = field_validator("host")(valid_host)
    _title = field_validator("ae_title")(valid_ae_title)


class StowDestination(Section):
    """A PACS reached by STOW-RS."""

    kind: Literal["stow"]
    """STOW-RS over HTTP."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    """What routes, jobs and logs call it."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    """Base of the DICOMweb service; objects are posted to ``<url>/studies``."""

    username: str = ""
    """For HTTP basic authentication; empty sends none."""

    password_file: Path | None = None
    """File that holds the password, so that it is not in this one."""

    timeout_s: Seconds = 30.0
    """For connecting, and for every answer."""

    profile: ReportProfile = ReportProfile.VIEWER
    """The form of SR that it takes: ``viewer`` or ``ihe-air``."""

    @field_validator("url")
    @classmethod
    def _named(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            valid_host(parts.hostname or "")
            _ = parts.port  # raises where it is no number of a port
        except ValueError:
            raise ValueError("must name a machine, and a port at most") from None
        return url


Destination = Annotated[DimseDestination | StowDestination, Field(discriminator="kind")]


class RouteMatch(Section):
    """What an instance must be for a route to take it; an empty list matches anything."""

    calling_ae_titles: tuple[str, ...] = ()
    """Who sent it."""

    modalities: tuple[str, ...] = ()
    """(0008,0060) Modality."""

    body_parts_examined: tuple[str, ...] = ()
    """(0018,0015) Body Part Examined, as declared."""

    sop_class_uids: tuple[str, ...] = ()
    """(0008,0016) SOP Class UID."""

    description_pattern: str = ""
    """Regular expression searched, ignoring case, in Study and Series Description."""

    @field_validator("description_pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            at = f" at character {error.pos + 1}" if error.pos is not None else ""
            raise ValueError(f"is no regular expression: {error.msg}{at}") from error
        return value


class RouteSettings(Section):
    """The first route that matches decides; an instance that none matches is only stored."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    """What routes, jobs and logs call it."""

    match: RouteMatch = RouteMatch()
    """What it takes; see the section *match*."""

    models: tuple[str, ...] = ("bodypart", "chest-findings")
    """Which models look at it, by name."""

    destinations: tuple[str, ...] = ()
    """Where the report goes, by name."""

    urgent: bool = False
    """True puts its studies before all that are not urgent."""


class InferenceSettings(Section):
    """How the models run."""

    model_dirs: tuple[Path, ...] = ()
    """Folders that hold further model folders; the shipped models are always there."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks run; ``auto`` takes a GPU when there is one."""

    runtime: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks; ``auto`` is torch on a GPU and OpenVINO on a CPU, torch where
    OpenVINO cannot be loaded. A network that OpenVINO does not run as torch does stays with
    torch (see docs/decisions)."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16`` is faster, for OpenVINO on a CPU that has it, and only for networks whose
    outputs it hardly changes; the others stay in float32."""

    threads: Annotated[int, Field(ge=0)] = 0
    """Compute threads; 0 means one per core."""

    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Most images in one forward pass."""

    batch_wait_ms: Annotated[float, Field(ge=0)] = 5.0
    """How long a batch waits for company."""

    workers: Annotated[int, Field(ge=1, le=64)] = 4
    """Images decoded at the same time."""

    maximum_pixels: Annotated[int, Field(ge=1)] = 100_000_000
    """A larger image is not decoded; the report says so."""

    region_map_file: Path | None = None
    """A site's own words for body parts, laid over the shipped table."""


class PipelineSettings(Section):
    """Queues and limits."""

    maximum_waiting_images: Annotated[int, Field(ge=1)] = 2000
    """Beyond this many images waiting for analysis, C-STORE responses are slowed."""

    maximum_slowdown_s: Seconds = 5.0
    """Longest that one response is held back."""

    retry: RetrySettings = RetrySettings()
    """Exponential back-off; see the section *retry*."""

    reconcile_s: Seconds = 60.0
    """How often work that does not advance is looked for."""

    drain_s: Seconds = 30.0
    """On SIGTERM: how long work under way may take to end."""


class ReportSettings(Section):
    """What the report objects say of their maker."""

    manufacturer: str = "Open DICOM AI Node"
    """(0008,0070) Manufacturer of the report objects."""

    institution_uid_root: str = ""
    """Reserved UID root of the site; empty derives UIDs under 2.25 (PS3.5 Section B.2)."""

    sr_series_number: Annotated[int, Field(ge=1, le=999_999)] = 9001
    """(0020,0011) Series Number of the SR."""

    sc_series_number: Annotated[int, Field(ge=1, le=999_999)] = 9002
    """(0020,0011) Series Number of the heat maps."""

    sc_long_side_pixels: Annotated[int, Field(ge=128, le=4096)] = 1280
    """Longest side of a heat map; a larger image is shrunk."""

    maximum_heat_maps: Annotated[int, Field(ge=0)] = 40
    """Most heat maps in one report; the likeliest findings get them, and the SR says how many
    were left out."""


class WebSettings(Section):
    """HTTP: STOW-RS, health, metrics."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: Port = 8042
    """TCP port; 0 asks the system for a free one."""

    stow_enabled: bool = True
    """Receive by STOW-RS at ``/dicom-web/studies``."""

    stow_token_file: Path | None = None
    """When given, STOW-RS asks for this bearer token."""


class LogSettings(Section):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""

    format: Literal["json", "console"] = "json"
    """``console`` is for reading by eye."""


class NodeSettings(Section):
    """The configuration, whole."""

    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    dimse: DimseSettings = DimseSettings()
    access: AccessSettings = AccessSettings()
    settle: SettleSettings = SettleSettings()
    inference: InferenceSettings = InferenceSettings()
    pipeline: PipelineSettings = PipelineSettings()
    report: ReportSettings = ReportSettings()
    web: WebSettings = WebSettings()
    worklist: WorklistSettings | None = None
    hl7: Hl7Settings | None = None
    accession: AccessionSettings = AccessionSettings()
    log: LogSettings = LogSettings()
    destinations: tuple[Destination, ...] = ()
    routes: tuple[RouteSettings, ...] = ()

    @model_validator(mode="after")
    def _names_fit_together(self) -> "NodeSettings":
        known = [destination.name for destination in self.destinations]
        routes = [route.name for route in self.routes]
        problems = [
            f"{what} {name!r} is named twice"
            for what, names in (("destination", known), ("route", routes))
            for name in sorted({n for n in names if names.count(n) > 1})
        ]
        problems += [
            f"route {route.name!r} names an unknown destination {name!r}"
            for route in self.routes
            for name in route.destinations
            if name not in known
        ]
        problems += [
            f"accession.correction_destinations names an unknown destination {name!r}"
            for name in self.accession.correction_destinations
            if name not in known
        ]
        corrects = self.accession.on_accept is AcceptAction.CORRECT
        anywhere = self.accession.correction_destinations or any(
            route.destinations for route in self.routes
        )
        if corrects and not anywhere:
            problems.append(
                "accession.on_accept is 'correct', but there is no destination to send to"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def database_url(self) -> str:
        """The database's URL, the embedded default included."""
        return self.database.url or f"sqlite:///{self.storage.root.absolute() / 'node.db'}"
