"""The whole shop on one machine, for `make run`, `make demo` and the tests.

local   stand-ins for Google: the signed Auth emulator and the metadata server (the library will ship them)
run     what starts the shop: set-up, ports, processes, the stack, seed data
demo    what the demo shows: a purchase, the calls behind it, and refused calls
lab     web pages that show the calls of the shop as they happen

The runner and the command line (`python -m emulator`) use all of them.
"""
