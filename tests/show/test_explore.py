import hashlib
import json
import re
import shutil
import subprocess
from base64 import b64encode
from html import unescape
from pathlib import Path

import jax
import numpy as np
import pytest

from hypjax import show
from hypjax.data.errors import UsageError
from hypjax.geometry import lorentz, poincare
from hypjax.show import explore, pages

EXPLORE = Path(show.__file__).parent / "explore"


def ball(n=60, d=8, c=0.5, seed=0):
    """Points of three groups at distances up to 8, and the distances."""
    generator = np.random.default_rng(seed)
    group = np.arange(n) % 3
    directions = 3 * np.eye(d)[group % d] + generator.normal(size=(n, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distances = generator.uniform(0.1, 8, n)
    return np.tanh(np.sqrt(c) * distances / 2)[:, None] * directions / np.sqrt(c), group, distances


def laid(points, group, **options):
    chosen = {"geometry": "poincare", "curvature": 0.5, "levels": [("kind", group)]} | options
    paths = [f"{of}/{i}.png" for i, of in enumerate(group)]
    return explore.world(points, paths, np.linspace(0, 1, len(points)), **chosen)


def from_origin(world, c):
    return 2 / np.sqrt(c) * np.arctanh(np.hypot(world["x"], world["y"]))


def test_a_world_keeps_distances_from_the_origin_and_is_plain():
    points, group, distances = ball()
    world = laid(points, group)
    np.testing.assert_allclose(from_origin(world, 0.5), distances, atol=1e-5)
    assert json.loads(json.dumps(world)) == world
    assert world["levels"] == [{"name": "kind", "names": ["0", "1", "2"], "codes": group.tolist()}]
    angle = np.arctan2(world["y"], world["x"])
    inner, outer = (np.abs(np.exp(1j * angle[group == g]).mean()) for g in (0, 1))
    assert min(inner, outer) > 0.7  # groups gather in sectors


def test_a_query_lies_where_the_same_point_lies():
    points, group, _ = ball()
    world = json.loads(json.dumps(laid(points, group)))
    for i in (0, 17):
        assert explore.place(points[i], world) == pytest.approx((world["x"][i], world["y"][i]), abs=1e-6)


@pytest.mark.slow
def test_both_models_of_hyperbolic_space_are_laid_out_alike():
    with jax.enable_x64(True):
        points, group, _ = ball(c=0.5)
        sheet = np.asarray(lorentz.from_poincare(jax.numpy.asarray(points), c=0.5))
    one, other = laid(points, group), laid(sheet, group, geometry="lorentz")
    np.testing.assert_allclose(np.abs(one["x"]), np.abs(other["x"]), atol=1e-6)
    with pytest.raises(ValueError, match="needs a curvature"):
        laid(points, group, curvature=None)


def test_flat_points_keep_the_order_of_their_norms_within_the_disk():
    points, group, _ = ball()
    world = laid(100 * points, group, geometry="euclidean", curvature=None)
    radius = np.hypot(world["x"], world["y"])
    assert np.quantile(2 * np.arctanh(radius), 0.98) == pytest.approx(4, abs=1e-3)
    ratio = 2 * np.arctanh(radius) / np.linalg.norm(points, axis=1)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert "up to one factor" in world["how"]
    sphere = points / np.linalg.norm(points, axis=1, keepdims=True)
    world = laid(sphere, group, geometry="sphere", curvature=None)
    assert np.hypot(world["x"], world["y"]).max() < 1
    assert "projected" in world["how"]


def test_of_many_points_evenly_chosen_ones_are_kept_with_their_groups():
    points, group, distances = ball(n=60)
    world = laid(points, group, limit=20)
    assert len(world["paths"]) == len(world["x"]) == len(world["levels"][0]["codes"]) == 20
    assert (world["paths"][0], world["paths"][-1]) == ("0/0.png", "2/59.png")
    rows = [int(Path(path).stem) for path in world["paths"]]
    np.testing.assert_allclose(from_origin(world, 0.5), distances[rows], atol=1e-5)
    assert [world["levels"][0]["names"][code] for code in world["levels"][0]["codes"]] == [str(g) for g in group[rows]]


def test_folders_are_levels():
    points, _, _ = ball(n=4)
    paths = ["birds/owl/1.png", "birds/jay/1.png", "fish/cod/1.png", "fish/cod/2.png"]
    options = {"geometry": "poincare", "curvature": 0.5}
    world = explore.world(points, paths, np.ones(4), **options)
    assert [level["name"] for level in world["levels"]] == ["class", "top folder"]
    assert [world["levels"][0]["names"][code] for code in world["levels"][0]["codes"]] == [
        "birds/owl",
        "birds/jay",
        "fish/cod",
        "fish/cod",
    ]
    assert explore.world(points, ["a.png", "b.png", "c.png", "d.png"], np.ones(4), **options)["levels"] == []
    with pytest.raises(ValueError, match="0 points"):
        explore.world(points[:0], [], [], **options)
    with pytest.raises(ValueError, match="a level names the group of each of 4 points, but kind names 3"):
        explore.world(points, list("abcd"), np.ones(4), levels=[("kind", "xyz")], **options)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_isometries_are_those_of_the_ball():
    with jax.enable_x64(True):
        points = np.concatenate([ball(n=30, d=2, c=1.0)[0], np.zeros((1, 2)), [[0.999, 0.0], [-0.999, 0.0]]])
        a, b = (np.repeat(points, len(points), 0), np.tile(points, (len(points), 1)))
        added = np.asarray(poincare.mobius_add(jax.numpy.asarray(a), jax.numpy.asarray(b), c=1.0))
        far = np.asarray(poincare.dist(jax.numpy.asarray(a), jax.numpy.asarray(b), c=1.0))
    found = node(
        """
        const { a, b } = input;
        const added = a.map((p, i) => g.apply(g.translation(...p), ...b[i]));
        const far = a.map((p, i) => g.distance(...p, ...b[i]));
        const moved = a.map((p, i) => g.apply(g.transfer(...p, ...b[i]), ...p));
        const lines = a.map((p, i) => g.geodesic(...p, ...b[i], 4));
        let walk = g.IDENTITY;
        for (let i = 0; i < 30000; i++) {
          const [x, y] = b[i % 900];
          walk = g.compose(g.transfer(0.9 * x, 0.9 * y, 0.1, -0.2), walk);
          const home = g.apply(walk, 0, 0);
          if (Math.hypot(...home) > 0.999) walk = g.compose(g.transfer(...home, 0, 0), walk);
        }
        const drift = walk[0] ** 2 + walk[1] ** 2 - walk[2] ** 2 - walk[3] ** 2 - 1;
        return { added, far, moved, lines, back: g.compose(g.inverse(walk), walk), drift: drift / (walk[2] ** 2 + 1) };
        """,
        a=a.tolist(),
        b=b.tolist(),
    )
    gap = 1 - np.linalg.norm(added, axis=1)
    assert np.abs(np.array(found["added"]) - added)[gap > 1e-9].max() < 1e-12
    np.testing.assert_allclose(found["far"], far, rtol=1e-9, atol=1e-12)
    assert np.abs(np.array(found["moved"]) - b).max() < 1e-9
    assert abs(found["drift"]) < 1e-12
    np.testing.assert_allclose(found["back"], [1, 0, 0, 0], atol=1e-6)
    with jax.enable_x64(True):
        lines = jax.numpy.asarray(found["lines"])
        steps = np.asarray(poincare.dist(lines[:, 1:], lines[:, :-1], c=1.0))
    np.testing.assert_allclose(steps, np.repeat(far[:, None] / 4, 4, 1), rtol=1e-6, atol=1e-9)


def node(body, **given):
    """What JavaScript makes of some values, with the module of isometries as `g`."""
    module = f"data:text/javascript;base64,{b64encode((EXPLORE / 'geometry.js').read_bytes()).decode()}"
    code = (
        f"import * as g from {json.dumps(module)}; const input = JSON.parse(await new Response(process.stdin).text());"
    )
    code += f"console.log(JSON.stringify((() => {{ {body} }})()));"
    command = ["node", "--input-type=module", "--eval", code]
    return json.loads(
        subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True).stdout
    )


def test_the_page_is_whole_and_runs_nothing_but_its_own_script():
    points, group, _ = ball()
    world = laid(points, group)
    world["paths"][0] = "</script><script>alert(1)</script>"
    world["thumbnails"] = explore.thumbnails(lambda i: np.full((9, 7, 3), i, np.uint8) if i % 2 else None, 60, most=10)
    whole = explore.page(world, title="<b>")
    data, script = re.findall(r"<script[^>]*>(.*?)</script>", whole, re.DOTALL)
    assert json.loads(data) == world
    assert f"script-src 'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in whole
    assert not re.search(r"https?://|@import|^(im|ex)port |<b>", whole, re.MULTILINE)
    assert world["thumbnails"]["of"] == [i for i in explore.evenly(60, 10) if i % 2]


def test_a_notebook_shows_points_files_and_runs(tmp_path):
    points, group, _ = ball(n=12, c=1.0)
    shown = show.explore(
        points.astype(np.float32), levels=[("kind", group)], image=lambda i: np.zeros((8, 8, 3), np.uint8)
    )
    assert len(shown.world["neighbors"]) == 12
    assert all(len(set(row) - {i}) == 6 for i, row in enumerate(shown.world["neighbors"]))
    frame = shown._repr_html_()
    assert re.fullmatch(r'<iframe [^<>]* srcdoc="[^"]*"></iframe>', frame)
    assert unescape(frame.partition('srcdoc="')[2]).startswith("<!DOCTYPE html>")
    about = {"geometry": "poincare", "curvature": 1.0, "root": str(tmp_path)}
    paths = np.array([f"{g}/{i}.png" for i, g in enumerate(group)])
    np.savez(
        tmp_path / "p.npz",
        points=points.astype(np.float32),
        uncertainty=group / 3,
        paths=paths,
        about=json.dumps(about),
    )
    again = show.explore(tmp_path / "p.npz").world
    assert (again["x"], again["neighbors"]) == (shown.world["x"], shown.world["neighbors"])
    assert again["thumbnails"]["of"] == []
    with pytest.raises(UsageError, match=r"holds no disk\.json"):
        show.explore(tmp_path)
    with pytest.raises(UsageError, match=r"none\.npz does not exist; what is shown"):
        show.explore(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"milvus:big\.db is a database; what is shown"):
        show.explore("milvus:big.db")
    (tmp_path / "disk.json").write_text(json.dumps(again))
    show.explore(tmp_path).save(tmp_path / "page.html")
    pages.report(tmp_path / "report.html", {}, {}, pictures=tmp_path, title="t", status="s")
    assert "Walk in the disk" in (tmp_path / "report.html").read_text()
    assert "standalone();" in (tmp_path / "page.html").read_text()
