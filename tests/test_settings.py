import pytest

from hypjax.errors import UsageError
from hypjax.settings import ARGUMENTS, apply_arguments, default_settings


def test_arguments_pick_the_large_things():
    config = apply_arguments(default_settings(), "data=folder,data_dir=/photos,geometry=sphere,loss=margin")
    assert (config.data.name, config.data.dir, config.geometry, config.loss.name) == (
        "folder",
        "/photos",
        "sphere",
        "margin",
    )


def test_quick_is_a_smoke_run_that_still_exercises_everything():
    config = apply_arguments(default_settings(), "quick")
    assert config.steps >= 10
    assert config.steps // config.checkpoint.every >= 2
    assert config.steps // config.evaluation.every >= 2
    assert config.log.every == 1


def test_quick_works_wherever_it_stands():
    assert apply_arguments(default_settings(), "geometry=sphere,quick") == apply_arguments(
        default_settings(), "quick,geometry=sphere"
    )


@pytest.mark.parametrize("words", ["geometri=sphere", "slow", "quick=false", "=x"])
def test_unknown_words_are_refused_with_what_exists(words):
    with pytest.raises(UsageError, match=r"there are: quick, frozen, data="):
        apply_arguments(default_settings(), words)


def test_any_single_setting_goes_by_its_path():
    words = "loss.temperature=0.3,curvature=1,learn_curvature=true,steps=7,head.clip=hard"
    config = apply_arguments(default_settings(), words)
    found = (config.loss.temperature, config.curvature, config.learn_curvature, config.steps, config.head.clip)
    assert found == (0.3, 1.0, True, 7, "hard")


@pytest.mark.parametrize("word", ["loss.temperatur=1", "hybrid=1", "head.clip.x=1", "augment.scale=1", "no.such=1"])
def test_a_path_to_no_single_setting_is_refused(word):
    with pytest.raises(UsageError, match="no single setting"):
        apply_arguments(default_settings(), word)


@pytest.mark.parametrize("word", ["steps=1.5", "learn_curvature=yes", "loss.temperature=warm"])
def test_a_single_setting_of_the_wrong_type_is_refused(word):
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        apply_arguments(default_settings(), word)


@pytest.mark.parametrize("key", ARGUMENTS)
def test_a_key_needs_a_value(key):
    with pytest.raises(UsageError, match=f"{key}=..."):
        apply_arguments(default_settings(), key)
