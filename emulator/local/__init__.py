"""Stand-ins for Google on this machine: an Auth emulator that signs ID tokens, and a metadata server for each service.

The library will ship this package. So its modules import only mstoken and third-party packages (import-linter checks
that), and they import each other relatively: moving the folder needs no edit inside it.
"""
