"""A change of the specification: matched, classified, held against the code, documented."""
