"""Command lines; frameworks and arrays are imported when a command runs, not before."""
