"""Tests of the text of a sharding report."""

from jax.sharding import PartitionSpec as P

from vlp_jax.parallel import ParameterSharding, ShardingReport


def parameter(path, parts=1, **options):
    return ParameterSharding(path, (4, 8), P("fsdp", None), 2048, 2048 // parts, **options)


def test_small_tree_literal():
    report = ShardingReport(
        "data=1, fsdp=2, tensor=1",
        (parameter("a/kernel", 2), ParameterSharding("a/bias", (3,), P(None), 12, 12)),
        ("vocab",),
    )
    assert report.text() == "\n".join(
        [
            "mesh data=1, fsdp=2, tensor=1",
            "2 parameters, 2.0 KiB; per device 1.0 KiB, of which 12.0 B replicated",
            "  parameter  shape   split over  per device",
            "  a/kernel   [4, 8]  fsdp ·      1.0 KiB",
            "  a/bias     [3]     replicated  12.0 B",
            "rules that no parameter uses: vocab",
        ]
    )


def test_big_tree_is_grouped_over_layers():
    paths = [f"text/layer_{i}/{name}/kernel" for i in range(12) for name in ("key", "fc1", "fc2")]
    report = ShardingReport("m", tuple(parameter(p, 2) for p in paths), ())
    lines = report.text().splitlines()
    assert len(lines) == 6
    assert lines[3].split() == ["text/layer_*/key/kernel", "12", "24.0", "KiB", "12.0", "KiB"]


def test_very_many_groups_stay_short():
    modules = tuple(parameter(f"module{i}x/kernel") for i in range(43))
    report = ShardingReport("m", modules, ())
    assert len(report.text().splitlines()) < 22
    assert "and 27 more groups" in report.text()


def test_equal_fallbacks_of_layers_are_counted():
    fallback = ("dimension 1 \"heads\" of size 5 by 'tensor'=2",)
    layers = tuple(parameter(f"layer_{i}/k", fallbacks=fallback) for i in range(3))
    text = ShardingReport("m", layers, ()).text()
    assert "  layer_*/k: dimension 1 \"heads\" of size 5 by 'tensor'=2 (×3)" in text


def test_no_parameters():
    assert "0 parameters, 0.0 B" in ShardingReport("m", (), ()).text()
