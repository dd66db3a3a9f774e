"""The callee's wing of the library: who calls this service, and which calls are allowed."""
