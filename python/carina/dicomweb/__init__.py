"""The door to a hospital: images from its servers, findings back as DICOM.

Needs ``pip install 'carina[dicomweb]'``. A connection is opened by the call that
needs it, to the server that you name and to no other.

>>> server = Server("https://pacs.example/dicom-web", auth=pair)  # doctest: +SKIP
>>> found = server.find(modality="DX", date=("2025-01-01", None))  # doctest: +SKIP
>>> values, failures = server.encode(model, found)  # doctest: +SKIP
"""

from carina.errors import CarinaError

try:
    import dicomweb_client  # noqa: F401
    import highdicom  # noqa: F401
    import pynetdicom  # noqa: F401
except ImportError as missing:
    raise CarinaError(
        f"carina.dicomweb needs {missing.name}: pip install 'carina[dicomweb]'"
    ) from None

from carina.dicomweb.dimse import Node
from carina.dicomweb.fetched import Fetched
from carina.dicomweb.marks import presentation
from carina.dicomweb.masks import segmentation
from carina.dicomweb.report import report_sr
from carina.dicomweb.server import Server
from carina.dicomweb.source import Author

__all__ = [
    "Author",
    "Fetched",
    "Node",
    "Server",
    "presentation",
    "report_sr",
    "segmentation",
]
