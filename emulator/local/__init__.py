"""Google's part on this machine: an Auth emulator that signs, and a metadata server for each service.

This package is to move into the library as it is. So its modules import only mstoken and third-party packages, and
each other relatively; import-linter holds the first.
"""
