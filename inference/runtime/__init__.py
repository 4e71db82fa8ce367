"""Running a network: the port, and its adapters."""

from inference.runtime.port import RawOutput, Runtime

__all__ = ["RawOutput", "Runtime"]
