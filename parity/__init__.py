"""Parity between the TensorFlow and the PyTorch backend, judged by a float64 reference.

``parity.gate.run_gate`` runs every check; ``python -m parity`` is its command line. Importing this
package loads no deep-learning framework.
"""
