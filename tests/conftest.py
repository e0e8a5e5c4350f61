"""What all tests share."""

from hypothesis import HealthCheck, settings

# The load must not decide a test: no time limits, the same examples every time.
settings.register_profile(
    "carina",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("carina")
