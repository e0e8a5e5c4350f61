"""The demo from end to end, on few films."""

import json

import carina as ca
import pytest
from carina.demo import run_phantom
from carina.demo.real import run_real
from carina.demo.synthetic import QUERIES
from carina.errors import InvalidValueError, MissingFileError


@pytest.mark.slow
def test_the_demo_writes_a_page_the_numbers_the_model_and_the_index(tmp_path, capsys):
    figures = run_phantom(
        out=tmp_path / "out", studies=160, supervised_epochs=1, contrastive_epochs=1
    )
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/png;base64,") >= 8
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "phantom-0" not in page  # no study or patient id
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["seed"] == figures["seed"] == 0
    rows = stored["zero_shot"]["rows"]
    assert any(row["finding"] == "macro mean" for row in rows)
    assert ca.load(tmp_path / "out" / "model").findings
    assert len(ca.Index.open(tmp_path / "out" / "films.index")) > 0
    assert "zero-shot on held-out patients" in capsys.readouterr().out


def test_grades_tell_the_asked_side_from_the_other():
    films = ca.phantom(120, seed=1, size=32, progress=False)
    assert (QUERIES[0].findings, QUERIES[0].side) == (["pleural effusion"], "left")
    left = QUERIES[0].grades(films)
    column = films.labels[:, films.findings.index("pleural effusion")]
    assert ((left == 2) <= (column == 1)).all()
    assert ((left > 0) == (abs(column) == 1)).all()
    assert set(left) == {0.0, 1.0, 2.0}


def test_the_real_demo_names_what_is_missing(tmp_path):
    with pytest.raises(InvalidValueError, match="only: found \\['magic'\\]"):
        run_real(tmp_path, only=["magic"])
    with pytest.raises(MissingFileError, match="pneumoniamnist"):
        run_real(tmp_path, out=tmp_path, only=["pneumoniamnist"])
