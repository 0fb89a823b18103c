"""Differential privacy: exact noise on the integer grid (`noise`), the bound on an update (`clip`), what a mechanism costs over
rounds (`accountant`), randomisers at the client (`local`) and what a shuffle adds to them (`shuffle`)."""
