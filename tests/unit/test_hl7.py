"""What HL7 messages say was ordered, and what their senders are told."""

from datetime import UTC, date, datetime

import pytest

from audit.errors import InvalidConfiguration
from dicom_node.config.orders import Hl7Settings
from dicom_node.orders.ack import acknowledgement
from dicom_node.orders.er7 import Hl7Refused, check_charset, head_of, read, unescape
from dicom_node.orders.hl7 import orders_of_message
from inference.orders import Order, OrderState, PatientKey, Side
from inference.regions import load_regions
from inference.types import ExpectationSource
from tests.hl7 import fields, order_message

TABLE = load_regions()
NOW = datetime(2026, 1, 2, 10, 15, tzinfo=UTC)


def orders(message: str | bytes, **settings: object) -> tuple[Order, ...]:
    body = message.encode() if isinstance(message, str) else message
    chosen = Hl7Settings.model_validate(settings)
    return orders_of_message(read(body, chosen.charset), chosen, TABLE, NOW)


def order(message: str | bytes, **settings: object) -> Order:
    [only] = orders(message, **settings)
    return only


def refusal(message: str | bytes, **settings: object) -> Hl7Refused:
    with pytest.raises(Hl7Refused) as caught:
        orders(message, **settings)
    return caught.value


def test_an_imaging_order_becomes_an_order() -> None:
    found = order(order_message())

    assert found.accession_number == "A1"
    assert found.requested_procedure_id == "RP1"
    assert found.patient == PatientKey(patient_id="P1", issuer="HOSP")
    assert found.source is ExpectationSource.HL7
    assert found.regions == ("KNEE",)
    assert found.laterality is Side.LEFT
    assert found.study_instance_uid == "1.2.3"
    assert found.ordered_on == date(2026, 1, 3)
    assert found.state is OrderState.SCHEDULED
    assert found.received_at == NOW
    assert (found.provenance.peer, found.provenance.message_id) == ("RIS", "M1")
    assert found.provenance.event == "OMI^O23 NW"
    assert found.codes[0].value == "XKNE"


@pytest.mark.parametrize("kind", ["ORM^O01", "ORM^O01^ORM_O01", "OMG^O19^OMG_O19"])
def test_a_general_order_says_the_same_in_other_fields(kind: str) -> None:
    found = order(order_message(kind=kind, version="2.3.1"))

    assert (found.accession_number, found.study_instance_uid) == ("A1", "1.2.3")
    assert (found.requested_procedure_id, found.regions) == ("RP1", ("KNEE",))


@pytest.mark.parametrize(
    ("control", "status", "state"),
    [
        ("NW", "", OrderState.SCHEDULED),
        ("XO", "", OrderState.CHANGED),
        ("SC", "IP", OrderState.CHANGED),
        ("SC", "CA", OrderState.CANCELLED),
        ("CA", "", OrderState.CANCELLED),
        ("OC", "", OrderState.CANCELLED),
        ("DC", "", OrderState.CANCELLED),
        ("RQ", "", OrderState.CANCELLED),
        ("RU", "", OrderState.CANCELLED),
    ],
)
def test_the_order_control_decides_the_state(control: str, status: str, state: OrderState) -> None:
    assert order(order_message(control=control, status=status)).state is state


@pytest.mark.parametrize("control", ["HD", "CN", "MC", "NR"])
def test_a_hold_asks_for_nothing_nor_does_what_reports_or_charges(control: str) -> None:
    assert orders(order_message(control=control)) == ()


def test_a_change_without_a_procedure_leaves_what_was_ordered_as_it_is() -> None:
    assert orders(order_message(control="SC", status="IP", procedure="")) == ()
    assert order(order_message(control="CA", procedure="")).state is OrderState.CANCELLED


@pytest.mark.parametrize(
    ("control", "day"), [("NW", date(2026, 1, 2)), ("XO", None), ("SC", None), ("SN", None)]
)
def test_the_day_of_a_change_is_the_scheduled_one_or_none(control: str, day: date | None) -> None:
    scheduled = order_message(control=control)

    assert order(scheduled).ordered_on == date(2026, 1, 3)
    unscheduled = scheduled.replace("||^^^20260103080000", "||||20260105||||||20260106")
    assert order(unscheduled).ordered_on == (date(2026, 1, 6) if day else None)
    assert order(scheduled.replace("^^^20260103080000", "")).ordered_on == day


