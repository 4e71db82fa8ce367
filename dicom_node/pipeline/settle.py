"""When is a study complete? When nobody carries it, it has been quiet, and all is analysed.

Who keeps one association open for one study after another carries none of them for ever.
"""

from collections.abc import Callable, Collection
from datetime import datetime

import structlog
from sqlalchemy import Connection

from audit.clock import Clock
from dicom_node.pipeline.presence import Presence
from dicom_node.pipeline.work import Work, report_key
from storage import jobs
from storage.index import SettlingStudy, settling
from storage.session import Database
from storage.states import JobKind

log = structlog.get_logger()

PATIENCE_S = 60.0
"""How long a report waits for images whose analysis failed and is tried again; they come in
a later revision."""

_HELD = 10
"""How many quiet times without an image of a study an open association still holds it back."""


def is_settled(study: SettlingStudy, *, now: datetime, settle_s: float, carried: bool) -> bool:
    """Whether `study` may be reported now (pure).

    Parameters
    ----------
    study : SettlingStudy
        A study with images that no report speaks of yet.
    now : datetime
        The present, aware.
    settle_s : float
        Quiet time that its sender is configured for, in seconds.
    carried : bool
        Whether an open association or request has brought an image of it.
    """
    quiet_s = (now - study.last_received_at).total_seconds()
    held = carried and quiet_s < max(_HELD * settle_s, PATIENCE_S)
    if held or study.waiting > study.retrying:
        return False
    return quiet_s >= (max(settle_s, PATIENCE_S) if study.retrying else settle_s)


class StillComing:
    """Tells which studies have not settled: what is said of them now may be wrong soon, and
    their own report compares them again."""

    def __init__(
        self, presence: Presence, settle_s_for: Callable[[str], float], clock: Clock
    ) -> None:
        self._presence = presence
        self._settle_s_for = settle_s_for
        self._clock = clock

    def __call__(self, connection: Connection, study_ids: Collection[int]) -> frozenset[int]:
        """Return those of `study_ids` that images, or results, are still coming for."""
        now = self._clock.now()
        return frozenset(
            study.study_id
            for study in settling(connection)
            if study.study_id in study_ids
            and not is_settled(
                study,
                now=now,
                settle_s=self._settle_s_for(study.calling_ae_title),
                carried=self._presence.carries(study.study_instance_uid),
            )
        )


class Settle:
    """Begins the report of every study that has settled."""

    def __init__(
        self,
        database: Database,
        work: Work,
        presence: Presence,
        settle_s_for: Callable[[str], float],
        clock: Clock,
    ) -> None:
        self._database = database
        self._work = work
        self._presence = presence
        self._settle_s_for = settle_s_for
        self._clock = clock

    def __call__(self) -> int:
        """Look once; return how many reports were begun."""
        with self._database.reading() as connection:
            candidates = [
                study
                for study in settling(connection)
                if jobs.get(connection, report_key(study.study_id, study.changes)) is None
            ]
        now = self._clock.now()
        begun = 0
        for study in candidates:
            if is_settled(
                study,
                now=now,
                settle_s=self._settle_s_for(study.calling_ae_title),
                carried=self._presence.carries(study.study_instance_uid),
            ):
                begun += self._begin(study)
        return begun

    def _begin(self, study: SettlingStudy) -> int:
        with self._database.transaction() as connection:
            fresh = self._work.begin(
                connection,
                key=report_key(study.study_id, study.changes),
                kind=JobKind.REPORT,
                queue=JobKind.REPORT,
                study_id=study.study_id,
                urgent=study.urgent,
            )
        if fresh:
            log.info(
                "pipeline.study.settled",
                correlation_id=study.correlation_id,
                revision=study.revision + 1,
            )
        return int(fresh)
