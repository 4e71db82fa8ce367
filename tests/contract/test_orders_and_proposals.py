"""Orders and proposals as both databases keep them."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from storage import checks, proposals
from storage.checks import CheckRow
from storage.orders import (
    Kept,
    NewOrder,
    forget_lookups,
    keep_order,
    lookup,
    lookup_key,
    note_lookup,
    orders_of_accession,
    orders_of_patient,
    studies_concerned,
)
from storage.patients import lock_patient, patient_of, studies_of_patient
from storage.proposals import NoSuchProposal, Proposed
from storage.session import Database
from storage.states import IllegalTransition, ProposalState
from tests.filings import NOON, filed

DAY = date(2026, 1, 2)


def notice(**changes: Any) -> NewOrder:
    known = NewOrder(
        source="hl7",
        accession_number="A1",
        issuer="",
        requested_procedure_id="RP1",
        patient_id="P1",
        issuer_of_patient_id="HOSP",
        state="scheduled",
        ordered_on=DAY,
        content_sha256="a" * 64,
        document={"regions": ["KNEE"], "codes": []},
        received_at=NOON,
        stale_after=None,
    )
    return replace(known, **changes)


def keep(database: Database, **changes: Any) -> tuple[Kept, int]:
    with database.transaction() as connection:
        kept = keep_order(connection, notice(**changes))
    return kept.kept, kept.version


def test_a_notice_is_new_then_the_same_then_changed_and_an_older_one_changes_nothing(
    database: Database,
) -> None:
    later = NOON + timedelta(minutes=1)
    assert keep(database) == (Kept.NEW, 1)
    assert keep(database, received_at=later) == (Kept.SAME, 1)
    changed = {"content_sha256": "b" * 64, "document": {"regions": ["ANKLE"], "codes": []}}
    assert keep(database, received_at=later, **changed) == (Kept.CHANGED, 2)
    assert keep(database, received_at=NOON) == (Kept.OLDER, 2)
    with database.reading() as connection:
        [row] = orders_of_accession(connection, "A1")
    assert (row.document["regions"], row.received_at) == (["ANKLE"], later)


def test_the_same_number_of_other_issuers_patients_and_procedures_is_another_order(
    database: Database,
) -> None:
    keep(database)
    for change in (
        {"issuer": "THERE"},
        {"patient_id": "P2"},
        {"issuer_of_patient_id": "ELSEWHERE"},
        {"requested_procedure_id": "RP2"},
        {"source": "worklist"},
    ):
        assert keep(database, **change) == (Kept.NEW, 1)
    with database.reading() as connection:
        assert len(orders_of_accession(connection, "A1")) == 6


def test_a_patients_orders_are_found_by_day_and_by_issuer(database: Database) -> None:
    keep(database)
    keep(database, accession_number="A2", ordered_on=DAY + timedelta(days=3))
    keep(database, accession_number="A3", ordered_on=None)
    keep(database, accession_number="A4", issuer_of_patient_id="ELSEWHERE")
    keep(database, accession_number="A5", issuer_of_patient_id="")
    with database.reading() as connection:
        found = orders_of_patient(connection, "P1", "HOSP", DAY, DAY)
    assert [row.accession_number for row in found] == ["A1", "A3", "A5"]


def test_studies_that_an_order_may_be_about_are_found_by_number_and_by_patient(
    database: Database,
) -> None:
    by_number = filed(database, accession_number="A1", patient_id="X").study_id
    by_patient = filed(database, accession_number="B", patient_id="P1").study_id
    filed(database, accession_number="C", patient_id="P1", issuer_of_patient_id="ELSEWHERE")
    filed(database, accession_number="", patient_id="")
    filed(database, accession_number="A1", patient_id="Y", route="")
    with database.reading() as connection:
        found = studies_concerned(
            connection, accession_number="A1", patient_id="P1", issuer_of_patient_id="HOSP"
        )
        nobody = studies_concerned(
            connection, accession_number="", patient_id="", issuer_of_patient_id=""
        )
    assert found == sorted([by_number, by_patient])
    assert nobody == []


def test_a_question_is_remembered_until_it_is_forgotten(database: Database) -> None:
    key = lookup_key("worklist", "A1")
    with database.transaction() as connection:
        assert lookup(connection, key) is None
        note_lookup(connection, key, at=NOON, answered=False)
        note_lookup(connection, key, at=NOON + timedelta(hours=1), answered=True)
        found = lookup(connection, key)
        assert found is not None
        assert (found.asked_at, found.answered) == (NOON + timedelta(hours=1), True)
        assert forget_lookups(connection, NOON + timedelta(hours=2)) == 1


@pytest.fixture
def study(database: Database) -> tuple[int, int]:
    """A study and its patient's row."""
    study_id = filed(database).study_id
    with database.reading() as connection:
        return study_id, patient_of(connection, study_id).id


