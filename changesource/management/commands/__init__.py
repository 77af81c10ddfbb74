"""One module a command; each is a thin shell over the layers below."""
