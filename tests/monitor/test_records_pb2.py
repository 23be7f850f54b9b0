"""The generated messages are those of records.proto."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from smartml.monitor import records_pb2

ROOT = Path(records_pb2.__file__).parents[2]


def test_the_code_is_made_from_the_messages_that_are_there(tmp_path):
    if not find_spec("grpc_tools"):
        pytest.skip("the package 'grpcio-tools' is not installed")
    out = tmp_path / "descriptors"
    # In a process of its own: beside another library that brings a protobuf of its own, TensorFlow for one, it crashes.
    words = ["-m", "grpc_tools.protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", "smartml/monitor/records.proto"]
    subprocess.run([sys.executable, *words], check=True)
    [described] = FileDescriptorSet.FromString(out.read_bytes()).file
    for message in described.message_type:
        forget_json_names(message)
    assert described == FileDescriptorProto.FromString(records_pb2.DESCRIPTOR.serialized_pb)


def forget_json_names(message):
    """The code leaves out what follows from the other names."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        forget_json_names(nested)


def test_the_code_asks_for_no_newer_protobuf_than_the_extra_does():
    made_by = re.search(r"Protobuf Python Version: (\d+)\.(\d+)", Path(records_pb2.__file__).read_text())
    setup = (ROOT / "setup.cfg").read_text()
    allowed = re.search(r"protobuf>=(\d+)\.(\d+)", setup)
    assert made_by.groups() <= allowed.groups()
