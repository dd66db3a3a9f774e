"""What starts the shop on this machine: set-up, ports, processes, the stack of emulators and services, seed data."""
