"""The processes of a cluster."""

import gc

# A start imports some 250,000 objects that stay. By default all of them would be looked through
# again and again: 0.3 of the 2 CPU seconds that importing torch and the rest takes.
gc.set_threshold(50_000)
