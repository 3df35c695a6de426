"""Simulated scans: objects, probes, scan patterns, and the photons they give.

Everything random takes a ``numpy.random.Generator``; nothing touches the global random state.
"""
