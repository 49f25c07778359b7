"""The processes of a cluster."""

import gc
import os

from realm.process.signals import exit_on_sigterm

# A start imports some 250,000 objects that stay. By default all of them would be looked through
# again and again: 0.3 of the 2 CPU seconds that importing torch and the rest takes.
gc.set_threshold(50_000)

# A container's first process ignores SIGTERM while it has no handler. Told to end while it still
# imports, it would go on until it is killed, for a trainer two minutes later.
if os.getpid() == 1:
    exit_on_sigterm()
