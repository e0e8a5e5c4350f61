"""What a session sees while long calls run."""

import carina as ca
import pytest
from carina._progress import shown


@pytest.fixture
def choice():
    yield ca.set_progress
    ca.set_progress(None)


def test_a_session_decides_on_progress_and_a_call_decides_before_it(choice):
    assert shown(True)
    assert not shown(False)
    choice(True)
    assert shown(None)
    assert not shown(False)
    choice(False)
    assert not shown(None)
    assert shown(True)


def test_a_silenced_session_prints_nothing(choice, capsys):
    choice(False)
    ca.phantom(4, seed=1, size=32)
    assert capsys.readouterr() == ("", "")


def test_the_live_table_has_every_epoch_before_its_validation(capsys):
    films = ca.phantom(60, seed=1, size=32, progress=False)
    learn, check = films.split((0.8, 0.2))
    model = ca.create("elixr", image_size=32, text={"depth": 1})
    run = ca.train(
        model,
        learn,
        "supervised",
        validation=check,
        epochs=3,
        batch_size=16,
        progress=True,
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    found = [(int(line.split()[1]), line.split()[2]) for line in lines]
    assert found == [(e, what) for e in (1, 2, 3) for what in ("loss", "validation")]
    losses = [float(line.split()[3]) for line in lines if " loss " in line]
    assert losses == pytest.approx(run.epoch_losses(), abs=1e-4)


def test_the_doctor_shows_its_reasons_whole():
    assert "…" not in repr(ca.doctor())
