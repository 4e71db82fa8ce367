"""Pure decisions: routing, access, status mapping, retry policy."""
