"""How much of a server one address, one client or one app may use, and how anything beyond that is
refused."""
