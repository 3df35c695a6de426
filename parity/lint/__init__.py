"""Checks of the project's texts that need neither a framework nor the backends."""
