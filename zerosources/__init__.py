"""The deployment: settings, URLs, the ASGI application, and the embedded servers for development."""
