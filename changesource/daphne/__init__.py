"""Daphne, adapted for streams.

However Daphne is started on our application, `StreamServer` takes the place of Daphne's own
`Server`: by `daphne`, `python -m daphne`, Daphne's `runserver`, a custom script, or `manage.py
serve`, which only adds options. `hook.py` does that when the application is created.
`private_names.py` lists the names of other packages that this relies on.
"""
