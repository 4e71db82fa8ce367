"""The outputs of both networks, with the codes that the manifest carries.

Codes are SNOMED CT concepts of PS3.16 CID 4031 (regions) and of the public SNOMED sets
(findings); body part terms are those of PS3.16 Annex L.
"""

from dataclasses import dataclass

from inference.manifest import CodeEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A body region as UNIFESP labels it."""

    key: str
    source_name: str
    body_part_examined: str | None
    code: CodeEntry


def _region(key: str, source: str, term: str | None, value: str, meaning: str) -> Region:
    code = CodeEntry(scheme="SCT", value=value, meaning=meaning)
    return Region(key=key, source_name=source, body_part_examined=term, code=code)


REGIONS = (
    _region("Abdomen", "Abdomen", "ABDOMEN", "818981001", "Abdomen"),
    _region("Ankle", "Ankle", "ANKLE", "70258002", "Ankle joint"),
    _region("CervicalSpine", "Cervical Spine", "CSPINE", "122494005", "Cervical spine"),
    _region("Chest", "Chest", "CHEST", "816094009", "Chest"),
    _region("Clavicle", "Clavicles", "CLAVICLE", "51299004", "Clavicle"),
    _region("Elbow", "Elbow", "ELBOW", "16953009", "Elbow joint"),
    _region("Foot", "Feet", "FOOT", "56459004", "Foot"),
    _region("Finger", "Finger", "FINGER", "7569003", "Finger"),
    _region("Forearm", "Forearm", "FOREARM", "14975008", "Forearm"),
    _region("Hand", "Hand", "HAND", "85562004", "Hand"),
    _region("Hip", "Hip", "HIP", "24136001", "Hip joint"),
    _region("Knee", "Knee", "KNEE", "72696002", "Knee"),
    _region("LowerLeg", "Lower Leg", "LOWERLEG", "30021000", "Lower leg"),
    _region("LumbarSpine", "Lumbar Spine", "LSPINE", "122496007", "Lumbar spine"),
    _region("Pelvis", "Pelvis", "PELVIS", "816092008", "Pelvis"),
    _region("Shoulder", "Shoulder", "SHOULDER", "16982005", "Shoulder"),
    _region("Sinus", "Sinus", None, "2095001", "Paranasal sinus"),
    _region("Skull", "Skull", "SKULL", "89546000", "Skull"),
    _region("Thigh", "Thigh", "THIGH", "68367000", "Thigh"),
    _region("ThoracicSpine", "Thoracic Spine", "TSPINE", "122495006", "Thoracic spine"),
    _region("Wrist", "Wrist", "WRIST", "74670003", "Wrist joint"),
)

OTHERS, NOT_OURS, FRONTAL_CHEST = "Others", "NotOurs", "FrontalChest"
INVERTED, TURNED = "Inverted", "Turned"
"""Greys the wrong way round; a chest that lies on its side or upside down."""

BODYPART_KEYS = (
    *(region.key for region in REGIONS),
    OTHERS,
    NOT_OURS,
    FRONTAL_CHEST,
    INVERTED,
    TURNED,
)
"""Order of the body part network's output vector."""

KEY_OF_SOURCE_NAME = {region.source_name: region.key for region in REGIONS} | {"Others": OTHERS}

NEIGHBOURS = {
    "Ankle": {"Foot", "LowerLeg"},
    "Foot": {"Ankle"},
    "Finger": {"Hand"},
    "Hand": {"Finger", "Wrist"},
    "Wrist": {"Hand", "Forearm"},
    "Forearm": {"Wrist", "Elbow"},
    "Elbow": {"Forearm", OTHERS},
    "LowerLeg": {"Ankle", "Knee"},
    "Knee": {"LowerLeg", "Thigh"},
    "Thigh": {"Hip", "Knee"},
    "Hip": {"Thigh", "Pelvis"},
    "Pelvis": {"Hip"},
    "Shoulder": {"Clavicle", OTHERS},
    "ThoracicSpine": {"CervicalSpine", "LumbarSpine", "Chest", "Abdomen"},
    "LumbarSpine": {"ThoracicSpine", "Pelvis", "Abdomen"},
    "Skull": {"CervicalSpine", "Sinus"},
}
"""Regions that an image of the first may show too: unknown, not absent, where the labels
of a source name one region only."""


def _site(value: str, meaning: str) -> CodeEntry:
    return CodeEntry(scheme="SCT", value=value, meaning=meaning)


_LUNG = _site("39607008", "Lung")
_PLEURA = _site("3120008", "Pleura")
_HEART = _site("80891009", "Heart")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A ChestX-ray14 label."""

    key: str
    code: CodeEntry
    site: CodeEntry | None


def _finding(key: str, value: str, meaning: str, site: CodeEntry | None) -> Finding:
    return Finding(key=key, code=_site(value, meaning), site=site)


FINDINGS = (
    _finding("Atelectasis", "46621007", "Atelectasis", _LUNG),
    _finding("Cardiomegaly", "8186001", "Cardiomegaly", _HEART),
    _finding("Effusion", "60046008", "Pleural effusion", _PLEURA),
    _finding("Infiltration", "409609008", "Radiologic infiltrate of lung", _LUNG),
    _finding("Mass", "309529002", "Lung mass", _LUNG),
    _finding("Nodule", "27925004", "Nodule", _LUNG),
    _finding("Pneumonia", "233604007", "Pneumonia", _LUNG),
    _finding("Pneumothorax", "36118008", "Pneumothorax", _PLEURA),
    _finding("Consolidation", "95436008", "Lung consolidation", _LUNG),
    _finding("Edema", "19242006", "Pulmonary edema", _LUNG),
    _finding("Emphysema", "87433001", "Pulmonary emphysema", _LUNG),
    _finding("Fibrosis", "51615001", "Fibrosis of lung", _LUNG),
    _finding("Pleural_Thickening", "73725006", "Thickening of pleura", _PLEURA),
    _finding("Hernia", "39839004", "Diaphragmatic hernia", None),
)

FINDING_KEYS = tuple(finding.key for finding in FINDINGS)
"""Order of the chest network's output vector."""
