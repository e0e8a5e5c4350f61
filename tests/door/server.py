"""What a made-up server answers."""

import json
from io import BytesIO

import pydicom

from .conftest import DICOM, multipart

JSON = {"Content-Type": "application/dicom+json"}


def row(study, *, series=None, instance=None, **elements):
    """A row of an answer in DICOM JSON."""
    uids = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": instance,
    }
    made = pydicom.Dataset()
    for name, value in {**uids, **elements}.items():
        if value is not None:
            setattr(made, name, value)
    return made.to_json_dict()


def rows(found):
    return 200, JSON, json.dumps(found).encode()


def pages(all_rows):
    def respond(asked):
        first = int(asked.query["offset"])
        return rows(all_rows[first : first + int(asked.query["limit"])])

    return respond


def archive(files):
    """A server that has these files, each in a study of its own."""
    by_study = {}
    for file in files:
        header = pydicom.dcmread(BytesIO(file), stop_before_pixels=True)
        by_study[header.StudyInstanceUID] = (header, file)

    def respond(asked):
        study = asked.path.split("/")[2]
        header, file = by_study[study]
        if asked.path.endswith(("/series", "/instances")):
            if asked.query["offset"] != "0":
                return rows([])
            uids = {"series": header.SeriesInstanceUID}
            if asked.path.endswith("instances"):
                uids["instance"] = header.SOPInstanceUID
            return rows([row(study, **uids, Modality="DX")])
        return 200, {"Content-Type": DICOM}, multipart(file)

    return respond, list(by_study)
