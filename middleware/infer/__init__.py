"""Inference over device, edge and cloud: networks cut apart, what a plan costs, which one is best, and what runs it."""
