"""Mending what was filed under the wrong order, on a person's word only.

A correction package is what IHE Imaging Object Change Management asks of a Change
Requester (IHE RAD TF-3 Section 4.66, Rejection Note Stored): re-identified copies of the
images under the right order, and for each study a rejection note that takes the wrongly
filed images out of use. The originals are never touched.
"""
