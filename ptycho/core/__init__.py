"""NumPy ground floor of both backends: no TensorFlow, no torch."""
