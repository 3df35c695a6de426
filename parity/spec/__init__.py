"""The specification as data: markdown text to typed records; imports no framework."""
