"""What one address, one client or one app may take of a server, and how those who ask for more are refused."""
