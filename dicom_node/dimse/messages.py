"""Puts fragments together to requests and answers them, one at a time (PS3.7 Section 7)."""

from collections.abc import Callable, Mapping
from typing import Protocol

from dicom_node.core.status import SUCCESS, UNRECOGNIZED_OPERATION
from dicom_node.dimse.command import (
    MAXIMUM_COMMAND_BYTES,
    CommandField,
    Request,
    encode_response,
    parse_request,
)
from dicom_node.dimse.contexts import VERIFICATION_CLASS
from dicom_node.dimse.errors import AbortReason, ProtocolError
from dicom_node.dimse.negotiation import AcceptedContext
from dicom_node.dimse.pdata import Fragment
from dicom_node.dimse.storing import Answer, StorageService, StoreOperation


class _Operation(Protocol):
    """What is done with a request's data set, and what is answered."""

    def write(self, content: memoryview) -> None: ...
    def answer(self) -> Answer | None: ...
    def discard(self) -> None: ...


class _WithoutDataSet:
    """An operation that looks at no data set: C-ECHO, C-CANCEL, and what we do not know."""

    def __init__(self, answer: Answer | None) -> None:
        self._answer = answer

    def write(self, content: memoryview) -> None:
        """Drop the data set of a request that has none by right."""

    def answer(self) -> Answer | None:
        return self._answer

    def discard(self) -> None:
        """Nothing was kept."""


class Messages:
    """The messages of one association.

    Parameters
    ----------
    contexts : mapping of int to AcceptedContext
        The accepted presentation contexts.
    storage : StorageService
        Receives instances.
    reply : callable
        Sends an encoded command set in a presentation context.
    """

    def __init__(
        self,
        contexts: Mapping[int, AcceptedContext],
        storage: StorageService,
        reply: Callable[[int, bytes], None],
    ) -> None:
        self._contexts = contexts
        self._storage = storage
        self._reply = reply
        self._context_id: int | None = None
        self._command = bytearray()
        self._request: Request | None = None
        self._operation: _Operation | None = None

    @property
    def under_way(self) -> bool:
        """Whether a message has begun and is not answered yet."""
        return self._context_id is not None

    def take(self, fragment: Fragment) -> None:
        """Take the next piece; answer when it completes a message.

        Raises
        ------
        ProtocolError
            When it does not belong here (PS3.7 Section 6.3.1, PS3.8 Annex E).
        LinkLost
            When the answer cannot be sent.
        """
        if self._context_id is None:
            if fragment.context_id not in self._contexts:
                raise ProtocolError(AbortReason.INVALID_PARAMETER, "a context is not accepted")
            self._context_id = fragment.context_id
        elif fragment.context_id != self._context_id:
            raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "two messages are mixed")
        if fragment.is_command != (self._operation is None):
            raise ProtocolError(
                AbortReason.UNEXPECTED_PARAMETER, "command set and data set are out of order"
            )
        if self._operation is None:
            self._take_command(fragment)
        else:
            self._operation.write(fragment.content)
            if fragment.is_last:
                self._answer(self._operation)

    def close(self) -> None:
        """Forget a message that will not be completed."""
        if self._operation is not None:
            self._operation.discard()
        self._command.clear()
        self._context_id = self._request = self._operation = None

    def _take_command(self, fragment: Fragment) -> None:
        if len(self._command) + len(fragment.content) > MAXIMUM_COMMAND_BYTES:
            raise ProtocolError(AbortReason.INVALID_PARAMETER, "a command set is too large")
        self._command += fragment.content
        if not fragment.is_last:
            return
        self._request = parse_request(bytes(self._command))
        if self._request.is_response:
            raise ProtocolError(AbortReason.UNEXPECTED_PARAMETER, "nobody asked for an answer")
        self._operation = self._begin(self._request, self._contexts[fragment.context_id])
        if not self._request.has_data_set:
            self._answer(self._operation)

    def _begin(self, request: Request, context: AcceptedContext) -> _Operation:
        verifies = context.abstract_syntax == VERIFICATION_CLASS
        match request.command_field:
            case CommandField.C_STORE_RQ if not verifies:
                return StoreOperation(request, context, self._storage)
            case CommandField.C_ECHO_RQ if verifies:
                return _WithoutDataSet(Answer(SUCCESS))
            case CommandField.C_CANCEL_RQ:  # PS3.7 Section 9.3.2.3: there is no answer to it
                return _WithoutDataSet(None)
            case _:
                return _WithoutDataSet(
                    Answer(UNRECOGNIZED_OPERATION, "not an operation of this SOP class")
                )

    def _answer(self, operation: _Operation) -> None:
        assert self._request is not None, "a request is under way"
        assert self._context_id is not None, "a request came in a context"
        answer = operation.answer()
        if answer is not None:
            command = encode_response(self._request, answer.status, answer.comment)
            self._reply(self._context_id, command)
        self.close()
