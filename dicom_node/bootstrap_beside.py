"""The composition root's part for commands beside the node: they change its work, its proposals."""

from collections.abc import Iterator
from contextlib import contextmanager

from audit.clock import Clock, SystemClock
from audit.metrics import NullMetrics
from dicom_node.bootstrap_data import audit_writer, node_id, open_pseudonyms
from dicom_node.config.settings import NodeSettings
from dicom_node.correction.mender import MenderParts, PackageMender
from dicom_node.correction.port import Mender
from dicom_node.notify.begin import Announcer, channels_of
from dicom_node.orders.decide import Decide, DecideParts
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.work import Work
from dicom_node.version import software_version
from inference.regions import load_regions
from storage.files import FileStore
from storage.session import Database
from storage.work import WorkEngine


def open_work(settings: NodeSettings, database: Database) -> Work:
    """Return what re-drives and discards jobs from outside the running node."""
    return Work(
        database=database,
        engine=WorkEngine(database, executor_id=node_id(settings.storage.root)),
        retry=settings.pipeline.retry,
        writer=audit_writer(settings),
        clock=SystemClock(),
        metrics=NullMetrics(),
    )


@contextmanager
def open_mender(settings: NodeSettings, database: Database, work: Work) -> Iterator[Mender]:
    """Yield what builds correction packages, for commands beside the node."""
    clock = SystemClock()
    files = FileStore(
        settings.storage.root,
        minimum_free_bytes=settings.storage.minimum_free_bytes,
        clock=clock,
    )
    try:
        yield build_mender(settings, database, files, work, clock)
    finally:
        files.close()


@contextmanager
def open_decide(settings: NodeSettings, database: Database) -> Iterator[Decide]:
    """Yield what takes a person's word on a proposal, for commands beside the node."""
    work = open_work(settings, database)
    with open_mender(settings, database, work) as mender:
        yield Decide(
            DecideParts(
                database=database,
                on_accept=settings.accession.on_accept,
                mender=mender,
                announcer=Announcer(work, channels_of(settings.accession)),
                records=JudgementRecords(
                    writer=audit_writer(settings), pseudonyms=open_pseudonyms(settings, database)
                ),
                clock=SystemClock(),
            )
        )


def build_mender(
    settings: NodeSettings, database: Database, files: FileStore, work: Work, clock: Clock
) -> Mender:
    """Return what builds correction packages, of parts that are open already."""
    return PackageMender(
        MenderParts(
            database=database,
            files=files,
            settings=settings,
            destinations=settings.accession.correction_destinations,
            regions=load_regions(settings.inference.region_map_file),
            work=work,
            writer=audit_writer(settings),
            pseudonyms=open_pseudonyms(settings, database),
            clock=clock,
            software_version=software_version(),
            device_serial=node_id(settings.storage.root),
        )
    )
