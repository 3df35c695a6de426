"""The demo: both backends train on one scan, are reloaded, scored, judged and reported."""
