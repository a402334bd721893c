"""Tests of what is read out of compiled programs, against what is known of small ones."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vlp_jax.cli.measure.hlo import array_bytes, read_program
from vlp_jax.cli.measure.hlo_collectives import traffic
from vlp_jax.cli.measure.hlo_products import product_flops
from vlp_jax.parallel import make_mesh

LAYERS, BATCH, WIDTH = 5, 16, 32


def text_of(function, *arguments) -> str:
    return jax.jit(function).lower(*arguments).compile().as_text()


def layers(scanned: bool):
    def run(weights, x):
        step = lambda h, w: (jnp.tanh(h @ w), None)
        return jax.lax.scan(step, x, weights, unroll=1 if scanned else LAYERS)[0].sum()

    return jax.grad(run)


@pytest.mark.parametrize("scanned", [True, False])
def test_a_loop_counts_as_often_as_it_runs(scanned):
    weights, x = jnp.ones((LAYERS, WIDTH, WIDTH)), jnp.ones((BATCH, WIDTH))
    found = product_flops(read_program(text_of(layers(scanned), weights, x)))
    # Forward, by weights, and by states of all but the first layer, whose input has no gradient.
    products = 2 * LAYERS + (LAYERS if scanned else LAYERS - 1)
    assert found == products * 2 * BATCH * WIDTH**2


def test_products_are_counted_as_xla_counts_them():
    def product(a, b, kernel, image):
        patches = jax.lax.conv_general_dilated(
            image, kernel, (2, 1), [(1, 2), (3, 0)], (1, 2), (2, 1),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return jnp.einsum("bqd,bkd->bqk", a, b), patches

    shapes = (2, 6, 8), (2, 5, 8), (3, 2, 4, 7), (2, 9, 11, 4)
    arguments = [jnp.ones(shape) for shape in shapes]
    compiled = jax.jit(product).lower(*arguments).compile()
    assert product_flops(read_program(compiled.as_text())) == compiled.cost_analysis()["flops"]


GPU_PROGRAM = """
HloModule step

ENTRY %main (a: f32[64,32], b: f32[16,32], q: bf16[2,6,4,8], k: bf16[2,10,4,8]) -> f32[64,16] {
  %a = f32[64,32]{1,0} parameter(0)
  %b = f32[16,32]{1,0} parameter(1)
  %q = bf16[2,6,4,8]{3,2,1,0} parameter(2)
  %k = bf16[2,10,4,8]{3,2,1,0} parameter(3)
  %read = (bf16[2,4,6,8]{3,1,2,0}, u8[0]{0}) custom-call(%q, %k, %k), """ + (
    """custom_call_target="__cudnn$fmhaScaleBiasSoftmax", backend_config={}
  %back = (bf16[2,4,6,8]{3,1,2,0}, u8[0]{0}) custom-call(%q, %k, %k), """
    """custom_call_target="__cudnn$fmhaSoftmaxBackward", backend_config={}
  %other = f32[8]{0} custom-call(%a), custom_call_target="Sharding"
  ROOT %product = (f32[64,16]{1,0}, s8[4096]{0}) custom-call(%a, %b), """
    """custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":"""
    """{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"""
    """"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":[]}}}
}
"""
)


def test_products_of_libraries_on_gpus():
    attention = 2 * 2 * 4 * 6 * 10 * 8  # batch, heads, queries, keys, size
    found = product_flops(read_program(GPU_PROGRAM))
    assert found == 2 * 64 * 16 * 32 + (2 + 5) * attention


