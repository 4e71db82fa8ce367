"""Telling people of proposals: by webhook and by e-mail, both off by default."""
