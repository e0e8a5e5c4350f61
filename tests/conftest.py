"""What all tests share."""

from hypothesis import settings

# A busy machine must not turn a right answer into a failure.
settings.register_profile("carina", deadline=None)
settings.load_profile("carina")
