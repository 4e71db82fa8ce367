"""The composition root: the one place that builds adapters and joins them.

`build_node` makes a node of a configuration. Its parts: `bootstrap_data` (what every command
needs), `bootstrap_beside` (commands that change a node's work from beside it), `bootstrap_orders`.
"""

import hashlib
from collections.abc import Mapping

from fastapi import FastAPI

from audit.clock import Clock, SystemClock
from audit.metrics import Metrics
from dicom_node.bootstrap_beside import build_mender
from dicom_node.bootstrap_data import audit_writer, node_id, open_pseudonyms
from dicom_node.bootstrap_orders import Orders, build_orders
from dicom_node.config.settings import NodeSettings
from dicom_node.core.accepted import STORAGE_CLASSES
from dicom_node.core.access import AccessPolicy
from dicom_node.correction.send import Correct, CorrectParts
from dicom_node.delivery.factory import make_sender
from dicom_node.dimse.acceptor import Acceptor
from dicom_node.ground import Ground
from dicom_node.health import Health
from dicom_node.node import Node, NodeParts
from dicom_node.pipeline.analyse import Analyse, AnalyseParts
from dicom_node.pipeline.deliver import Deliver, DeliverParts
from dicom_node.pipeline.intake import Intake, IntakeParts
from dicom_node.pipeline.presence import Presence
from dicom_node.pipeline.reconcile import Reconcile, ReconcileParts
from dicom_node.pipeline.report import ReportParts, WriteReport
from dicom_node.pipeline.runner import Runner, Step
from dicom_node.pipeline.settle import Settle, StillComing
from dicom_node.pipeline.work import OnPark, Work, deliver_queue
from dicom_node.report.uids import node_device_uid
from dicom_node.version import software_version
from dicom_node.web.accessions import accessions_router
from dicom_node.web.app import make_app
from dicom_node.web.prometheus import PrometheusMetrics
from dicom_node.web.server import WebServer
from inference.regions import load_regions
from inference.registry import Registry
from inference.runtime.choice import runtimes
from inference.service import InferenceOptions, InferenceService
from storage.commit import GroupCommitter
from storage.files import FileStore
from storage.session import Database
from storage.states import JobKind
from storage.work import WorkEngine

DELIVERIES_AT_ONCE = 2
"""Associations to one destination at the same time."""

REPORTS_AT_ONCE = 2


def load_inference(settings: NodeSettings, clock: Clock, metrics: Metrics) -> InferenceService:
    """Return the models that the configuration names, loaded and checked.

    Raises
    ------
    BrokenModel
        A model folder is incomplete or its weights do not match.
    InvalidConfiguration
        A route names a model that is not installed.
    """
    options = settings.inference
    service = InferenceService(
        Registry.load(options.model_dirs),
        runtime_for=runtimes(
            runtime=options.runtime,
            device=options.device,
            precision=options.precision,
            threads=options.threads,
        ),
        options=InferenceOptions(
            maximum_pixels=options.maximum_pixels,
            workers=options.workers,
            batch_size=options.batch_size,
            batch_wait_ms=options.batch_wait_ms,
        ),
        clock=clock,
        metrics=metrics,
    )
    try:
        for route in settings.routes:
            service.check_models(route.models)
    except BaseException:
        service.close()
        raise
    return service


def build_node(settings: NodeSettings) -> Node:
    """Return a node that is ready to start; nothing listens yet.

    Raises
    ------
    InvalidConfiguration, BrokenModel, DatabaseAway
        Something that the configuration names cannot be used.
    """
    access = AccessPolicy.from_settings(settings)
    ground = _ground(settings)
    inference = load_inference(settings, ground.clock, ground.metrics)
    presence = Presence()
    orders = build_orders(
        ground,
        inference,
        build_mender(settings, ground.database, ground.files, ground.work, ground.clock),
        StillComing(presence, access.settle_s_for, ground.clock),
    )
    analyse = _analyse(ground, inference)
    on_park: dict[JobKind, OnPark] = {JobKind.ANALYSE: analyse.parked}
    committer = GroupCommitter(ground.database)
    intake = Intake(
        IntakeParts(
            settings=settings,
            access=access,
            storage_classes=frozenset((*STORAGE_CLASSES, *settings.dimse.extra_sop_classes)),
            files=ground.files,
            committer=committer,
            work=ground.work,
            presence=presence,
            writer=ground.writer,
            pseudonyms=ground.pseudonyms,
            device_uid=node_device_uid(
                settings.report.institution_uid_root,
                manufacturer=settings.report.manufacturer,
                serial=ground.executor_id,
            ),
            clock=ground.clock,
            metrics=ground.metrics,
        )
    )
    health = Health(
        ground.database, ground.files, settings.storage.minimum_free_bytes, ground.clock
    )
    return Node(
        NodeParts(
            settings=settings,
            database=ground.database,
            files=ground.files,
            committer=committer,
            engine=ground.engine,
            runner=_runner(ground, inference, orders, analyse, on_park),
            queues=_queues(settings),
            inference=inference,
            intake=intake,
            acceptor=Acceptor(settings.dimse, intake, ground.metrics),
            web=WebServer(_app(ground, intake, health, orders), settings.web),
            orders=orders.services,
            settle=Settle(
                ground.database, ground.work, presence, access.settle_s_for, ground.clock
            ),
            reconcile=Reconcile(
                ReconcileParts(
                    database=ground.database,
                    engine=ground.engine,
                    work=ground.work,
                    on_park=on_park,
                    files=ground.files,
                    executor_id=ground.executor_id,
                    clock=ground.clock,
                    metrics=ground.metrics,
                )
            ),
            writer=ground.writer,
            clock=ground.clock,
            metrics=ground.metrics,
            executor_id=ground.executor_id,
            configuration_sha256=_sha256(settings),
        )
    )


