import pytest

from hypjax.data.errors import UsageError
from hypjax.run.comparison import check, find_entries, read_entry, read_seeds

QUICK = "configs/hyp_vit.py:quick"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("configs/hyp_vit.py", "hyp_vit"),
        ("configs/hyp_vit.py:geometry=sphere,distance=cosine", "hyp_vit-geometry=sphere,distance=cosine"),
        ("configs/hyp_vit.py:data=folder,data_dir=/a b/c:d/", "hyp_vit-data=folder,data_dir=-a-b-c-d"),
        ("sphere=configs/hyp_vit.py:geometry=sphere", "sphere"),
        ("a.b+c=configs/hyp_vit.py", "a.b+c"),
    ],
)
def test_a_config_is_named_by_itself_or_by_hand(word, name):
    assert read_entry(word, []).name == name


def test_arguments_and_overrides_reach_the_settings():
    entry = read_entry(
        f"x={QUICK},geometry=sphere", ["--config.head.dim=16", "--config.data.fractions=(0.5, 0.2, 0.3)"]
    )
    config = entry.config
    assert (config.geometry, config.steps, config.head.dim, config.data.fractions) == (
        "sphere",
        12,
        16,
        (0.5, 0.2, 0.3),
    )


@pytest.mark.parametrize(
    ("word", "override", "message"),
    [
        ("configs/none.py", None, "config file 'configs/none.py' does not exist"),
        ("a=configs/none.py:quick", None, "config file 'configs/none.py' does not exist"),
        ("configs/hyp_vit.py:fast", None, "'fast' is unknown; there are: .*quick"),
        (QUICK, "--config.sed=1", r"unknown setting 'sed'; did you mean seed\? there are: "),
        (QUICK, "--config.steps=many", "many"),
        ("../up=configs/hyp_vit.py", None, "does not exist"),
        ("..=configs/hyp_vit.py", None, "'..' cannot name a folder"),
        ("=configs/hyp_vit.py", None, "'' cannot name a folder"),
        ("a b=configs/hyp_vit.py", None, "'a b' cannot name a folder"),
        ("", None, "cannot name a folder"),
    ],
)
def test_bad_configs_are_explained_in_one_line(word, override, message):
    with pytest.raises(UsageError, match=message) as caught:
        read_entry(word, [override] if override else [])
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(("text", "seeds"), [("0,1,2", [0, 1, 2]), ("7", [7]), ("3, 1", [3, 1])])
def test_seeds(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "0,,1", "-1", "1.5", "0,0", "1,01", "²"])
def test_bad_seeds_are_refused(text):
    with pytest.raises(UsageError, match=f"not '{text}'"):
        read_seeds(text)


def test_what_cannot_be_compared_is_refused():
    vit, sphere = read_entry(QUICK, []), read_entry(f"{QUICK},geometry=sphere", [])
    check([vit, sphere], None)
    check([vit, sphere], sphere.name)
    for entries, baseline, message in (
        ([], None, "no configs given"),
        ([vit, sphere], "none", f"baseline 'none' is unknown; there are: {vit.name}, {sphere.name}"),
        ([vit, vit._replace(config=sphere.config)], None, f"two configs are named '{vit.name}'"),
        ([vit, read_entry(f"b={QUICK},geometry=poincare", [])], None, "'hyp_vit-quick' and 'b' have the same settings"),
    ):
        with pytest.raises(UsageError, match=message):
            check(entries, baseline)


def test_a_workdir_says_what_it_holds(finish, tmp_path):
    for name, seed in (("b", 2), ("b", 0), ("a", 10)):
        finish(name, seed, {})
    entries, seeds = find_entries(tmp_path)
    assert ([entry.name for entry in entries], seeds) == (["a", "b"], [0, 2, 10])
    assert entries[1].config.seed == 0
    with pytest.raises(UsageError, match="holds no runs"):
        find_entries(tmp_path / "a")
