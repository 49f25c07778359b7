"""What every test shares: hypothesis without clocks, kernels without spinning threads."""

import os

from hypothesis import HealthCheck, settings

# Before torch is imported: on tiny tensors threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asserts a wall-clock time: a busy machine must not fail a law.
settings.register_profile("realm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# In continuous integration the same examples each time; elsewhere new ones are sought.
settings.register_profile("ci", settings.get_profile("realm"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "realm")
