"""Which studies are being carried right now, so that none settles under a sender."""

import threading
from collections import Counter


class Presence:
    """Counts, per Study Instance UID, the open carriages that have brought an image."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._carried: Counter[str] = Counter()

    def enter(self, study_instance_uid: str) -> None:
        """Note that one more carriage carries the study."""
        with self._lock:
            self._carried[study_instance_uid] += 1

    def leave(self, study_instance_uid: str) -> None:
        """Note that a carriage of the study has closed."""
        with self._lock:
            self._carried[study_instance_uid] -= 1
            if self._carried[study_instance_uid] <= 0:
                del self._carried[study_instance_uid]

    def carries(self, study_instance_uid: str) -> bool:
        """Whether any open carriage has brought an image of the study."""
        with self._lock:
            return study_instance_uid in self._carried
