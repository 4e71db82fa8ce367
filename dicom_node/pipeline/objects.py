"""Report objects on their way to durable files."""

import hashlib
from collections.abc import Mapping
from io import BytesIO

from pydicom import Dataset, dcmwrite

from dicom_node.config.settings import ReportProfile
from dicom_node.report.build import build_overlays, build_sr, overlay_reference
from dicom_node.report.content import BuiltObject, ReportRequest
from storage.files import FileStore
from storage.reports import NewReportObject

SHARED = "any"
"""Profile of the objects that all profiles have in common: the heat maps."""


def keep_report(
    files: FileStore, requests: Mapping[ReportProfile, ReportRequest]
) -> list[NewReportObject]:
    """Build and write the heat maps, each before the next is built, then an SR for each
    profile. Files that get no row are swept later."""
    kept: list[NewReportObject] = []
    overlays: dict[tuple[int, str, str], Dataset] = {}
    for overlay in build_overlays(next(iter(requests.values()))):
        kept.append(keep_object(files, overlay, SHARED))
        subject, reference = overlay_reference(overlay)
        overlays[subject] = reference
    for profile, request in requests.items():
        kept.append(keep_object(files, build_sr(request, profile, overlays), profile.value))
    return kept


def keep_object(files: FileStore, built: BuiltObject, profile: str) -> NewReportObject:
    """Write one object to a durable file."""
    ds = built.dataset
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    content = buffer.getvalue()
    relative = files.new_path("reports")
    files.write(relative, content)
    return NewReportObject(
        profile=profile,
        role=built.role,
        series_instance_uid=ds.SeriesInstanceUID,
        sop_instance_uid=ds.SOPInstanceUID,
        sop_class_uid=ds.SOPClassUID,
        transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
        sha256=hashlib.sha256(content).hexdigest(),
        path=relative,
    )