def test_traffic_of_a_sharded_product(devices8):
    mesh = make_mesh(4, 2, devices=devices8)
    place = lambda *names: NamedSharding(mesh, PartitionSpec(*names))
    x = jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32, sharding=place("data", "fsdp"))
    w = jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32, sharding=place("fsdp"))
    (found,) = traffic(read_program(text_of(lambda x, w: x @ w, x, w)), 8, lambda device: 0)
    assert (found.kind, found.net, found.count) == ("all-reduce", "ICI", 1)
    assert found.bytes == 2 * 1 / 2 * (BATCH // 4 * WIDTH * 4)


@pytest.mark.parametrize(
    ("slice_of", "net"), [(lambda device: device // 4, "ICI"), (lambda device: device % 2, "DCN")]
)
def test_what_leaves_a_slice_goes_over_another_net(devices8, slice_of, net):
    mesh = make_mesh(4, 2, devices=devices8)
    gather = lambda w: jax.lax.all_gather(w, "fsdp", tiled=True)
    specs = dict(in_specs=PartitionSpec("fsdp"), out_specs=PartitionSpec(), check_vma=False)
    gathered = jax.shard_map(gather, mesh=mesh, **specs)
    w = jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32)
    # Those that hold different rows are neighbours.
    found = [t for t in traffic(read_program(text_of(gathered, w)), 8, slice_of)]
    assert [(t.kind, t.net, t.bytes) for t in found] == [("all-gather", net, WIDTH * WIDTH * 2)]


# Of a TPU, in short.
RECORDED = """
HloModule jit_f, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %add.1 = f32[] add(%x, %y)
}

%body (p: (s32[], bf16[64,128])) -> (s32[], bf16[64,128]) {
  %p = (s32[], bf16[64,128]{1,0:T(8,128)(2,1)}) parameter(0)
  %part = bf16[64,128]{1,0:T(8,128)(2,1)} get-tuple-element(%p), index=1
  %start = (bf16[64,128], bf16[256,128]) all-gather-start(%part), replica_groups=[2,4]<=[4,2]T(1,0)
  %done = bf16[256,128]{1,0} all-gather-done(%start)
  %rs = bf16[64,128]{1,0} reduce-scatter(%done), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  %one = s32[] constant(1)
  ROOT %t = (s32[], bf16[64,128]{1,0}) tuple(%one, %rs)
}

%condition (p: (s32[], bf16[64,128])) -> pred[] {
  %p = (s32[], bf16[64,128]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

%all-reduce-scatter.1 (x: bf16[64,128]) -> bf16[8,128] {
  %x.1 = bf16[64,128]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %s = bf16[64,128] all-reduce(%x.1), replica_groups=mesh['a'=2,'b'=4] {'a','b'}, to_apply=%add
  ROOT %o = bf16[8,128] dynamic-slice(%s, %zero, %zero), dynamic_slice_sizes={8,128}
}

%ended (p: (s32[], bf16[64,128])) -> pred[] {
  %p.1 = (s32[], bf16[64,128]{1,0}) parameter(0)
  %n = s32[]{:T(128)} constant(6)
  %i = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %n), direction=LT
}

%apart (p: (s32[], bf16[64,128])) -> (s32[], bf16[64,128]) {
  %p.2 = (s32[], bf16[64,128]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.2), index=0
  %v = bf16[64,128]{1,0} get-tuple-element(%p.2), index=1
  %g = bf16[64,512] all-gather(%v), channel_id=9, replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}, dimensions={1}
  %again = bf16[64,512] all-gather(%v), channel_id=9, replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}, dimensions={1}
  ROOT %t.1 = (s32[], bf16[64,128]{1,0}) tuple(%i.1, %v)
}

ENTRY %main (a: (s32[], bf16[64,128])) -> bf16[64,128] {
  %a = (s32[], bf16[64,128]{1,0}) parameter(0)
  %w = (s32[], bf16[64,128]) while(%a), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"12"}}
  %one.1 = s32[] constant(1)
  %first = s32[] copy(%one.1)
  %h.1 = bf16[64,128]{1,0} get-tuple-element(%w), index=1
  %t.2 = (s32[], bf16[64,128]{1,0}) tuple(%first, %h.1)
  %w.1 = (s32[], bf16[64,128]) while(%t.2), condition=%ended, body=%apart
  %h = bf16[64,128]{1,0} get-tuple-element(%w.1), index=1
  %f = bf16[8,128]{1,0} fusion(%h), kind=kCustom, calls=%all-reduce-scatter.1
  %token = token[] after-all()
  %away = (bf16[8,128], u32[], token[]) send(%f, %token), channel_id=4, is_host_transfer=true
  %alone = bf16[64,128] all-reduce(%h), replica_groups={{0},{1},{2},{3}}, to_apply=%add
  ROOT %moved = bf16[64,128] collective-permute(%alone), source_target_pairs={{0,1},{1,2},{2,0}}
}
"""  # noqa: E501


def test_traffic_of_a_recorded_text():
    found = traffic(read_program(RECORDED), 8, lambda device: device // 4)
    part = 64 * 128 * 2
    by_kind = {(one.kind, one.net): (one.count, one.bytes) for one in found}
    assert by_kind == {
        # Groups {0, 2, 4, 6} and {1, 3, 5, 7} reach over both slices.
        ("all-gather", "DCN"): (12, 12 * 3 * part),
        ("reduce-scatter", "ICI"): (12, 12 * 3 * part),
        ("reduce-scatter", "DCN"): (1, 7 * part // 8),
        # The loop begins at 1 of 6; what stands twice goes on beside other work.
        ("all-gather", "ICI"): (5, 5 * 3 * part),
        ("send", "DCN"): (1, 8 * 128 * 2),
        ("collective-permute", "ICI"): (1, part),
    }


GATHERED = """
HloModule jit_g, entry_computation_layout={(f32[4]{0})->f32[8]{0}}

ENTRY %main (a: f32[4]) -> f32[8] {
  %a = f32[4]{0} parameter(0)
  ROOT %g = f32[8]{0} all-gather(%a), replica_groups=mesh['a'=4,'b'=2] {'NAME'}, dimensions={0}
}
"""


@pytest.mark.parametrize(
    ("name", "slice_of", "net"),
    [
        ("b", lambda device: device // 2, "ICI"),
        ("b", lambda device: device % 2, "DCN"),
        ("a", lambda device: device % 2, "ICI"),
        ("a", lambda device: device // 4, "DCN"),
    ],
)
def test_devices_of_a_mesh_are_numbered_row_by_row(name, slice_of, net):
    (found,) = traffic(read_program(GATHERED.replace("NAME", name)), 8, slice_of)
    assert found.net == net


def test_bytes_of_shapes():
    assert array_bytes("(f32[2,3]{1,0:T(8,128)}, pred[], bf16[0,5], s4[8])") == 24 + 1 + 0 + 4


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        read_program("HloModule nothing")