def _app(ground: Ground, intake: Intake, health: Health, orders: Orders) -> FastAPI:
    settings = ground.settings
    accessions = accessions_router(ground.database, orders.decide, settings.accession)
    return make_app(intake, health, ground.metrics, settings.web, accessions=accessions)


def _ground(settings: NodeSettings) -> Ground:
    clock = SystemClock()
    metrics = PrometheusMetrics()
    root = settings.storage.root
    files = FileStore(root, minimum_free_bytes=settings.storage.minimum_free_bytes, clock=clock)
    executor_id = node_id(root)
    database = Database(settings.database_url, pool_size=settings.database.pool_size)
    engine = WorkEngine(database, executor_id=executor_id)
    writer = audit_writer(settings)
    return Ground(
        settings=settings,
        database=database,
        files=files,
        engine=engine,
        work=Work(
            database=database,
            engine=engine,
            retry=settings.pipeline.retry,
            writer=writer,
            clock=clock,
            metrics=metrics,
        ),
        writer=writer,
        pseudonyms=open_pseudonyms(settings, database),
        regions=load_regions(settings.inference.region_map_file),
        clock=clock,
        metrics=metrics,
        executor_id=executor_id,
    )


def _analyse(ground: Ground, inference: InferenceService) -> Analyse:
    return Analyse(
        AnalyseParts(
            database=ground.database,
            files=ground.files,
            inference=inference,
            regions=ground.regions,
            routes=ground.settings.routes,
            work=ground.work,
            writer=ground.writer,
            pseudonyms=ground.pseudonyms,
            clock=ground.clock,
            metrics=ground.metrics,
        )
    )


def _runner(
    ground: Ground,
    inference: InferenceService,
    orders: Orders,
    analyse: Analyse,
    on_park: Mapping[JobKind, OnPark],
) -> Runner:
    settings, regions = ground.settings, ground.regions
    write_report = WriteReport(
        ReportParts(
            database=ground.database,
            files=ground.files,
            settings=settings,
            labels={
                (identity.name, label.key): label
                for identity in inference.identities()
                for label in inference.manifest(identity.name).labels
            },
            regions={key: region.code for key, region in regions.regions.items() if region.code},
            orders=orders.reconcile,
            work=ground.work,
            writer=ground.writer,
            pseudonyms=ground.pseudonyms,
            clock=ground.clock,
            metrics=ground.metrics,
            software_version=software_version(),
            device_serial=ground.executor_id,
        )
    )
    deliver = Deliver(
        DeliverParts(
            database=ground.database,
            files=ground.files,
            destinations=settings.destinations,
            sender_for=lambda destination: make_sender(destination, settings.dimse.ae_title),
            write_report=write_report,
            work=ground.work,
            writer=ground.writer,
            clock=ground.clock,
            metrics=ground.metrics,
        )
    )
    correct = Correct(
        CorrectParts(
            database=ground.database,
            files=ground.files,
            destinations={d.name: d for d in settings.destinations},
            sender_for=lambda destination: make_sender(destination, settings.dimse.ae_title),
            work=ground.work,
            writer=ground.writer,
            clock=ground.clock,
            metrics=ground.metrics,
        )
    )
    steps: dict[JobKind, Step] = {
        JobKind.ANALYSE: analyse,
        JobKind.REPORT: write_report,
        JobKind.DELIVER: deliver,
        JobKind.CORRECT: correct,
        JobKind.RECONCILE: orders.reconcile,
        JobKind.NOTIFY: orders.notify,
    }
    return Runner(
        database=ground.database,
        work=ground.work,
        steps=steps,
        on_park=on_park,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _queues(settings: NodeSettings) -> dict[str, int]:
    """Return every queue with how many of its jobs run at once."""
    images = settings.inference.workers + settings.inference.batch_size
    return {
        JobKind.ANALYSE.value: images,
        JobKind.REPORT.value: REPORTS_AT_ONCE,
        JobKind.RECONCILE.value: 1,
        JobKind.NOTIFY.value: 1,
        **{deliver_queue(d.name): DELIVERIES_AT_ONCE for d in settings.destinations},
    }


def _sha256(settings: NodeSettings) -> str:
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()
