"""Checkpoints of other projects, turned into model folders of ours."""
