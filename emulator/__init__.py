"""What a laptop needs to run the shop: set-up, the emulators' configuration, seed data, and the runner."""