def propose(
    database: Database, study: tuple[int, int], key: str = "k", margin: float = 3.0, **more: Any
) -> tuple[int, Proposed]:
    with database.transaction() as connection:
        lock_patient(connection, study[1])
        made = proposals.propose(
            connection,
            key=key,
            kind="swap",
            patient_fk=study[1],
            document={"margin": margin, **more},
            now=NOON,
        )
        proposals.join(connection, made[0], [study[0]])
    return made


def supersede(database: Database, study: tuple[int, int], *keep: str) -> list[int]:
    with database.transaction() as connection:
        return proposals.supersede(
            connection, patient_fk=study[1], study_ids=[study[0]], keep=keep, now=NOON
        )


def decide(database: Database, number: int, state: ProposalState) -> proposals.ProposalRow:
    with database.transaction() as connection:
        return proposals.decide(connection, number, state, actor="anna", note="why", now=NOON)


def test_a_proposal_is_made_once_and_its_margin_follows_what_is_known(
    database: Database, study: tuple[int, int]
) -> None:
    number, became = propose(database, study)
    assert became is Proposed.FRESH
    assert propose(database, study, margin=5.0) == (number, Proposed.KNOWN)
    with database.reading() as connection:
        [row] = proposals.listing(connection, state=ProposalState.OPEN)
        assert row.document == {"margin": 5.0}
        assert proposals.studies_of(connection, number) == [study[0]]
        assert [each.id for each in proposals.of_study(connection, study[0])] == [number]


def test_what_nothing_leads_to_any_more_is_superseded_and_may_open_again(
    database: Database, study: tuple[int, int]
) -> None:
    number, _ = propose(database, study)
    assert supersede(database, study, "k") == []
    assert supersede(database, study) == [number]
    assert supersede(database, study) == []
    assert propose(database, study) == (number, Proposed.REOPENED)


def test_a_proposal_that_speaks_of_other_studies_too_is_not_superseded_by_one_alone(
    database: Database, study: tuple[int, int]
) -> None:
    other = filed(database, accession_number="FAKE-ACC-2").study_id
    with database.transaction() as connection:
        number, _ = proposals.propose(
            connection,
            key="two",
            kind="swap",
            patient_fk=study[1],
            document={},
            now=NOON,
        )
        assert proposals.join(connection, number, [study[0], other]) == [study[0], other]
        assert proposals.join(connection, number, [study[0]]) == []
    assert supersede(database, study) == []


@pytest.mark.parametrize("state", [ProposalState.ACCEPTED, ProposalState.REJECTED])
def test_a_persons_word_is_kept_and_final(
    database: Database, study: tuple[int, int], state: ProposalState
) -> None:
    number, _ = propose(database, study)
    row = decide(database, number, state)
    assert (row.state, row.decided_by, row.decided_at, row.note) == (state, "anna", NOON, "why")
    assert propose(database, study, margin=9.0) == (number, Proposed.KNOWN)
    assert supersede(database, study) == []
    for wanted in ProposalState:
        with pytest.raises(IllegalTransition):
            decide(database, number, wanted)
    with database.reading() as connection:
        assert proposals.get(connection, number).document == {"margin": 3.0}


def test_the_proposals_of_an_accession_are_found_behind_newer_ones_of_others(
    database: Database, study: tuple[int, int]
) -> None:
    def moves(origin: str, target: str | None) -> list[dict[str, Any]]:
        to = {"accession_number": target} if target is not None else None
        return [{"origin": {"accession_number": origin}, "target": to}]

    made_of = (moves("A", "B"), moves("C", "A"), moves("C", None), moves("C", "D"))
    made = [
        propose(database, study, key=str(number), moves=each)[0]
        for number, each in enumerate(made_of)
    ]
    with database.reading() as connection:
        found = proposals.listing(connection, accession_number="A", limit=2)
        newest = proposals.listing(connection, accession_number="A", limit=1)
    assert [row.id for row in found] == [made[1], made[0]]
    assert [row.id for row in newest] == [made[1]]


def test_a_number_that_names_no_proposal_says_so(database: Database) -> None:
    with pytest.raises(NoSuchProposal):
        decide(database, 77, ProposalState.ACCEPTED)


def test_a_check_is_kept_once_and_found_by_standing_and_number(
    database: Database, study: tuple[int, int]
) -> None:
    with database.reading() as connection:
        [own] = studies_of_patient(connection, study[1])
    row = CheckRow(
        key=f"{study[1]}:1",
        patient_fk=study[1],
        accession_fk=1,
        verdict="mismatch",
        document={"verdict": 1},
        checked_at=NOON,
    )
    with database.transaction() as connection:
        assert checks.keep_check(connection, row)
        assert not checks.keep_check(connection, replace(row, checked_at=NOON))
        assert checks.keep_check(connection, replace(row, document={"verdict": 2}))
        assert [c.document for c in checks.listing(connection, verdicts=["mismatch"])] == [
            {"verdict": 2}
        ]
        assert checks.listing(connection, verdicts=["match"]) == []
        assert len(checks.listing(connection, accession_number="FAKE-ACC-1")) == 1
        assert checks.listing(connection, accession_number="OTHER") == []
    assert own.id == study[0]
