"""What hypothesis is not to look at: how long examples take, which says more of the machine, and how long fixtures."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("tests")
