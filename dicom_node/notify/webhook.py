"""Telling an HTTP service, by POST."""

from http import HTTPStatus

import httpx

from audit.errors import InvalidConfiguration, PeerUnreachable
from dicom_node.config.accession import WebhookSettings
from dicom_node.notify.message import ProposalEvent, webhook_document
from dicom_node.notify.port import NotTaken
from storage.proposals import ProposalRow

_TRY_AGAIN = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


class Webhook:
    """A `Channel`."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def tell(self, row: ProposalRow, event: ProposalEvent, key: str) -> None:
        """Post the message; redirects are refused, not followed. See `Channel.tell`."""
        settings = self._settings
        headers = {"Idempotency-Key": key}
        if settings.token_file is not None:
            headers["Authorization"] = f"Bearer {_secret(settings)}"
        document = webhook_document(row, event, with_identifiers=settings.with_identifiers)
        try:
            response = httpx.post(
                settings.url,
                json=document,
                headers=headers,
                timeout=settings.timeout_s,
                follow_redirects=False,
            )
        except httpx.HTTPError as error:
            raise PeerUnreachable("the webhook did not answer") from error
        if response.is_success:
            return
        if response.is_server_error or response.status_code in _TRY_AGAIN:
            raise PeerUnreachable(f"the webhook answered HTTP {response.status_code}")
        raise NotTaken(f"the webhook answered HTTP {response.status_code}")


def _secret(settings: WebhookSettings) -> str:
    assert settings.token_file is not None
    try:
        return settings.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(
            ["accession.webhook.token_file: must be a file that holds a token"]
        ) from error
