"""Attacks on the running shop: the table of them, and what sends them. The tests and the lab use the same table."""
