"""What the code says, read from its text (``static``) or from living objects (``live``)."""
