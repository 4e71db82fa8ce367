"""DIMSE services: the streaming acceptor for C-ECHO and C-STORE."""
