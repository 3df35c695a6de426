"""Configuration dataclasses and their legacy dictionary form."""
