"""Who may associate with the node (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType

from audit.errors import InvalidConfiguration
from dicom_node.config.settings import NodeSettings, PeerSettings

_Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """The rules of ``access`` as one value; made by `from_settings`."""

    called_ae_titles: frozenset[str]
    accept_unknown_peers: bool
    networks: Mapping[str, tuple[_Network, ...] | None]
    """Known calling AE titles and the networks they may call from; None means any."""

    settle_s: float
    settle_s_by_peer: Mapping[str, float]

    @classmethod
    def from_settings(cls, settings: NodeSettings) -> "AccessPolicy":
        """Build the policy.

        Raises
        ------
        InvalidConfiguration
            Naming every peer address that is neither an IP address nor a network.
        """
        problems: list[str] = []
        networks: dict[str, tuple[_Network, ...] | None] = {}
        for number, peer in enumerate(settings.access.peers):
            own = _networks(peer, number, problems)
            earlier = networks.get(peer.ae_title, ())
            anywhere = not peer.addresses or earlier is None
            networks[peer.ae_title] = None if anywhere else (*(earlier or ()), *own)
        if problems:
            raise InvalidConfiguration(problems)
        titles = {settings.dimse.ae_title, *settings.access.called_ae_titles}
        return cls(
            called_ae_titles=frozenset(title.strip(" ") for title in titles),
            accept_unknown_peers=settings.access.accept_unknown_peers,
            networks=MappingProxyType(networks),
            settle_s=settings.settle.settle_s,
            settle_s_by_peer=MappingProxyType(
                {p.ae_title: p.settle_s for p in settings.access.peers if p.settle_s is not None}
            ),
        )

    def breach(self, calling: str, called: str, address: str) -> str | None:
        """Return the name of the first rule that a requestor breaks, or None.

        Parameters
        ----------
        calling, called : str
            The AE titles of the A-ASSOCIATE-RQ (PS3.8 Section 9.3.2); padding is ignored.
        address : str
            The requestor's IPv4 or IPv6 address. An IPv4 address mapped into IPv6, as a
            dual-stack socket reports it, counts as the IPv4 address.

        Returns
        -------
        str or None
            ``called-ae-title``, ``calling-ae-title`` or ``address``.
        """
        if called.strip(" ") not in self.called_ae_titles:
            return "called-ae-title"
        if self.accept_unknown_peers:
            return None
        title = calling.strip(" ")
        if title not in self.networks:
            return "calling-ae-title"
        allowed = self.networks[title]
        if allowed is None:
            return None
        where = _address(address)
        return None if where and any(where in network for network in allowed) else "address"

    def http_breach(self, address: str) -> str | None:
        """Return ``address`` when no known peer may call from there, else None.

        HTTP names no AE title, so any peer's networks will do; a peer that may call from
        anywhere opens nothing here. A bearer token is the stronger rule
        (``web.stow_token_file``).
        """
        if self.accept_unknown_peers:
            return None
        where = _address(address)
        known = (network for networks in self.networks.values() for network in networks or ())
        return None if where and any(where in network for network in known) else "address"

    def settle_s_for(self, calling: str) -> float:
        """Return the quiet time, in seconds, after which a study of this peer settles."""
        return self.settle_s_by_peer.get(calling.strip(" "), self.settle_s)


def _networks(peer: PeerSettings, number: int, problems: list[str]) -> list[_Network]:
    found: list[_Network] = []
    for place, text in enumerate(peer.addresses):
        try:
            found.append(ip_network(text.strip(), strict=False))
        except ValueError:
            problems.append(
                f"access.peers.{number}.addresses.{place}: "
                "must be an IP address or a network such as 10.0.0.0/24"
            )
    return found


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip().split("%", 1)[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
