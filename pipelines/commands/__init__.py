"""The commands of ``engram``, one to a file."""