def test_an_unknown_order_control_is_refused() -> None:
    assert refusal(order_message(control="ZZ")).error == 103


def test_the_accession_number_is_where_the_site_says() -> None:
    message = order_message(kind="ORM^O01")

    assert order(message, accession_fields=["ORC-3"]).accession_number == "FI-A1"
    assert order(message, accession_fields=["ORC-3"]).issuer == "RIS"
    assert order(message, accession_fields=["OBR-2", "OBR-18"]).accession_number == "PL-A1"


def test_an_order_without_accession_number_is_refused() -> None:
    refused = refusal(order_message(accession=""), accession_fields=["IPC-1", "OBR-18"])

    assert (refused.answer, refused.error) == ("AE", 101)


def test_the_same_accession_number_of_two_issuers_is_two_orders() -> None:
    one = order(order_message(accession="A1^NORTH"))
    other = order(order_message(accession="A1^SOUTH", patient="P2^^^SOUTH"))

    assert (one.accession_number, other.accession_number) == ("A1", "A1")
    assert (one.issuer, other.issuer) == ("NORTH", "SOUTH")
    assert one.patient != other.patient


@pytest.mark.parametrize(
    ("repetitions", "patient_id", "issuer"),
    [
        ("P1", "P1", ""),
        ("P1^^^HOSP^MR", "P1", "HOSP"),
        ("P1^^^HOSP&1.2.3&ISO^MR", "P1", "HOSP"),
        ("P1^^^&1.2.3&ISO^MR", "P1", "1.2.3"),
        ("999^^^STATE^SS~P1^^^HOSP^MR", "P1", "HOSP"),
        ("999^^^STATE^SS~888^^^X^NI", "999", "STATE"),
        ("~P1^^^HOSP", "P1", "HOSP"),
    ],
)
def test_the_patient_id_is_of_the_preferred_type_with_its_issuer(
    repetitions: str, patient_id: str, issuer: str
) -> None:
    found = order(order_message(patient=repetitions)).patient

    assert found == PatientKey(patient_id=patient_id, issuer=issuer)


def test_an_authority_of_the_house_is_no_issuer() -> None:
    message = order_message(kind="ORM^O01", patient="P1^^^HOSP&1.2.3&ISO^MR")

    local = order(message, local_authorities=["1.2.3", "RIS"], accession_fields=["ORC-3"])

    assert (local.patient.issuer, local.issuer) == ("", "")
    assert order(message, local_authorities=["OTHER"]).patient.issuer == "HOSP"


def test_a_patient_without_id_is_refused() -> None:
    assert refusal(order_message(patient='""^^^HOSP')).error == 101
    assert refusal(order_message().replace("PID|", "ZID|")).error == 100


def test_orders_for_other_modalities_are_left_aside() -> None:
    assert orders(order_message(modality="CT")) == ()
    assert orders(order_message(kind="ORM^O01", modality="MR")) == ()
    assert len(orders(order_message(kind="ORM^O01", modality=""))) == 1
    assert len(orders(order_message(modality="CT"), modalities=["CT"])) == 1


@pytest.mark.parametrize(
    "procedure",
    ["X^XR HAND & WRIST LEFT^L", r"X^XR HAND \T\ WRIST LEFT^L", "^^^X^XR HAND & WRIST LEFT^L"],
)
def test_an_ampersand_in_the_text_of_a_procedure_is_text(procedure: str) -> None:
    found = order(order_message(procedure=procedure))

    assert found.codes[0].meaning == "XR HAND & WRIST LEFT"
    assert (found.regions, found.laterality) == (("HAND", "WRIST"), Side.LEFT)


