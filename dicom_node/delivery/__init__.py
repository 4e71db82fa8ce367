"""Sending report objects to destinations: C-STORE SCU and STOW-RS."""
