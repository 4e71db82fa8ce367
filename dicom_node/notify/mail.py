"""Telling a mailbox, by SMTP (RFC 5321)."""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from audit.errors import InvalidConfiguration, PeerUnreachable
from dicom_node.config.accession import EmailSettings
from dicom_node.notify.message import ProposalEvent, mail_text
from dicom_node.notify.port import NotTaken
from storage.proposals import ProposalRow

_PERMANENT = 500


class Mail:
    """A `Channel`."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings

    def tell(self, row: ProposalRow, event: ProposalEvent, key: str) -> None:
        """Send one mail to all recipients; an error where any was refused. See `Channel.tell`."""
        settings = self._settings
        subject, body = mail_text(row, event, with_identifiers=settings.with_identifiers)
        message = EmailMessage()
        message["From"] = settings.sender
        message["To"] = ", ".join(settings.recipients)
        message["Subject"] = subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2])
        message["X-Idempotency-Key"] = key
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body)
        try:
            refused = self._send(message)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except smtplib.SMTPResponseException as error:
            if error.smtp_code >= _PERMANENT:
                raise NotTaken(f"the mail server answered {error.smtp_code}") from error
            raise PeerUnreachable(f"the mail server answered {error.smtp_code}") from error
        except smtplib.SMTPNotSupportedError as error:
            raise NotTaken("the mail server does not offer what is configured") from error
        except (smtplib.SMTPException, OSError) as error:
            raise PeerUnreachable("the mail server did not answer") from error
        # Transient where any of the refusals is: a repeated mail does no harm.
        if refused and all(code >= _PERMANENT for code, _ in refused.values()):
            raise NotTaken("the mail server refused a recipient")
        if refused:
            raise PeerUnreachable("the mail server asked to be tried again")

    def _send(self, message: EmailMessage) -> dict[str, tuple[int, bytes]]:
        """Send, and return the answers to the recipients that were refused, if not to all."""
        settings = self._settings
        context = ssl.create_default_context()
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=settings.timeout_s, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
        with server:
            if settings.security == "starttls":
                server.starttls(context=context)
            if settings.username:
                server.login(settings.username, _password(settings))
            return server.send_message(message)


def _password(settings: EmailSettings) -> str:
    if settings.password_file is None:
        return ""
    try:
        return settings.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(
            ["accession.email.password_file: must be a file that holds a password"]
        ) from error
