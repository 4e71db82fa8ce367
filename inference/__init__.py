"""Pixels in, predictions out: decoding, models, heat maps and the body-part verdict."""
