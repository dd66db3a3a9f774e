"""The callee's wing: who calls me, and may they."""
