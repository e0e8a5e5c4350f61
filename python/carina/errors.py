"""The exceptions of the package; the Rust core raises these very classes.

Each has two parents, so that both ``except CarinaError`` and the built-in
kind (``ValueError``, ``OSError``, …) catch it.
"""


class CarinaError(Exception):
    """Base of every exception raised on purpose."""


class ShapeError(CarinaError, ValueError):
    """An array has a shape that the callee cannot take."""


class InvalidValueError(CarinaError, ValueError):
    """An argument has a value without meaning here."""


class ConfigError(CarinaError, ValueError):
    """A configuration field has a value that nothing can be built from."""


class FileError(CarinaError, OSError):
    """The system could not read or write a file."""


class MissingFileError(FileError, FileNotFoundError):
    """A file that was named is not there."""


class FormatError(CarinaError, ValueError):
    """A file was read, but its content is not what it should be."""


class ManifestError(CarinaError, ValueError):
    """A manifest row or column that no study can be made from."""


class CheckpointError(CarinaError, ValueError):
    """A checkpoint does not fit the model it was given to."""


class TrainingError(CarinaError, RuntimeError):
    """Training could not start or go on."""


class DeviceError(CarinaError, RuntimeError):
    """The device asked for is not there."""


class OutOfMemoryError(CarinaError, MemoryError):
    """A call would take more memory than there is; nothing was started."""


class NotFittedError(CarinaError, ValueError, AttributeError):
    """An estimator was used before ``fit``."""


class InternalError(CarinaError, RuntimeError):
    """A defect of this package."""


class ServerError(CarinaError, ConnectionError):
    """A server of images did not answer, or not as it should."""


class ServerTimeoutError(ServerError, TimeoutError):
    """A server of images took too long."""


class AccessError(ServerError, PermissionError):
    """A server of images wants other credentials, or none give this right."""


class NotOnServerError(ServerError, LookupError):
    """What was asked for is not on the server of images."""
