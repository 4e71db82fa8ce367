"""The seams between the book of orders and those who know of orders."""

from typing import Protocol

from inference.orders import Order, OrderQuery


class OrderSource(Protocol):
    """Somebody who can be asked for orders: a worklist."""

    @property
    def name(self) -> str:
        """Return what logs and metrics call it; one of a closed set."""
        ...

    def orders_for(self, query: OrderQuery) -> tuple[Order, ...]:
        """Return the orders that match; none where the source knows none.

        Cancelled orders that the source still tells of come with their state.

        Raises
        ------
        PeerUnreachable
            The source is away, too slow, or does not answer by its protocol.
        """
        ...


class OrderSink(Protocol):
    """Whoever is told of orders without asking: the book, by an HL7 listener."""

    def keep(self, orders: tuple[Order, ...]) -> int:
        """Keep notices of orders durably; return how many said something new.

        Returns only when they are committed, so that an acknowledgement may follow. A
        notice that is older than what is kept (`Order.received_at`) changes nothing.

        Raises
        ------
        DatabaseAway
            Nothing was kept; the sender must try again.
        NothingToCancel
            Nothing was kept: there was nothing but cancels of orders that are not known.
        """
        ...
