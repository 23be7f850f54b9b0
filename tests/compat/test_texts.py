"""What sources in other languages, build files, requirements and scripts use of SmartRedis and SmartSim."""

import pytest

from smartml.compat.texts import (
    uses_in_build,
    uses_in_c,
    uses_in_fortran,
    uses_in_requirements,
    uses_in_script,
    uses_in_string,
)

LIBRARY = "SmartRedis library"


def found(uses):
    return sorted((use.line, use.name.theirs.removeprefix(f"{LIBRARY}.")) for use in uses)


def test_calls_in_cpp_are_found_by_line():
    source = """#include "client.h"
#include <string>
SmartRedis::Client client("solver");
client.put_tensor("u", data, {2, 3},
                  SRTensorTypeDouble, SRMemLayoutContiguous);
pointer->run_model("net", {"u"}, {"v"});
"""
    assert found(uses_in_c(source)) == [(1, LIBRARY), (4, "put_tensor"), (6, "run_model")]


def test_calls_in_c_are_found_by_line():
    source = """#include "smartredis/c_client.h"
void *client;
SmartRedisCClient(false, "c", 1, &client);
put_tensor(client, name, length, data, dims, 1, SRTensorTypeFloat, SRMemLayoutContiguous);
"""
    assert found(uses_in_c(source)) == [(1, LIBRARY), (3, "SmartRedisCClient"), (4, "put_tensor")]


def test_comments_in_c_are_left_out_and_strings_are_kept_apart():
    source = """// SmartRedis: client.get_model("x")
/* client.delete_model(
   client.get_script( */ client.put_tensor("a // b", x); client.get_tensor(y);
"""
    assert found(uses_in_c(source)) == [(3, "get_tensor"), (3, "put_tensor")]


def test_a_source_that_does_not_speak_of_it_is_left_alone():
    source = '#include "client.h"\nmine.put_tensor("x");\n'
    assert found(uses_in_c(source)) == []


def test_calls_in_fortran_are_found_by_line():
    source = """program solver ! of SmartRedis
  use smartredis_client, only : client_type
  USE, intrinsic :: iso_fortran_env
  use :: smartredis_dataset
#include "enum_fortran.inc"
  type(client_type) :: client
  code = client%put_tensor("it's ! no comment", u, shape(u)) ! client%get_model(
  code = client % unpack_tensor ("v", v, shape(v))
end program
"""
    assert found(uses_in_fortran(source)) == [
        (2, LIBRARY),
        (4, LIBRARY),
        (5, LIBRARY),
        (7, "put_tensor"),
        (8, "unpack_tensor"),
    ]


def test_comments_of_fixed_form_are_left_out():
    source = "C     use smartredis_client\n      use smartredis_client\n*     use smartredis_client\n"
    assert found(uses_in_fortran(source)) == [(2, LIBRARY)]


def test_commands_of_redisai_are_found_in_any_source():
    assert found(uses_in_c('redisCommand(c, "AI.DAGRUN LOAD 1 x |> AI.TENSORGET x");')) == [
        (1, "AI.DAGRUN"),
        (1, "AI.TENSORGET"),
    ]


def test_build_files_name_the_library():
    source = "find_package(SmartRedis REQUIRED) # of SmartRedis\n# smartredis\ntarget_link_libraries(x smartredis)\n"
    assert found(uses_in_build(source)) == [(1, LIBRARY), (3, LIBRARY)]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("smartsim==0.8.0", ["the package smartsim"]),
        ("SmartRedis[dev] >= 0.6  # the client", ["the package smartredis"]),
        ("  - smartredis", ["the package smartredis"]),
        ('dependencies = ["smartsim", "numpy"]', ["the package smartsim"]),
        ("git+https://github.com/CrayLabs/SmartSim.git", ["the package smartsim"]),
        ("# smartsim", []),
        ("my-smartsim-tools==1", []),
        ("numpy", []),
    ],
)
def test_requirements_are_read(line, names):
    assert [use.name.theirs for use in uses_in_requirements(line)] == names


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("smart build --device cpu", ["smart build"]),
        ("smart  validate && python x.py", ["smart validate"]),
        ("pip install -U smartsim==0.8 numpy", ["the package smartsim"]),
        ("RUN conda install smartredis", ["the package smartredis"]),
        ("export REDIS_PATH=/opt/redis-server", ["REDIS_PATH"]),
        ("/opt/smart build", []),
        ("echo smart people", []),
        ("cd smartsim", []),
        ("# smart build", []),
    ],
)
def test_scripts_are_read(line, names):
    assert [use.name.theirs for use in uses_in_script(line)] == names


@pytest.mark.parametrize(
    ("text", "names"),
    [("AI.TENSORSET", ["AI.TENSORSET"]), ("SMARTSIM_LOG_LEVEL", ["SMARTSIM_LOG_LEVEL"]), ("AI.", []), ("", [])],
)
def test_strings_of_programs_are_read(text, names):
    assert [name.theirs for name in uses_in_string(text)] == names
