"""Replay stores: they record the ids of tokens and proofs, so that each id is accepted once."""
