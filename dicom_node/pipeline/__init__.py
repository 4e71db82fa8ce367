"""The steps of a study: intake, analyse, settle, report, deliver, reconcile."""
