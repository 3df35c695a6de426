"""Workflows: the doors through which trainings and reconstructions are run."""
