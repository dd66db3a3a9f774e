"""How the shop gets into a Google Cloud project; docs/deploying.md explains each file."""
