"""Which route an instance takes, and whether it is urgent (pure)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from dicom_node.config.settings import RouteMatch, RouteSettings
from inference.elements import items, text

_URGENT = frozenset({"STAT", "URGENT", "HIGH"})
"""Requested Procedure Priority's STAT and HIGH (PS3.3 Section C.4.11), Study Priority ID's
HIGH (retired), and what some RIS write in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedInstance:
    """What routes look at."""

    calling_ae_title: str
    modality: str
    body_part_examined: str
    sop_class_uid: str
    study_description: str = ""
    series_description: str = ""

    @classmethod
    def of(cls, header: Dataset, calling_ae_title: str) -> "RoutedInstance":
        """Read a header; broken values count as empty."""
        return cls(
            calling_ae_title=calling_ae_title,
            modality=text(header, "Modality"),
            body_part_examined=text(header, "BodyPartExamined"),
            sop_class_uid=text(header, "SOPClassUID"),
            study_description=text(header, "StudyDescription"),
            series_description=text(header, "SeriesDescription"),
        )


def choose_route(routes: Sequence[RouteSettings], instance: RoutedInstance) -> RouteSettings | None:
    """Return the first route whose every condition holds; None: store, do nothing more."""
    return next((route for route in routes if _holds(route.match, instance)), None)


def urgent(header: Dataset, route: RouteSettings | None) -> bool:
    """Return whether the study goes before others.

    True when the route says so, or when Requested Procedure Priority (0040,1003) or Study
    Priority ID (0032,000C) does, at the top level or in the Request Attributes Sequence.
    """
    if route is not None and route.urgent:
        return True
    return any(
        text(ds, keyword).upper() in _URGENT
        for ds in (header, *items(header, "RequestAttributesSequence"))
        for keyword in ("RequestedProcedurePriority", "StudyPriorityID")
    )


def _holds(match: RouteMatch, instance: RoutedInstance) -> bool:
    descriptions = (instance.study_description, instance.series_description)
    return (
        _listed(instance.calling_ae_title, match.calling_ae_titles)
        and _listed(instance.modality.upper(), (m.upper() for m in match.modalities))
        and _listed(
            instance.body_part_examined.upper(), (b.upper() for b in match.body_parts_examined)
        )
        and _listed(instance.sop_class_uid, match.sop_class_uids)
        and (
            not match.description_pattern
            or any(
                re.search(match.description_pattern, line, re.IGNORECASE) for line in descriptions
            )
        )
    )


def _listed(value: str, allowed: Iterable[str]) -> bool:
    entries = frozenset(allowed)
    return not entries or value in entries
