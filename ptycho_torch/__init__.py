"""Physics-informed neural ptychography: PyTorch backend.

Importing this package loads no deep-learning framework; see ``docs/architecture.md``.
"""
