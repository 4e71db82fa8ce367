"""Command sets, both ways, with pydicom as the judge."""

from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from dicom_node.dimse.command import CommandField, encode_response, parse_request
from dicom_node.dimse.errors import AbortReason, ProtocolError

REQUEST = Dataset()
REQUEST.CommandGroupLength = 0
REQUEST.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
REQUEST.CommandField = 1
REQUEST.MessageID = 77
REQUEST.Priority = 0
REQUEST.CommandDataSetType = 1
REQUEST.AffectedSOPInstanceUID = "1.2.3.4"


def encoded(ds: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = buffer.is_little_endian = True
    write_dataset(buffer, ds)
    return buffer.getvalue()


def without(keyword: str) -> bytes:
    ds = Dataset()
    ds.update(REQUEST)
    delattr(ds, keyword)
    return encoded(ds)


def decoded(content: bytes) -> Dataset:
    return read_dataset(BytesIO(content), is_implicit_VR=True, is_little_endian=True)


def test_a_request_is_read_as_it_was_meant():
    request = parse_request(encoded(REQUEST))

    assert request.command_field == CommandField.C_STORE_RQ
    assert request.message_id == 77
    assert request.has_data_set
    assert request.affected_sop_class_uid == "1.2.840.10008.5.1.4.1.1.1"
    assert request.affected_sop_instance_uid == "1.2.3.4"
    assert not request.is_response


@pytest.mark.parametrize("keyword", ["CommandField", "MessageID", "CommandDataSetType"])
def test_a_request_without_what_we_need_breaks_the_protocol(keyword):
    with pytest.raises(ProtocolError) as failure:
        parse_request(without(keyword))

    assert failure.value.reason is AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize("cut", [1, 7, 9])
def test_a_request_cut_short_breaks_the_protocol(cut):
    with pytest.raises(ProtocolError):
        parse_request(encoded(REQUEST)[:-cut])


def test_an_answer_names_what_it_answers():
    answer = decoded(encode_response(parse_request(encoded(REQUEST)), 0xA700, "no space"))

    assert answer.CommandField == 0x8001
    assert answer.MessageIDBeingRespondedTo == 77
    assert answer.CommandDataSetType == 0x0101
    assert answer.Status == 0xA700
    assert answer.ErrorComment == "no space"
    assert answer.AffectedSOPClassUID == REQUEST.AffectedSOPClassUID
    assert answer.AffectedSOPInstanceUID == "1.2.3.4"


def test_the_group_length_counts_what_follows_it():
    content = encode_response(parse_request(encoded(REQUEST)), 0)

    assert decoded(content).CommandGroupLength == len(content) - 12


def test_a_comment_fits_its_value_representation():
    answer = decoded(encode_response(parse_request(encoded(REQUEST)), 0xC000, "a\\b" * 50))

    assert len(answer.ErrorComment) == 64
    assert "\\" not in answer.ErrorComment
