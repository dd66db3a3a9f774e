"""The shop on one machine, in three rooms. `runner` and the command line (`python -m emulator`) use all of them.

local   what stands in for Google: the signed Auth emulator and the metadata server; the library will ship it
run     what starts the shop: set-up, ports, processes, the stack, seed data
demo    what the demo shows: a purchase, the calls behind it, and refused calls
"""
