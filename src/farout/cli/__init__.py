"""The command line, thin: commands turn words into settings, call `farout.runs` and show what comes back."""

from farout.cli.entry import main

__all__ = ["main"]
