"""Django admin in a real browser, on a real server and a real MongoDB."""
