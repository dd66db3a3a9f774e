"""The issuer: the token service, and the policy of which service may call which."""
