"""Names are grouped under the shortest prefix that only they have."""

from vlp_jax.weights.name_groups import groups


def test_whole_parts_and_layers_become_one_group():
    every = [f"fusion/layer_{i}/{part}/kernel" for i in (0, 1, 12) for part in ("self", "cross")]
    every += ["vision/a", "vision/b/c", "text/a", "text/b"]
    cross = [name for name in every if "cross" in name]
    assert groups([*cross, "vision/a", "vision/b/c", "text/b"], every) == [
        "fusion/layer_*/cross (3)",
        "text/b",
        "vision (2)",
    ]


def test_single_layers_are_named():
    every = [f"encoder.layer.{i}.{x}" for i in range(3) for x in ("weight", "bias")]
    assert groups(every[4:], every) == ["encoder.layer.2 (2)"]
    assert groups([], every) == []


def test_a_name_that_is_the_beginning_of_another_is_told_apart():
    assert groups(["a.b"], ["a.b", "a.bc"]) == ["a.b"]


def test_many_groups_are_cut():
    names = [f"{letter}.x" for letter in "abcdefghij"]
    assert groups(names, names)[-2:] == ["h", "and 2 more groups"]
