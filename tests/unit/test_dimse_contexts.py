"""What the negotiation takes, and that the conformance statement says the same."""

from pathlib import Path

import pytest
from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom.presentation import build_context

from dicom_node.core.accepted import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicom_node.dimse.contexts import VERIFICATION_CLASS, negotiate
from dicom_node.dimse.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

CONFORMANCE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE, IMPLICIT_LE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def proposed(*contexts):
    built = [build_context(abstract, list(syntaxes)) for abstract, syntaxes in contexts]
    for index, context in enumerate(built):
        context.context_id = 2 * index + 1
    return built


@pytest.mark.parametrize("storage_class", STORAGE_CLASSES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("syntax", [TRANSFER_SYNTAXES[0], TRANSFER_SYNTAXES[-1]])
def test_every_class_is_taken_in_the_first_and_in_the_last_syntax(storage_class, syntax):
    [answer] = negotiate(proposed((storage_class, [syntax])), STORAGE_CLASSES)

    assert (answer.result, answer.transfer_syntax) == (0, [syntax])


def test_every_syntax_that_we_can_decode_is_taken():
    inside_the_object = set(AllTransferSyntaxes) - {
        UID("1.2.840.10008.1.2.4.94"),  # JPIP: the pixels are elsewhere
        UID("1.2.840.10008.1.2.4.95"),
        UID("1.2.840.10008.1.2.4.204"),
        UID("1.2.840.10008.1.2.4.205"),
        UID("1.2.840.10008.1.2.1.98"),  # Encapsulated Uncompressed: no radiograph
        UID("1.2.840.10008.1.2.7.1"),  # SMPTE: streams
        UID("1.2.840.10008.1.2.7.2"),
        UID("1.2.840.10008.1.2.7.3"),
    }

    assert inside_the_object <= set(TRANSFER_SYNTAXES)


def test_the_senders_order_decides():
    both = proposed(
        (STORAGE_CLASSES[0], [EXPLICIT_LE, IMPLICIT_LE]),
        (STORAGE_CLASSES[1], [IMPLICIT_LE, EXPLICIT_LE]),
    )

    answers = negotiate(both, STORAGE_CLASSES)

    assert [answer.transfer_syntax for answer in answers] == [[EXPLICIT_LE], [IMPLICIT_LE]]


def test_verification_is_always_taken_and_other_services_never():
    contexts = proposed(
        (VERIFICATION_CLASS, [IMPLICIT_LE]),
        (CT_IMAGE, [IMPLICIT_LE]),
        ("1.2.840.10008.5.1.4.1.2.2.1", [IMPLICIT_LE]),  # Study Root Query: C-FIND
    )

    assert [answer.result for answer in negotiate(contexts, ())] == [0, 3, 3]
    assert [answer.result for answer in negotiate(contexts, {CT_IMAGE})] == [0, 0, 3]


@pytest.mark.parametrize("uid", [VERIFICATION_CLASS, *STORAGE_CLASSES], ids=lambda uid: uid.name)
def test_the_conformance_statement_names_the_sop_class(uid):
    assert f"| {uid.name} | `{uid}` |" in CONFORMANCE


@pytest.mark.parametrize("uid", TRANSFER_SYNTAXES, ids=lambda uid: uid.name)
def test_the_conformance_statement_names_the_transfer_syntax(uid):
    assert f"| {uid.name} | `{uid}` |" in CONFORMANCE


def test_the_conformance_statement_names_no_others():
    sop_classes, syntaxes = (
        CONFORMANCE.split(f"### {title}\n")[1].split("\n#")[0].count("| `1.2.")
        for title in ("SOP classes", "Transfer syntaxes")
    )

    assert sop_classes == 1 + len(STORAGE_CLASSES)
    assert syntaxes == len(TRANSFER_SYNTAXES)


def test_the_conformance_statement_names_the_implementation():
    assert f"`{IMPLEMENTATION_CLASS_UID}`" in CONFORMANCE
    assert f"`{IMPLEMENTATION_VERSION_NAME}`" in CONFORMANCE


def test_our_identity_conforms():
    assert UID(IMPLEMENTATION_CLASS_UID).is_valid
    assert int(IMPLEMENTATION_CLASS_UID.removeprefix("2.25.")) < 2**128
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16
