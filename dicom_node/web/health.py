"""How the node is, component by component (values)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class HealthState(StrEnum):
    """How a component is, from best to worst."""

    OK = "ok"
    DEGRADED = "degraded"
    """It works, but a person should look: a queue is long, a destination is away."""

    FAILING = "failing"
    """The node cannot do its work, and should get no more of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentHealth:
    """One component; `detail` is for operators and holds no secret and no patient data."""

    state: HealthState
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """All components by name (``database``, ``disk``, ``dimse``, ``models`` …)."""

    components: Mapping[str, ComponentHealth]

    @property
    def state(self) -> HealthState:
        """The worst state of any component."""
        order = list(HealthState)
        states = [component.state for component in self.components.values()]
        return max(states, key=order.index, default=HealthState.OK)
