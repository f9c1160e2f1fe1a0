"""The papers' settings, as numbers."""

import pytest

from hypjax.config import assembly, counted, initialization, models, optimization, recipes
from hypjax.config.images import create_view
from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments
from hypjax.data.errors import UsageError

LOSSES = {"hyp_vit": "pairwise_cross_entropy", "hyp_uml": "uncertainty_contrastive", "hier": "pairwise_cross_entropy"}


def settings(method, words):
    config = default_settings()
    config.name = method
    config.loss.name = LOSSES.get(method, "margin")
    if method == "hier":
        config.regularizer = "hier"
    return apply_arguments(config, words)


@pytest.mark.parametrize(
    ("method", "data", "classes", "samples", "steps", "resize"),
    [
        ("hyp_vit", "cub", 100, 9, 50, 256),
        ("hyp_vit", "cars", 98, 9, 300, 224),
        ("hyp_vit", "sop", 450, 2, 5000, 224),
        ("hyp_vit", "in_shop", 450, 2, 3200, 224),
        ("hyp_uml", "sop", 450, 2, 5000, 224),
        ("hier", "cub", 90, 2, 3200, 256),
        ("hier", "cars", 90, 2, 4400, 256),
        ("hier", "sop", 90, 2, 49500, 256),
        ("hier", "in_shop", 90, 2, 21450, 256),
    ],
)
def test_batches_and_steps_are_the_papers(method, data, classes, samples, steps, resize):
    config = settings(method, f"data={data},encoder=vit_s16,weights=w.npz")
    found = (config.batch.most_classes, config.batch.samples_per_class, config.steps, config.data.eval_resize)
    assert found == (classes, samples, steps, resize)
    assert (config.data.image_size, config.data.eval_image_size, config.augment.flip) == (224, 224, True)
    assert config.encoder.frozen == ("encoder/patch_embed/",)
    assert config.head.dim == 128


@pytest.mark.parametrize(
    ("method", "data", "encoder", "rate", "decay", "head", "weight_decay", "clip"),
    [
        ("hyp_vit", "cub", "vit_s16", 3e-5, 0.01, 1, 0.01, 3),
        ("hyp_vit", "sop", "deit_s16_distilled", 3e-5, 0.01, 1, 0.01, 3),
        ("hyp_vit", "sop", "dino_vits16", 1e-5, 0.01, 1, 0.01, 3),
        ("hier", "cub", "deit_s16", 1e-5, 0.01, 1, 0.01, 0),
        ("hier", "cars", "dino_s16", 5e-6, 0.01, 1, 0.01, 0),
        ("hier", "sop", "vit_s16", 1e-5, 1e-4, 100, 1e-4, 0),
        ("hier", "in_shop", "dino_vits16", 5e-6, 1e-4, 100, 1e-4, 0),
        ("hier", "cars", "resnet50", 1e-4, 0.01, 1, 0.01, 0),
        ("hier", "in_shop", "resnet50", 6e-4, 1e-4, 1, 1e-4, 0),
    ],
)
def test_optimizers_are_the_papers(method, data, encoder, rate, decay, head, weight_decay, clip):
    chosen = settings(method, f"data={data},encoder={encoder}").optimizer
    assert (chosen.learning_rate, chosen.weight_decay, chosen.head_multiplier) == (rate, decay, head)
    assert (chosen.schedule, chosen.weight_decay, chosen.clip_norm) == ("constant", weight_decay, clip)


def test_hier_is_proxy_anchor_with_512_proxies():
    config = settings("hier", "data=cars,encoder=resnet50")
    assert (config.loss.name, config.hier.proxies, config.hier.weight) == ("proxy_anchor", 512, 0.5)
    assert (config.optimizer.proxy_multiplier, config.optimizer.hier_multiplier) == (1e4, 50)
    assert (config.head.dim, config.head.normalize, config.augment.scale) == (512, "layer", (0.08, 1.0))
    assert config.encoder.frozen == ()


def test_the_learning_rate_of_a_resnet_falls_in_steps():
    config = settings("hier", "data=cars,encoder=resnet50,steps=1000")
    schedule = optimization.create_schedule(config)
    # One percent of warm-up, then half after every tenth.
    assert [float(schedule(step)) for step in (99, 100, 199, 999)] == pytest.approx([1e-4, 5e-5, 5e-5, 1e-4 / 2**9])


@pytest.mark.parametrize("words", ["data=cub,loss=margin,steps=7", "steps=7,loss=margin,data=cub"])
def test_what_is_asked_for_has_the_last_word(words):
    config = settings("hier", words + ",encoder=vit_s16,data.image_size=96,optimizer.learning_rate=1e-3,quick")
    assert (config.loss.name, config.optimizer.learning_rate) == ("margin", 1e-3)
    assert (config.steps, config.data.eval_resize, config.evaluation.every) == (7, 0, 6)  # over what quick brought


def test_other_data_and_other_methods_keep_what_is_theirs():
    plain = settings("hier", "encoder=vit_s16")
    assert (plain.loss.name, plain.steps, plain.data.image_size) == ("pairwise_cross_entropy", 420, 96)
    eps = settings("eps", "data=cub,encoder=dino_vits16,miner=easy_positive,batch.samples_per_class=4")
    assert (eps.loss.name, eps.steps, eps.batch.samples_per_class) == ("margin", 3200, 4)
    assert eps.optimizer.learning_rate == 5e-6
    lite = settings("hier", "data=cub")
    assert (lite.optimizer.learning_rate, lite.data.image_size, lite.hier.proxies) == (5e-4, 224, 512)


def test_a_sphere_takes_the_papers_own_temperature():
    assert settings("hyp_vit", "data=cub,geometry=sphere").loss.temperature == 0.1
    assert settings("hyp_vit", "geometry=poincare,data=cub").loss.temperature == 0.2


def test_the_papers_crop_reaches_evaluation():
    view = create_view(settings("hyp_vit", "data=cub,encoder=vit_s16"))
    assert (view.size, view.resize) == (224, 256)
    with pytest.raises(UsageError, match="must be the same"):
        models.create_model(settings("hyp_vit", "data=cub,encoder=vit_s16,data.eval_image_size=240"))


@pytest.mark.parametrize("data", recipes.KS)
def test_copies_of_tfds_are_trained_alike(data):
    name = next(name for name, bare in recipes.TFDS.items() if bare == data)
    copy, original = settings("hier", f"data=tfds:{name}:1.0.0"), settings("hier", f"data={data}")
    copy.data.name = data
    assert copy == original


def test_published_groups_are_a_tree():
    parts = counted.splits_of(settings("tree", "data=sop"))
    assert [part.ancestors.shape for part in parts] == [(10186, 1), (1132, 1), (11316, 1)]
    assert all(len(part.ancestor_names[0]) == 12 == part.ancestors.max() + 1 for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "encoder"),
    [("hyp_vit", "vit_s16"), ("hyp_uml", "dino_vits16"), *[("hier", name) for name in (*recipes.ENCODERS, "vit_ti8")]],
)
def test_every_recipe_builds(method, encoder):
    config = settings(method, f"data=cub,encoder={encoder}")
    setup = assembly.assemble(config, counted.splits_of(config))
    state = initialization.abstract_state(config, setup)
    patches = {"encoder/patch_embed/kernel", "encoder/patch_embed/bias"}
    assert set(state.frozen) == (patches if encoder in recipes.TRANSFORMERS else set())
    assert state.params["head/kernel"].shape[1] == config.head.dim
    assert ("objective/hier_tangents" in state.params) == (method == "hier")
