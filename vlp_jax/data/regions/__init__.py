"""Detector features of pictures: readers of all published files, checked at load."""

from vlp_jax.data.regions.adaptive_hdf5 import AdaptiveHdf5
from vlp_jax.data.regions.array_records import ArrayRecords
from vlp_jax.data.regions.detector_tsv import BottomUpTsv, LxmertTsv
from vlp_jax.data.regions.hdf5 import Hdf5
from vlp_jax.data.regions.joined import JoinedStores, open_regions
from vlp_jax.data.regions.npz_folder import NpzFolder, UniterNpz
from vlp_jax.data.regions.oscar_tsv import OscarTsv
from vlp_jax.data.regions.regions import Regions, Rules
from vlp_jax.data.regions.store import REGION_STORES, RegionStore
from vlp_jax.data.regions.uniter_lmdb import UniterLmdb
from vlp_jax.data.regions.vilbert_lmdb import VilbertLmdb

__all__ = [
    "REGION_STORES",
    "AdaptiveHdf5",
    "ArrayRecords",
    "BottomUpTsv",
    "Hdf5",
    "JoinedStores",
    "LxmertTsv",
    "NpzFolder",
    "OscarTsv",
    "RegionStore",
    "Regions",
    "Rules",
    "UniterLmdb",
    "UniterNpz",
    "VilbertLmdb",
    "open_regions",
]
