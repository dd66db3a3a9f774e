"""The issuer's wing: a token service, for whom a policy says who may call whom."""
