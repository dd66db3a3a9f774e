"""What `make run` and `make demo` show once the shop is up: a purchase, the calls behind it, and refused calls."""