def test_two_parts_of_one_order_are_joined() -> None:
    knee, ankle = (
        order_message(kind="ORM^O01", procedure=f"X^XR {part} LEFT^L") for part in ("KNEE", "ANKLE")
    )
    message = knee + ankle[ankle.index("OBR|") :]

    found = order(message)

    assert found.regions == ("KNEE", "ANKLE")
    assert found.laterality is Side.LEFT


def with_obr_15(value: str, procedure: str = "XKNE^XR KNEE^L") -> str:
    lines = order_message(procedure=procedure).split("\r")
    at = next(n for n, line in enumerate(lines) if line.startswith("OBR|"))
    obr = lines[at].split("|")
    obr[15] = value
    lines[at] = "|".join(obr)
    return "\r".join(lines)


@pytest.mark.parametrize(
    ("specimen_source", "side"),
    [
        ("^^^L", Side.LEFT),
        ("^^^^R", Side.RIGHT),
        ("^^^KNEE^L", Side.LEFT),
        ("^^^KNEE^^rt", Side.RIGHT),
        ("^^^^L&Left&HL70495", Side.LEFT),
        ("^^^K1&Right knee&99RIS", Side.RIGHT),
        ("^^^^BIL", Side.BOTH),
        ("^^^^B&Bilateral", Side.BOTH),
        ("^^^LT^RT", Side.BOTH),
        ("^^^Left knee", Side.LEFT),
        ("^^^KNEE^LAT", Side.UNSAID),
        ("L^R^L", Side.UNSAID),
        ("", Side.UNSAID),
    ],
)
def test_the_side_is_read_from_obr_15_by_code_or_in_words(specimen_source: str, side: Side) -> None:
    assert order(with_obr_15(specimen_source)).laterality is side


def test_the_side_of_obr_15_and_that_of_the_procedure_count_together() -> None:
    assert order(with_obr_15("^^^^L", "XKNE^XR KNEE LEFT^L")).laterality is Side.LEFT
    assert order(with_obr_15("^^^^R", "XKNE^XR KNEE LEFT^L")).laterality is Side.BOTH


def test_two_orders_of_one_accession_without_procedure_id_stay_two() -> None:
    one = order(order_message(procedure_id="").replace("PL-A1", "PL-1"))
    other = order(order_message(procedure_id="").replace("PL-A1", "PL-2"))

    assert (one.requested_procedure_id, other.requested_procedure_id) == ("PL-1", "PL-2")


@pytest.mark.parametrize(
    ("charset", "codec", "words", "name"),
    [
        ("UNICODE UTF-8", "utf-8", "Рентген колена", "Иванов^Пётр"),
        ("UNICODE", "utf-8", "膝関節", "山田^太郎"),
        ("8859/1", "latin-1", "Kniegelenk rechts äöü", "Müßig^Jörg"),
        ("8859/2", "iso8859_2", "kolano prawe", "Żółć^Łukasz"),
        ("8859/5", "iso8859_5", "Рентген колена", "Иванов^Пётр"),
        ("~ISO IR87", "iso2022_jp_ext", "膝関節", "山田^太郎"),
        ("ISO IR6~ISO IR14~ISO IR87", "iso2022_jp_ext", "膝関節", "山田^太郎"),
        ("GB 18030-2000", "gb18030", "膝关节", "王^小东"),
        ("KS X 1001", "euc_kr", "무릎", "김^철수"),
        ("", "utf-8", "genou gauche été", "Lefèvre^Zoé"),
    ],
)
def test_the_character_set_is_what_msh_18_says(
    charset: str, codec: str, words: str, name: str
) -> None:
    message = order_message(charset=charset, procedure=f"X1^{words}^L", name=name)

    found = order(message.encode(codec))

    assert found.codes[0].meaning == words
    assert found.regions == ("KNEE",)


def test_text_that_is_not_in_its_character_set_is_refused() -> None:
    message = order_message(procedure="X1^Füße^L", charset="UNICODE UTF-8").encode("latin-1")

    assert refusal(message).error == 102
    assert refusal(order_message(charset="KLINGON")).answer == "AR"


