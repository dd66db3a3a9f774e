"""The caller's wing: who I am, and how I come by a token."""
