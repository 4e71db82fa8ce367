"""The configuration: one frozen, validated value."""
