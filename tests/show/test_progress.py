from hypjax.show import progress
from hypjax.show.progress import Progress


def test_it_does_not_flood_a_file(capsys):
    shown = Progress(each=128)
    for step in range(1, 501):
        shown.show(step, 500, f"step {step}/500")
    lines = capsys.readouterr().out.splitlines()
    assert 2 <= len(lines) <= 4
    assert lines[-1].startswith("step 500/500  ")
    assert "images/s" in lines[-1]


def test_it_leaves_the_compilation_and_pauses_out(monkeypatch, capsys):
    now = iter([0.0, 100.0, 110.0, 120.0, 135.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    shown = Progress(of="rows", each=2)
    for done in (100, 200, 300):
        shown.show(done, 400)
    shown.pause(5.0)
    shown.show(400, 400)
    assert capsys.readouterr().out.splitlines() == [
        "100/400",
        "200/400  20 rows/s  0:00:20 left",
        "300/400  20 rows/s  0:00:10 left",
        "400/400  20 rows/s  0:00:00 left",
    ]
