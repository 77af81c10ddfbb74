"""What people and scripts ask for: in admin, on the command line and over HTTP."""
