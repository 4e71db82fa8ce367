"""UIDs of report objects, derived from what the objects say (pure).

The same report made twice has the same UIDs, so a retry is a duplicate at the
destination and never a second opinion. Whatever changes the content (the node, the study,
the images and their very bytes, the revision, weights, configuration, the form of the
report, for an SR every sentence) changes the UID: two installations, or one that lost its
database and counts revisions from one again, never give different objects the same UID.
"""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import rfc8785
from pydicom.uid import RE_VALID_UID_PREFIX

from audit.errors import InvalidConfiguration
from inference.types import ModelIdentity

_NAMESPACE = uuid.UUID("6f6a2e0e-5ab2-5c3e-9d41-0c3c3c0f7a11")
_LONGEST = 64
_FEWEST_DIGITS = 20
"""About 66 bits: two UIDs of one site do not meet by chance."""


def derive_uid(root: str, *parts: str) -> str:
    """Return the UID that belongs to `parts`, at most 64 characters (PS3.5 Section 9.1).

    Parameters
    ----------
    root : str
        The site's UID root; empty for the 2.25 root with a name-based UUID
        (PS3.5 Section B.2, RFC 9562 version 5).
    *parts : str
        What the object is; equal parts in equal order give equal UIDs.

    Raises
    ------
    InvalidConfiguration
        When `root` is not a UID prefix, or leaves fewer than 20 digits.
    """
    name = rfc8785.dumps(list(parts))
    if not root:
        return f"2.25.{uuid.uuid5(_NAMESPACE, name.decode()).int}"
    prefix = root.rstrip(".") + "."
    digits = min(_LONGEST - len(prefix), 39)
    if digits < _FEWEST_DIGITS or not RE_VALID_UID_PREFIX.match(prefix):
        raise InvalidConfiguration(
            ["report.institution_uid_root must be a UID root of at most 43 characters"]
        )
    number = int.from_bytes(hashlib.sha256(name).digest()) % 10**digits
    return f"{prefix}{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportUids:
    """The UIDs of one report: who speaks, of which images, with which models."""

    root: str
    device_serial: str
    """Which node; every installation has its own."""

    study_instance_uid: str
    revision: int
    models: tuple[ModelIdentity, ...]
    evidence: tuple[tuple[str, str], ...]
    """SOP Instance UID and sha256 of the data set of each image, in any order."""

    def sr_series(self, profile: str, said: str) -> str:
        """Return the Series Instance UID of the SR in `profile`; `said` as `sr_instance`."""
        return self._derive("series", "SR", profile, said)

    def sr_instance(self, profile: str, said: str) -> str:
        """Return the SOP Instance UID of the SR in `profile`.

        `said` is a digest of its sentences: orders and proposals change what is said of the
        same images by the same models.
        """
        return self._derive("instance", "SR", profile, said)

    def sc_series(self) -> str:
        """Return the Series Instance UID of the overlays; every profile shares them."""
        return self._derive("series", "SC")

    def sc_instance(self, image_uid: str, model: ModelIdentity, finding: str) -> str:
        """Return the SOP Instance UID of the overlay of `finding` on an image."""
        return self._derive("instance", "SC", image_uid, *_identity(model), finding)

    def tracking(self, image_uid: str, model: ModelIdentity, subject: str) -> str:
        """Return the Tracking Unique Identifier of `subject` on an image.

        It is the same in every profile, revision and version of the model, because what
        it tracks is the same (PS3.16 TID 1501).
        """
        return derive_uid(
            self.root, "tracking", self.study_instance_uid, image_uid, model.name, subject
        )

    def _derive(self, *parts: str) -> str:
        models = (value for model in self.models for value in _identity(model))
        images = (value for image in sorted(self.evidence) for value in image)
        return derive_uid(
            self.root,
            self.device_serial,
            self.study_instance_uid,
            str(self.revision),
            *parts,
            "models",
            *models,
            "images",
            *images,
        )


def distinct_models(models: Iterable[ModelIdentity]) -> tuple[ModelIdentity, ...]:
    """Return one identity for each (name, weights, configuration), sorted by name."""
    by_identity = {_identity(model): model for model in models}
    return tuple(by_identity[key] for key in sorted(by_identity))


def model_device_uid(root: str, model: ModelIdentity) -> str:
    """Return the Device UID of a model: another one after each training."""
    return derive_uid(root, "model", model.name, model.weights_sha256)


def node_device_uid(root: str, *, manufacturer: str, serial: str) -> str:
    """Return the UID of the node itself as the observer (PS3.16 TID 1004)."""
    return derive_uid(root, "node", manufacturer, serial)


def _identity(model: ModelIdentity) -> tuple[str, str, str]:
    return model.name, model.weights_sha256, model.configuration_sha256
