"""Scenarios of shared inference that run as they are: `python -m devnet.examples.NAME`. Each prints its six measures."""
