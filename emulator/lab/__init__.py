"""The lab: web pages that show the calls of a shop as they happen, and let a developer attack and break it.

It belongs to the developer's machine. It runs inside the runner, listens on 127.0.0.1 only, and refuses to start
without the emulator.
"""
