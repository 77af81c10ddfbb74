"""One module for each command, a thin shell over the layers below."""
