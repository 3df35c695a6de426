"""The doors of the client's plugin "PtychoPINN-Torch"."""
