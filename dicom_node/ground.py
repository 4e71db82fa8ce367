"""What nearly every part of a running node needs; built by the composition root."""

from dataclasses import dataclass

from audit.clock import Clock
from audit.pseudonym import Pseudonyms
from audit.records import Writer
from dicom_node.config.settings import NodeSettings
from dicom_node.pipeline.work import Work
from dicom_node.web.prometheus import PrometheusMetrics
from inference.regions import RegionMap
from storage.files import FileStore
from storage.session import Database
from storage.work import WorkEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Shared by every part; lives as long as the node."""

    settings: NodeSettings
    database: Database
    files: FileStore
    engine: WorkEngine
    work: Work
    writer: Writer
    pseudonyms: Pseudonyms
    regions: RegionMap
    clock: Clock
    metrics: PrometheusMetrics
    executor_id: str
