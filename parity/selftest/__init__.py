"""Seeded defects: planted one at a time, each has to turn the gate red at its own place."""
