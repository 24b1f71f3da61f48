"""The published contract, compiled once a session."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pool.DescriptorPool:
    """Every message of `proto/`, in a pool of its own."""
    compiled = tmp_path_factory.mktemp("contract") / "contract.pb"
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = files("grpc_tools").joinpath("_proto")
    arguments = [
        "protoc",
        f"-I{PROTO}",
        f"-I{well_known}",
        f"--descriptor_set_out={compiled}",
        "--include_imports",
    ]
    assert protoc.main([*arguments, *sources]) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file:
        pool.Add(file)
    return pool
