"""The parity checks; ``registry.registered_checks`` lists them."""
