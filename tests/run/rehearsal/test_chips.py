import pytest

from hypjax.run.rehearsal.chips import CHIPS, Times, times


def test_each_part_of_a_chip_takes_its_time():
    found = times(CHIPS["TPU v4"], operations=275e9, traffic=2.4e9, sent=3e9, cycles=10.5e6)
    assert found == pytest.approx((1e-3, 2e-3, 10e-3, 10e-3))
    assert (found.limit, found.estimate) == ("network", pytest.approx(10e-3))
    assert times(CHIPS["TPU v6 lite"], operations=1, traffic=1, sent=1, cycles=1e6).counted == 0  # its clock is unknown


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        (Times(3.0, 2.0, 1.0, 0.0), "matrix unit"),
        (Times(3.0, 2.0, 1.0, 5.9), "matrix unit"),
        (Times(1.0, 2.0, 1.0, 5.0), "vector unit"),  # the cores work more than twice as long as any part needs
        (Times(1.0, 2.0, 1.0, 3.0), "memory"),
    ],
)
def test_the_longest_part_is_the_limit(found, limit):
    assert found.limit == limit
    assert found.estimate == max(found)


def test_peaks_are_those_of_the_matrix_units_at_their_clock():
    # Multiplications and additions a cycle of a chip's 128 × 128 units.
    units = {"TPU v4": 8, "TPU v5 lite": 4, "TPU v5": 8}
    for kind, count in units.items():
        assert CHIPS[kind].operations == pytest.approx(count * 2 * 128**2 * CHIPS[kind].clock, rel=0.01)
