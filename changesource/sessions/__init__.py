"""From the change log to one WebSocket of one zero-cache.

session           whether the client may connect, and what it gets: a snapshot, or the stream
resume            every reason for `reset-required`
snapshot          a transition from nothing, between two barriers
stream            steady, or in transition
transition        one transaction from a view to the next
barrier           the entries up to a moment of the source
row_loader        collections → rows → frames
client_access     what a client may read, and where that changes
transactions      log entries → Zero transactions
outlet, acknowledgements    the socket's two directions
"""
