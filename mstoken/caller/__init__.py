"""Calling other services: the identity of this process, and how it gets its tokens."""
