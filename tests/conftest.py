"""What all tests share."""

import signal

from hypothesis import HealthCheck, settings

# A shell lets its background jobs ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The load must not decide a test: no time limits, the same examples every time.
settings.register_profile(
    "carina",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("carina")
