"""Laws of the body part check, on inputs that nobody chose."""

import unicodedata
import warnings
from io import BytesIO

from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from inference.manifest import Label, OperatingPoint
from inference.regions import load_regions
from inference.types import (
    Decision,
    Expectation,
    ExpectationSource,
    LabelOutput,
    ModelIdentity,
    Outcome,
    Prediction,
    Task,
    Verdict,
    verdict_from_json,
    verdict_to_json,
)
from inference.verify import expectation, judge
from tests.builders import chest_radiograph, part10_bytes

TABLE = load_regions()
KEYS = ("Knee", "Ankle", "Foot", "Hand", "Pelvis", "Hip")
RANK = {Verdict.MISMATCH: 0, Verdict.UNCERTAIN: 1, Verdict.MATCH: 2}
_MODEL = ModelIdentity(
    name="bodypart",
    version="1.0.0",
    task=Task.BODY_PART,
    weights_sha256="0" * 64,
    configuration_sha256="0" * 64,
    preprocessing="px-1",
    runtime="torch",
    device="cpu",
    precision="float32",
)

probability = st.floats(0, 1)
points = st.tuples(probability, probability).map(
    lambda pair: OperatingPoint(present_at=max(pair), absent_below=min(pair))
)
labels = st.tuples(
    *(
        st.builds(
            Label, key=st.just(key), role=st.just("region"), operating_point=st.none() | points
        )
        for key in KEYS
    ),
    st.builds(Label, key=st.just("NotOurs"), role=st.just("not_ours"), operating_point=points),
)
probabilities = st.fixed_dictionaries(
    dict.fromkeys(KEYS, st.sampled_from([0.0, 1.0]) | probability) | {"NotOurs": probability}
)
expectations = st.builds(
    Expectation,
    regions=st.lists(st.sampled_from([*TABLE.regions, "UNHEARD"]), max_size=3).map(tuple),
    source=st.sampled_from(ExpectationSource),
)


def predicted(values: dict[str, float], outcome: Outcome = Outcome.PREDICTED) -> Prediction:
    outputs = tuple(
        LabelOutput(
            key=key, logit=0.0, probability=p, threshold=None, decision=Decision.UNDETERMINED
        )
        for key, p in values.items()
    )
    return Prediction(model=_MODEL, outcome=outcome, labels=outputs)


@given(
    st.none() | expectations,
    st.none() | st.builds(predicted, probabilities, st.sampled_from(Outcome)),
    labels,
)
def test_every_image_gets_exactly_one_verdict_and_a_sentence(expected, prediction, labels):
    found = judge(expected, prediction, labels, TABLE)

    assert found.verdict in Verdict
    assert found.expected == expected
    assert found.reason.endswith(".")
    assert verdict_from_json(verdict_to_json(found)) == found
    if expected is None:
        assert found.verdict in {Verdict.NOT_DECLARED, Verdict.UNCERTAIN}
    else:
        assert found.verdict is not Verdict.NOT_DECLARED


def fulfilling(expected: Expectation) -> list[str]:
    """The network's keys whose presence fulfils the order."""
    shown = {seen for r in expected.regions if r in TABLE.regions for seen in TABLE.showing(r)}
    return [key for key in KEYS if TABLE.region_of_label(key) in shown]


checkable = expectations.filter(lambda expected: 0 < len(fulfilling(expected)) < len(KEYS))


@given(checkable, probabilities, labels, st.data())
def test_more_evidence_for_what_was_ordered_never_worsens_the_verdict(
    expected, values, labels, data
):
    key = data.draw(st.sampled_from(fulfilling(expected)))
    more = values | {key: max(values[key], data.draw(probability))}

    before = judge(expected, predicted(values), labels, TABLE).verdict
    after = judge(expected, predicted(more), labels, TABLE).verdict

    assert RANK[after] >= RANK[before]


@given(checkable, probabilities, labels, st.data())
def test_more_evidence_for_something_else_never_betters_the_verdict(expected, values, labels, data):
    key = data.draw(st.sampled_from([k for k in KEYS if k not in fulfilling(expected)]))
    more = values | {key: max(values[key], data.draw(probability))}

    before = judge(expected, predicted(values), labels, TABLE).verdict
    after = judge(expected, predicted(more), labels, TABLE).verdict

    assert RANK[after] <= RANK[before]


@given(probabilities, labels, st.sampled_from(KEYS))
def test_a_mismatch_needs_the_ordered_absent_and_something_else_present(values, labels, key):
    expected = Expectation(
        regions=(TABLE.region_of_label(key),), source=ExpectationSource.STUDY_DESCRIPTION
    )
    point = {label.key: label.operating_point for label in labels}
    wanted = fulfilling(expected)
    others = [k for k in KEYS if k not in wanted]

    found = judge(expected, predicted(values), labels, TABLE)

    assert (found.verdict is Verdict.MISMATCH) == (
        values["NotOurs"] < point["NotOurs"].present_at
        and all(point[k] and values[k] < point[k].absent_below for k in wanted)
        and any(point[k] and values[k] >= point[k].present_at for k in others)
    )


@given(st.text())
def test_any_text_is_read_without_complaint(text):
    match = TABLE.regions_in_text(text)

    assert set(match.regions) <= set(TABLE.regions)
    assert bool(match.regions) == bool(match.matched_words)


latin_words = st.sampled_from(
    ["knee", "hüft", "Thorax", "c-spine", "épaule", "tórax", "schädel", "Łokieć", "genou", "KUB"]
)


@given(latin_words, st.sampled_from([str.upper, str.lower, str.title]), st.sampled_from("_-/.,;: "))
def test_case_accents_and_punctuation_do_not_matter(word, recase, mark):
    bare = unicodedata.normalize("NFD", word)
    stripped = "".join(letter for letter in bare if not unicodedata.combining(letter))
    wanted = TABLE.regions_in_text(word).regions

    assert wanted
    assert TABLE.regions_in_text(f"XR{mark}{recase(word)}{mark}2V").regions == wanted
    assert TABLE.regions_in_text(recase(bare)).regions == wanted
    assert TABLE.regions_in_text(recase(stripped)).regions == wanted


@given(st.lists(st.sampled_from(["KNEE", "ANKLE", "HAND", "CHEST", "PELVIS"]), unique=True))
def test_several_plain_names_are_all_found_in_their_order(names):
    assert TABLE.regions_in_text(" AND ".join(names)).regions == tuple(names)


_CONTENT = part10_bytes(chest_radiograph(PixelData=None, Rows=None, Columns=None))


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_header_never_raises(data):
    damaged = bytearray(_CONTENT)
    for _ in range(data.draw(st.integers(1, 12))):
        # Past the file meta information, where a stranger's bytes are.
        damaged[data.draw(st.integers(400, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = dcmread(BytesIO(bytes(damaged)), force=True)
        except Exception:  # noqa: BLE001 - the receiver refuses what cannot be parsed at all
            header = Dataset()
        found = expectation(header, TABLE)

    assert found is None or set(found.regions) <= set(TABLE.regions)
