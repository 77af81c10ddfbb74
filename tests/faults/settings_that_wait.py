"""Django settings that are never read to their end: a process that has begun, and no more."""

import threading

threading.Event().wait()
