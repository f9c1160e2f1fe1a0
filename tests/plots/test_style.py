from hypjax.plots import style


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path):
    picture = style.figure(2.0, 1.0)
    picture.suptitle("犬 🐕 كلب")  # warnings are errors in the tests
    style.save(picture, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 500
    assert style.RC["font.family"][0] == "DejaVu Sans"
