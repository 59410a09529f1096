"""Temperature schedules against their formulas, the published code's values, and their own dicts."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatpoint.schedules import (
    SCHEDULES,
    Constant,
    Exponential,
    Linear,
    Released2D,
    Released3D,
    make_schedule,
)

temperatures = st.floats(0.01, 100.0)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(start=temperatures, end=temperatures, progress=st.floats(0, 1))
def test_formulas(start, end, progress):
    assert Constant(start)(progress) == start
    # A handful of float64 operations and one power each: 1e-13 relative is two orders above their rounding.
    assert math.isclose(Linear(start, end)(progress), start + (end - start) * progress, rel_tol=1e-13, abs_tol=1e-12)
    expected = math.exp(math.log(start) + progress * (math.log(end) - math.log(start)))
    assert math.isclose(Exponential(start, end)(progress), expected, rel_tol=1e-13)
    for schedule in (Linear(start, end), Exponential(start, end)):
        assert schedule(0.0) == start
        assert schedule(1.0) == end
        assert schedule(progress) > 0


def test_released_2d_is_the_published_schedule(goldens):
    arrays = goldens("01_sa_tau_schedule")
    num_epochs = 140
    for epoch, tau in zip(arrays["epochs_2d"], arrays["tau_used_2d"], strict=True):
        # Every moment of the epoch, its exact beginning among them.
        for within in (0.0, 0.3, 0.999):
            progress = (epoch + within) / num_epochs
            assert Released2D(num_epochs)(float(progress)) == pytest.approx(tau, abs=1e-15)


def test_released_2d_knows_the_epoch_at_every_exact_beginning():
    # e / n · n is not always e in floating point; the epoch must not be taken for the one before.
    for num_epochs in (7, 100, 140, 211):
        for epoch in range(num_epochs):
            assert Released2D(num_epochs)(epoch / num_epochs) == max(0.5, 2 - 3 * epoch / 50)


def test_released_3d_is_the_published_schedule_one_call_late(goldens):
    arrays = goldens("01_sa_tau_schedule")
    schedule = Released3D(num_epochs=400)
    epochs = [int(e) for e in arrays["epochs_3d"]]
    used = [float(t) for t in arrays["tau_used_3d"]]
    assert schedule(0.0) == used[0]
    for before, tau in zip(epochs[:-1], used[1:], strict=True):
        assert schedule((before + 0.5) / 400) == pytest.approx(tau, abs=1e-15)
        # The first call of the next epoch is the one that comes late.
        assert schedule((before + 1) / 400) == pytest.approx(tau, abs=1e-15)
    assert schedule((epochs[-1] + 0.5) / 400) == pytest.approx(float(arrays["tau_after_last_3d"]), abs=1e-15)


def test_number_of_epochs_matters():
    assert Released2D(10)(0.5) == pytest.approx(1.7)
    assert Released2D(20)(0.5) == pytest.approx(1.4)
    assert Released3D(100)(0.505) == pytest.approx(4.0)
    assert Released3D(200)(0.5075) == pytest.approx(2.98)


@pytest.mark.parametrize(
    "schedule",
    [Constant(0.7), Linear(3.0, 0.2), Exponential(5.0, 0.1), Released2D(30), Released3D(40)],
    ids=lambda s: type(s).__name__,
)
def test_dicts_and_reprs_make_the_same_schedule(schedule):
    assert make_schedule(schedule.to_dict()) == schedule
    assert make_schedule(schedule) is schedule
    assert eval(repr(schedule)) == schedule


def test_every_name_makes_its_schedule_with_defaults():
    for name, kind in SCHEDULES.items():
        assert make_schedule(name) == kind()
        assert make_schedule(name).to_dict()["name"] == name


def test_numbers_are_constant_schedules():
    assert make_schedule(2) == Constant(2.0)
    assert make_schedule(0.25)(1.0) == 0.25


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: make_schedule("linaer"),
            ValueError,
            "make_schedule: name must be one of constant, exponential, linear, released_2d, released_3d, got 'linaer'. "
            "Did you mean linear?",
        ),
        (
            lambda: make_schedule({"start": 1.0}),
            ValueError,
            "make_schedule: name must be one of constant, exponential, linear, released_2d, released_3d, got None.",
        ),
        (
            lambda: make_schedule({"name": "linear", "stop": 1.0}),
            ValueError,
            "make_schedule: option of linear must be one of end, start, got 'stop'.",
        ),
        (
            lambda: make_schedule(None),
            TypeError,
            "make_schedule: schedule must be a number, a name, a dict or a schedule, got NoneType.",
        ),
        (lambda: Constant(0), ValueError, "Constant: temperature must be a finite number greater than 0, got 0."),
        (
            lambda: Linear(2.0, -1.0),
            ValueError,
            "Linear: temperature must be a finite number greater than 0, got -1.0.",
        ),
        (
            lambda: Exponential(math.inf, 1.0),
            ValueError,
            "Exponential: temperature must be a finite number greater than 0, got inf.",
        ),
        (lambda: Released2D(0), ValueError, "Released2D: num_epochs must be a whole number of at least 1, got 0."),
        (lambda: Released3D(1.5), ValueError, "Released3D: num_epochs must be a whole number of at least 1, got 1.5."),
        (
            lambda: Linear()(1.01),
            ValueError,
            "Linear: progress must lie in [0, 1], got 1.01. It is the share of training that is done.",
        ),
        (
            lambda: Released2D()(math.nan),
            ValueError,
            "Released2D: progress must lie in [0, 1], got nan. It is the share of training that is done.",
        ),
    ],
)
def test_error_texts(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
