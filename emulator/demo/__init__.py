"""What the demo shows: a purchase, the calls between services behind it, and calls that are refused."""