def test_a_site_may_say_which_character_set_nameless_messages_have() -> None:
    message = order_message(procedure="X1^Kniegelenk äöü^L", charset="").encode("latin-1")

    assert order(message, charset="8859/1").codes[0].meaning == "Kniegelenk äöü"
    with pytest.raises(InvalidConfiguration):
        check_charset("KLINGON")


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"),
        (r"\X48656C6C6F\ all", "Hello all"),
        (r"\XC3A4\ ", "ä "),
        (r"\XZZ\x", "x"),
        (r"\XFF\x", "\ufffdx"),
        (r"\H\bold\N\ ", "bold "),
        (r"one\.br\two\.sp999999999\ three", "one two  three"),
        (r"\Z99\x", "x"),
        ("lonely \\ end", "lonely \\ end"),
        (r"\\x", "x"),
    ],
)
def test_escape_sequences_are_undone(escaped: str, plain: str) -> None:
    assert unescape(escaped, r"|^~\&", "utf-8") == plain


def test_other_delimiters_are_read_as_declared() -> None:
    message = order_message()
    swapped = message.translate(str.maketrans({"|": "#", "^": "@", "~": "*", "\\": "!", "&": "%"}))

    assert order(swapped).regions == ("KNEE",)


@pytest.mark.parametrize("separator", ["\n", "\r\n"])
def test_segments_that_end_otherwise_are_read_all_the_same(separator: str) -> None:
    assert order(order_message().replace("\r", separator)).accession_number == "A1"


@pytest.mark.parametrize(
    ("message", "answer", "error"),
    [
        (order_message(kind="ADT^A01"), "AR", 200),
        (order_message(kind="ORM^O02"), "AR", 201),
        (order_message(processing="T"), "AR", 202),
        (order_message(version="3.0"), "AR", 203),
        (order_message(message_id=""), "AE", 101),
        ("garbage", "AE", 100),
        ("MSH||||||", "AE", 100),
        ("", "AE", 100),
        (order_message().split("ORC", maxsplit=1)[0], "AE", 100),
        (order_message(accession="9" * 65), "AE", 102),
        (order_message(accession=r"A\X00\1"), "AE", 102),
    ],
)
def test_what_is_not_taken_is_refused_by_its_rule(message: str, answer: str, error: int) -> None:
    refused = refusal(message)

    assert (refused.answer, refused.error) == (answer, error)


def test_an_acknowledgement_names_the_message_and_its_sender() -> None:
    message = read(order_message(message_id=r"M\F\1").encode(), "ASCII")

    answer = acknowledgement(message, application="NODE", at=NOW)

    header = fields(answer, "MSH")
    assert header[2:6] == ["NODE", "NODE", "RIS", "HOSP"]
    assert (header[8], header[10], header[11]) == ("ACK^O23^ACK", "P", "2.5.1")
    assert fields(answer, "MSA") == ["MSA", "AA", r"M\F\1"]
    assert fields(answer, "ERR") == []


@pytest.mark.parametrize(
    ("version", "error"),
    [
        ("2.3.1", "ERR|^^^101&Required field missing&HL70357"),
        ("2.5.1", "ERR|||101^Required field missing^HL70357|E||||PID-3 is required"),
    ],
)
def test_a_refusal_has_the_error_segment_of_its_version(version: str, error: str) -> None:
    message = read(order_message(version=version).encode(), "ASCII")
    problem = Hl7Refused("PID-3 is required", error=101)

    answer = acknowledgement(message, application="NODE", at=NOW, problem=problem)

    assert fields(answer, "MSA") == ["MSA", "AE", "M1", "PID-3 is required"]
    assert error in answer.decode()


def test_nothing_of_a_message_breaks_the_block_of_its_answer() -> None:
    message = read(order_message(message_id=r"M\X0B\1\X1C0D\2").encode(), "ASCII")

    answer = acknowledgement(message, application="NODE", at=NOW)

    assert fields(answer, "MSA") == ["MSA", "AA", "M12"]


def test_what_has_no_header_is_answered_without_one() -> None:
    answer = acknowledgement(
        head_of(b"nonsense"), application="NODE", at=NOW, problem=Hl7Refused("no", error=100)
    )

    assert fields(answer, "MSA")[1:3] == ["AE", ""]
