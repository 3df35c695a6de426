"""What the PyTorch commands share."""
