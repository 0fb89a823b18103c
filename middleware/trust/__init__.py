"""Who said it, may they, can it be proved: keys, sealing, trees, and the access policy. No I/O, no clock."""
