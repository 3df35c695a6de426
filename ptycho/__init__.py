"""Physics-informed neural ptychography: NumPy core and TensorFlow backend.

Importing this package loads no deep-learning framework; see ``docs/architecture.md``.
"""
