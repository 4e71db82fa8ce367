"""The composition root's part about orders: who tells of them, and what is made of that."""

import math
from dataclasses import dataclass

from dicom_node.config.accession import OrderedBy
from dicom_node.core.devices import device_labels
from dicom_node.correction.port import Mender
from dicom_node.dimse.worklist import WorklistClient
from dicom_node.ground import Ground
from dicom_node.notify.begin import Announcer, channels_of
from dicom_node.notify.step import Notify, make_channels
from dicom_node.orders.book import BookParts, OrderBook
from dicom_node.orders.decide import Decide, DecideParts
from dicom_node.orders.inbox import Hl7Inbox, InboxParts
from dicom_node.orders.mllp import MllpListener
from dicom_node.orders.proposal_counts import CountProposals
from dicom_node.orders.services import OrderServices
from dicom_node.orders.watch import WatchOrders
from dicom_node.orders.worklist_source import RefreshWorklist, WorklistSource
from dicom_node.pipeline.judge_unimaged import JudgeUnimaged, JudgeUnimagedParts
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.patient_images import HeaderReader
from dicom_node.pipeline.reconcile_orders import ReconcileOrders, ReconcileOrdersParts
from dicom_node.pipeline.settle import StillComing
from inference.assignment import Options
from inference.service import InferenceService


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Everything about orders, joined."""

    services: OrderServices
    reconcile: ReconcileOrders
    notify: Notify
    decide: Decide


def build_orders(
    ground: Ground, inference: InferenceService, mender: Mender, still_coming: StillComing
) -> Orders:
    """Return what knows orders, compares them with images, tells people and takes their word.

    Raises
    ------
    InvalidConfiguration
        A certificate or a character set that the configuration names cannot be used.
    """
    settings = ground.settings.accession
    records = JudgementRecords(writer=ground.writer, pseudonyms=ground.pseudonyms)
    services = _services(ground, records)
    announcer = Announcer(ground.work, channels_of(settings))
    return Orders(
        services=services,
        reconcile=ReconcileOrders(
            ReconcileOrdersParts(
                database=ground.database,
                headers=HeaderReader(ground.files, ground.regions, settings.sources),
                book=services.book,
                settings=settings,
                options=Options(least_margin=math.log(settings.least_odds)),
                labels=lambda model: inference.manifest(model).labels,
                regions=ground.regions,
                devices=device_labels(ground.settings),
                still_coming=still_coming,
                work=ground.work,
                announcer=announcer,
                records=records,
                clock=ground.clock,
                metrics=ground.metrics,
            )
        ),
        notify=Notify(ground.database, ground.work, make_channels(settings), ground.metrics),
        decide=Decide(
            DecideParts(
                database=ground.database,
                on_accept=settings.on_accept,
                mender=mender,
                announcer=announcer,
                records=records,
                clock=ground.clock,
            )
        ),
    )


def _services(ground: Ground, records: JudgementRecords) -> OrderServices:
    settings = ground.settings
    source = _worklist(ground)
    book = OrderBook(
        BookParts(
            database=ground.database,
            settings=settings.accession,
            source=source,
            changed=WatchOrders(ground.work, settings.accession, ground.clock),
            clock=ground.clock,
            metrics=ground.metrics,
        )
    )
    if source is not None:
        source.deliver_late_answers_to(book)
    return OrderServices(
        book=book,
        worklist=source,
        refresh=RefreshWorklist(source, book) if source is not None else None,
        refresh_s=settings.worklist.refresh_s if settings.worklist is not None else math.inf,
        listener=_listener(ground, book),
        unimaged=JudgeUnimaged(
            JudgeUnimagedParts(
                database=ground.database,
                settings=settings.accession,
                regions=ground.regions,
                work=ground.work,
                records=records,
                clock=ground.clock,
                metrics=ground.metrics,
            )
        ),
        count_proposals=CountProposals(ground.database, ground.metrics),
        every_s=settings.pipeline.reconcile_s,
    )


def _worklist(ground: Ground) -> WorklistSource | None:
    settings = ground.settings
    if settings.worklist is None or OrderedBy.WORKLIST not in settings.accession.sources:
        return None
    client = WorklistClient(settings.worklist, settings.dimse.ae_title, ground.clock)
    return WorklistSource(client, settings.worklist, ground.regions, ground.clock, ground.metrics)


def _listener(ground: Ground, book: OrderBook) -> MllpListener | None:
    settings = ground.settings.hl7
    if settings is None:
        return None
    inbox = Hl7Inbox(
        InboxParts(
            settings=settings,
            regions=ground.regions,
            sink=book,
            database=ground.database,
            clock=ground.clock,
            metrics=ground.metrics,
        )
    )
    return MllpListener(settings, inbox, ground.clock, ground.metrics)
