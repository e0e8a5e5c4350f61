"""The client's half of ``test_orthanc.py``: asserts, then says that all went well."""

import sys
import time
import warnings
from io import BytesIO
from pathlib import Path

import carina as ca
import numpy as np
import pydicom
from carina import dicomweb
from carina.errors import AccessError, NotOnServerError, ServerError
from carina.study import Box

SYNTAXES = ("explicit", "implicit", "deflated", "rle", "jpeg_lossless", "jpeg_ls")
URL = "http://127.0.0.1:18042/dicom-web"


def wait_for(server):
    """Wait until it answers, a minute at most."""
    for _ in range(120):
        try:
            return server.find()
        except ServerError:
            time.sleep(0.5)
    raise SystemExit("Orthanc did not start")


def raises(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"expected {kind.__name__}")


def films(server, folder):
    """Store a film in each syntax, find it, fetch it, encode it."""
    ds = ca.phantom(len(SYNTAXES), seed=1, size=64, progress=False)
    files = []
    for i, syntax in enumerate(SYNTAXES):
        files += ds[i : i + 1].write_dicom(
            folder / syntax, syntax=syntax, progress=False
        )
    stored = server.store(files, progress=False)
    assert set(stored["status"]) == {"stored"}, stored.to_dict()
    found = server.find(modality="DX", age=(0, 120))
    assert len(found) == len(files)
    assert len(server.find(sex="F")) + len(server.find(sex="M")) == len(files)
    assert len(server.find(patient="PHANTOM-000000")) >= 1
    expected = {str(pydicom.dcmread(f).StudyInstanceUID): f for f in files}
    for one in server.studies(found, progress=False):
        assert one.error is None, one.error
        np.testing.assert_array_equal(one.films[0], ca.read(expected[one.study]))
    model = ca.create("elixr", size="tiny", image_size=64, seed=0)
    values, failures = server.encode(model, found, batch_size=4, progress=False)
    assert not failures
    paths = [expected[uid] for uid in found["study"]]
    np.testing.assert_allclose(values, model.encode(paths, progress=False), atol=1e-5)
    copied = server.download(found, folder / "copy", progress=False)
    assert copied["written"].tolist() == [1] * len(files)
    again = server.download(found, folder / "copy", progress=False)
    assert again["present"].tolist() == [1] * len(files)
    return found, expected


def scan(server, folder):
    """Store a CT, read it as a volume, send masks back."""
    ds = ca.phantom(1, kind="ct", seed=2, size=64, slices=12, progress=False)
    files = ds.write_dicom(folder / "ct", progress=False)
    assert set(server.store(files, progress=False)["status"]) == {"stored"}
    (found,) = server.find("series", modality="CT")
    volume = server.volume(found["study"], found["series"], progress=False)
    np.testing.assert_array_equal(volume, ca.read(files[0].parent))
    masks = {m.finding: m for m in ds[0].masks if m.finding in ("right lung", "heart")}
    sources = server.sources(found["study"], series=found["series"])
    made = dicomweb.segmentation(sources, masks, volume=volume, anatomy=list(masks))
    assert server.store(made, progress=False)["status"].tolist() == ["stored"]
    return made


def results(server, found):
    """Send a report, a mask and boxes for a film; read them back."""
    (one,) = server.studies(found[:1], progress=False)
    box = Box("edema", (3.0, 4.0, 30.0, 40.0))
    mask = np.eye(64, dtype=bool)
    sent = [
        dicomweb.report_sr(one.sources, {"edema": 0.25}, boxes=[box]),
        dicomweb.segmentation(one.sources, {"edema": mask}),
        dicomweb.presentation(one.sources, [box]),
    ]
    assert set(server.store(sent, progress=False)["status"]) == {"stored"}
    back = {}
    for file in server.instances(one.study):
        data = pydicom.dcmread(BytesIO(file))
        back[str(data.SOPInstanceUID)] = data
    report, masks, marks = (back[str(made.SOPInstanceUID)] for made in sent)
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "PARTIAL")
    np.testing.assert_array_equal(masks.pixel_array.reshape(64, 64) > 0, mask)
    assert marks.GraphicAnnotationSequence[0].GraphicObjectSequence
    assert len(server.find("series", study=one.study)) == 4
    # The results beside a film do not become films.
    (again,) = server.studies(found[:1], progress=False)
    assert len(again.films) == 1
    return one.study


def dimse(expected, study):
    """Do the same by DIMSE."""
    node = dicomweb.Node("127.0.0.1", 14242, title="ORTHANC")
    node.echo()
    assert set(expected) <= set(node.find()["study"])
    assert len(node.find("series", study=study)) == 4
    files = list(node.instances(study))
    assert len(files) == 4
    shown = [ca.read(f) for f in files if pydicom.dcmread(BytesIO(f)).Modality == "DX"]
    np.testing.assert_array_equal(shown[0], ca.read(expected[study]))
    stream = node.instances(study)
    next(stream)
    stream.close()
    assert node.store(expected[study], progress=False)["status"].tolist() == ["stored"]
    raises(ServerError, lambda: node.move(study, "NOWHERE"))
    raises(ServerError, lambda: dicomweb.Node("127.0.0.1", 9, timeout=5).echo())


def main(folder):
    warnings.simplefilter("error")
    server = dicomweb.Server(URL, auth=("reader", "open sesame"), retries=1)
    wait_for(server)
    raises(AccessError, dicomweb.Server(URL).find)
    raises(NotOnServerError, lambda: list(server.instances("1.2.3.4")))
    found, expected = films(server, folder)
    scan(server, folder)
    dimse(expected, results(server, found))
    print("all went well")


main(Path(sys.argv[1]))
