"""A Django app with query functions, as a project that uses the change source has them."""
