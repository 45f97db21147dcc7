"""The command line. Nothing heavy is imported before a command runs."""

from deeprec.cli.app import main

__all__ = ["main"]
