import pytest

from hypjax.config.models import create_encoder
from hypjax.config.settings import default_settings
from hypjax.config.words import ARGUMENTS, apply_arguments
from hypjax.data.errors import UsageError


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
    with pytest.raises(UsageError, match=r"there are: quick, frozen, dry, data="):
        apply_arguments(default_settings(), words)


def test_any_single_setting_goes_by_its_path():
    words = "loss.temperature=0.3,curvature=1,learn_curvature=true,steps=7,head.clip=hard"
    config = apply_arguments(default_settings(), words)
    found = (config.loss.temperature, config.curvature, config.learn_curvature, config.steps, config.head.clip)
    assert found == (0.3, 1.0, True, 7, "hard")


@pytest.mark.parametrize("word", ["loss.temperatur=1", "hybrid=1", "head.clip.x=1", "no.such=1"])
def test_a_path_to_no_single_setting_is_refused(word):
    with pytest.raises(UsageError, match="no single setting"):
        apply_arguments(default_settings(), word)


def test_several_values_are_asked_for_where_they_can_be_given():
    with pytest.raises(UsageError, match=r"has several values: give it as --config\.evaluation\.figures="):
        apply_arguments(default_settings(), "evaluation.figures=nmi")


@pytest.mark.parametrize("words", ["encoder=dinov2_vits14,{}", "{},encoder=dinov2_vits14"])
def test_a_size_of_the_encoder_goes_by_its_path_in_any_order(words):
    sizes = "encoder.sizes.pool=mean,encoder.sizes.depth=3,encoder.sizes.layer_scale=false"
    config = apply_arguments(default_settings(), words.format(sizes))
    assert config.encoder.sizes.to_dict() == {"pool": "mean", "depth": 3, "layer_scale": False}
    with pytest.raises(UsageError, match=r"encoder\.sizes\.depth=deep: this is no int"):
        apply_arguments(default_settings(), words.format("encoder.sizes.depth=deep"))
    with pytest.raises(ValueError, match="dinov2_vits14 has no size nope; it has patch, "):
        create_encoder(apply_arguments(default_settings(), words.format("encoder.sizes.nope=3")))
    with pytest.raises(UsageError, match=r"several values: give it as --config.encoder.sizes='{\"depths\": \(3, "):
        apply_arguments(default_settings(), "encoder=convnext_tiny,encoder.sizes.depths=3")


@pytest.mark.parametrize("word", ["steps=1.5", "learn_curvature=yes", "loss.temperature=warm"])
def test_a_single_setting_of_the_wrong_type_is_refused(word):
    with pytest.raises(UsageError, match=word.partition("=")[0]):
        apply_arguments(default_settings(), word)


@pytest.mark.parametrize("key", ARGUMENTS)
def test_a_key_needs_a_value(key):
    with pytest.raises(UsageError, match=f"{key}=..."):
        apply_arguments(default_settings(), key)


def test_photographs_are_larger_and_may_be_flipped():
    drawings, photographs = (
        apply_arguments(default_settings(), words) for words in ("", "data=folder,data_dir=/photos")
    )
    assert (drawings.data.image_size, drawings.augment.flip) == (64, False)
    assert (photographs.data.image_size, photographs.data.eval_image_size) == (128, 160)
    assert (photographs.augment.flip, photographs.augment.tint) == (True, 0.0)
    kept = apply_arguments(default_settings(), "data=folder,data.image_size=96,augment.flip=false")
    assert (kept.data.image_size, kept.augment.flip) == (96, False)


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ("data=emoji", (64, 96, 0)),
        ("encoder=vit_s16", (96, 96, 0)),  # whose positions are those of one size
        ("encoder=vit_s16,weights=w.npz", (96, 96, 0)),  # drawings have no more pixels
        ("data=folder,encoder=vit_s16,weights=w.npz", (224, 224, 248)),
        ("encoder=facebook/dinov2-small", (98, 98, 0)),  # whole patches of 14
        ("encoder=dinov2_vits14,quick", (28, 28, 0)),
        ("data=folder,encoder=dinov3_vits16", (128, 160, 0)),  # turns by its positions, at any size
        ("data=folder,encoder=vit_large_patch16_siglip_384.webli,weights=w.npz", (384, 384, 384)),  # by its name
        ("weights=w.pth,encoder=resnet50,data=folder", (224, 224, 256)),
        ("data=folder,encoder=dino_vits16,weights=hf:a/b,data.eval_resize=0", (224, 224, 0)),
    ],
)
def test_a_checkpoint_brings_its_size_of_image(words, sizes):
    data = apply_arguments(default_settings(), words).data
    assert (data.image_size, data.eval_image_size, data.eval_resize) == sizes


def test_a_checkpoint_of_an_unknown_encoder_is_refused():
    with pytest.raises(UsageError, match="no encoder 'vit_b17'; there are"):
        apply_arguments(default_settings(), "data=folder,encoder=vit_b17,weights=w.npz")


@pytest.mark.parametrize(
    ("words", "kernel", "init"),
    [
        ("", "kept", "pca"),
        ("data=folder,data_dir=/photos", "kept", "pca"),
        ("encoder=vit_s16,weights=w.npz", "kept", "pca"),
        ("encoder=vit_s16", "trained", "orthogonal"),  # a random encoder has no directions worth keeping
        ("frozen", "trained", "pca"),  # or nothing would learn
        ("frozen,head.radius=learned", "kept", "pca"),  # but a doubt
        ("data=features,data_dir=rows.npz,uncertainty=learned", "kept", "pca"),
        ("data=cub,encoder=vit_s16,weights=w.npz", "trained", "orthogonal"),  # as in the paper
        ("data=cub,encoder=vit_s16,weights=w.npz,head=principal", "kept", "pca"),
        ("head=trained,data=folder", "trained", "pca"),
        ("head.kernel=residual", "residual", "pca"),
    ],
)
def test_the_head_is_kept_where_a_pretrained_encoder_is_tuned_on_ones_own_pictures(words, kernel, init):
    config = default_settings()
    config.name = "hyp_vit"
    config = apply_arguments(config, words)
    assert (config.head.kernel, config.head.init) == (kernel, init)


def test_an_unknown_head_is_refused():
    with pytest.raises(UsageError, match="head 'kept' is unknown; there are: discriminant, principal, trained"):
        apply_arguments(default_settings(), "head=kept")


@pytest.mark.parametrize(
    ("words", "refit"),
    [
        ("", True),
        ("head=principal", False),
        ("regularizer=hier", False),  # its proxies lie among the embeddings
        ("regularizer=nodes+cones", False),
        ("loss.proxies_as=points", False),
        ("frozen", False),
        ("frozen,head.radius=learned", True),
        ("data=cub,encoder=vit_s16,weights=w.npz", False),
    ],
)
def test_the_head_is_fitted_to_what_was_learned_unless_something_hangs_on_it(words, refit):
    assert apply_arguments(default_settings(), words).head.refit == refit
