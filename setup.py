"""Distribution `engram-kie`, command `engram`."""
from setuptools import find_packages, setup

setup(
    name="engram-kie",
    version="0.1.0",
    packages=find_packages(include=["pipelines*", "kie_ops*", "memory_store*"]),
    python_requires=">=3.10",
    entry_points={"console_scripts": ["engram=pipelines.commands.main:main"]},
)
