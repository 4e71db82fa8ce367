"""What is kept, and shown, of where an accession's order was learnt."""

from datetime import UTC, datetime

from dicom_node.orders.views import accession_view
from dicom_node.pipeline.gathering import Gathered
from inference.accessions import AccessionRef, AccessionVerdict, Standing, accession_to_json
from inference.orders import Order, PatientKey, Provenance
from inference.types import ExpectationSource
from storage.checks import CheckRow

TOLD = datetime(2026, 1, 2, 7, 30, tzinfo=UTC)


def test_an_accession_shows_who_told_its_order_in_which_message_and_when() -> None:
    order = Order(
        accession_number="A1",
        patient=PatientKey(patient_id="P1"),
        source=ExpectationSource.HL7,
        provenance=Provenance(peer="RIS", message_id="M1", event="ORM^O01 NW"),
        regions=("KNEE",),
        received_at=TOLD,
    )
    found = Gathered(
        accessions=(),
        images=(),
        orders={"k": (order,)},
        accession_rows={},
        by_instance={},
        waiting_keys=frozenset(),
    )
    verdict = AccessionVerdict(
        accession=AccessionRef(key="k", accession_number="A1"),
        standing=Standing.NOT_DECLARED,
        expected=None,
        cancelled=False,
        stale=False,
        missing=(),
        images=(),
        sentence="",
    )

    document = found.check_document("k", accession_to_json(verdict))
    row = CheckRow(
        key="k",
        patient_fk=1,
        accession_fk=1,
        verdict="not_declared",
        document=document,
        checked_at=TOLD,
    )

    [shown] = accession_view(row)["orders"]
    assert datetime.fromisoformat(shown["received_at"]) == TOLD
    assert shown["provenance"] == {"peer": "RIS", "message_id": "M1", "event": "ORM^O01 NW"}
    assert "patient" not in shown
