"""One line a second per reason, and a count of what was held back."""

from extproc.server.complaints import INTERVAL_S, Complaints


def test_a_flood_becomes_a_line_a_second() -> None:
    now = [100.0]
    said: list[str] = []
    complaints = Complaints(said.append, lambda: now[0])
    for _ in range(5):
        complaints.tell("overloaded", "full")
    complaints.tell("out-of-order", "odd")
    assert said == ["full", "odd"]
    now[0] += INTERVAL_S * 0.99
    complaints.tell("overloaded", "full")
    assert said == ["full", "odd"]
    now[0] += INTERVAL_S * 0.01 + 1e-6
    complaints.tell("overloaded", "full")
    complaints.tell("out-of-order", "odd")
    assert said[2:] == ["full (5 more like it before)", "odd"]
