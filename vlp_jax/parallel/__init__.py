"""Devices: the mesh, the logical axis rules, shardings of parameters and batches."""

from vlp_jax.parallel.agree import all_arrive, meet, said_by_any
from vlp_jax.parallel.batch import batch_shapes, batch_sharding, batch_share, put_batch
from vlp_jax.parallel.context import constrain, use_mesh
from vlp_jax.parallel.distributed import initialize_distributed
from vlp_jax.parallel.lost import LostPeerError, lost_peers_named
from vlp_jax.parallel.mesh import MESH_AXES, make_mesh
from vlp_jax.parallel.report import ParameterSharding, ShardingReport
from vlp_jax.parallel.rules import DEFAULT_RULES, Rules, validate
from vlp_jax.parallel.sharding import replicated, shardings_for, shardings_like, unbox

__all__ = [
    "DEFAULT_RULES",
    "LostPeerError",
    "MESH_AXES",
    "ParameterSharding",
    "Rules",
    "ShardingReport",
    "all_arrive",
    "batch_shapes",
    "batch_share",
    "batch_sharding",
    "constrain",
    "initialize_distributed",
    "lost_peers_named",
    "make_mesh",
    "meet",
    "put_batch",
    "replicated",
    "said_by_any",
    "shardings_for",
    "shardings_like",
    "unbox",
    "use_mesh",
    "validate",
]
