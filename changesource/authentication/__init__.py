"""Who connects: random tokens, of which hashes are stored, and JWTs that somebody else has signed.

`tokens.authenticate` is the way in. What is asked of the Django database is in `models.client_store`.
"""
