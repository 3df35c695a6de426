"""Workflow doors of the PyTorch backend."""
