"""Bytes to nouns and back: the only package that parses a stranger's bytes. The format itself is FORMAT.md."""
