"""Daphne as streams need it.

Whatever starts Daphne on our application gets `StreamServer` in the place of Daphne's own `Server`: `daphne`,
`python -m daphne`, Daphne's `runserver`, a script of somebody's own, and `manage.py serve`, which only adds options.
`hook.py` does that when the application is made, and `private_names.py` is what all of this leans on.
"""
