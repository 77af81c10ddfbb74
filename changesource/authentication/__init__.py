"""Who connects: random tokens, of which only keyed digests are stored, and JWTs that an issuer has
signed.

`tokens.authenticate` is the entry point. The queries on the Django database are in
`models.queries`.
"""
