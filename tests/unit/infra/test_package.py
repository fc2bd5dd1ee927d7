from __future__ import annotations

import json
import re
import stat
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from infra import package
from infra.config import Config
from infra.dependencies import PackageError
from infra.package import ENDPOINTS, File, assemble, digest_of, write_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENDPOINTS_JSON = {
    "partitions": [
        {"partition": "aws", "regions": {"us-east-1": {}}, "services": {"s3": {"endpoints": {}}}}
    ],
    "version": 3,
}

# name in the installed dependencies, whether it is needed in Lambda
DEPENDENCIES = {
    "awslambdaric/bootstrap.py": True,
    "awslambdaric/__pycache__/bootstrap.cpython-311.pyc": False,
    "runtime_client.cpython-313-aarch64-linux-gnu.so": False,
    "six.py": True,
    "bin/jp.py": False,
    "wrapt/_wrappers.c": False,
    "wrapt/_wrappers.cpython-313-aarch64-linux-gnu.so": True,
    "wrapt-stubs/__init__.pyi": False,
    "simplejson/__init__.py": True,
    "simplejson/tests/test_decode.py": False,
    "boto3/session.py": True,
    "boto3/data/s3/2006-03-01/resources-1.json": False,
    "botocore/cacert.pem": True,
    "botocore/data/_retry.json": True,
    ENDPOINTS: True,
    "botocore/data/bedrock-runtime/2023-09-30/service-2.json.gz": True,
    "botocore/data/xray/2016-04-12/service-2.json.gz": True,
    "botocore/data/bedrock-runtime-extra/2023-09-30/service-2.json.gz": False,
    "botocore/data/s3/2006-03-01/paginators-1.json": False,
    "botocore/data/secretsmanager/2017-10-17/service-2.json.gz": False,
    "botocore/data/dynamodb/2012-08-10/service-2.json.gz": False,
    "boto3-1.0.dist-info/METADATA": True,
    "boto3-1.0.dist-info/RECORD": False,
    "boto3-1.0.dist-info/LICENSE": True,
    "boto3-1.0.dist-info/NOTICE": True,
    "wrapt-1.0.dist-info/licenses/LICENSE": True,
    "botocore-1.0.dist-info/LICENSE.txt": True,
    "botocore-1.0.dist-info/top_level.txt": False,
    "_cffi_backend.cpython-313-aarch64-linux-gnu.so": True,
    "cffi/api.py": False,
    "cffi-1.0.dist-info/METADATA": True,
    "pycparser/c_parser.py": False,
    "pycparser-1.0.dist-info/METADATA": False,
}
SOURCES = {
    "bootstrap": True,
    "handler.py": True,
    "relay/formats/sse.py": True,
    "relay/__pycache__/errors.cpython-311.pyc": False,
    ".DS_Store": False,
    "relay/.mypy_cache/3.13/cache.json": False,
}


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    for directory, names in (("lambda_src", SOURCES), ("dependencies", DEPENDENCIES)):
        for name in names:
            path = tmp_path / directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(ENDPOINTS_JSON) if name == ENDPOINTS else f"# {name}\n")
    return tmp_path / "lambda_src", tmp_path / "dependencies"


def test_holds_what_runs_and_nothing_else(trees: tuple[Path, Path]) -> None:
    """The package holds the sources and what is needed of the dependencies, name by name."""
    expected = {name for name, needed in (SOURCES | DEPENDENCIES).items() if needed}
    assert set(assemble(*trees)) == expected


@pytest.mark.parametrize(
    ("extra", "service"), [("api-keys", "secretsmanager"), ("budgets", "dynamodb"), ("jwt", None)]
)
def test_an_extra_keeps_its_service(
    extra: str, service: str | None, trees: tuple[Path, Path]
) -> None:
    """What only some deployments ask of AWS, only they carry the description of."""
    usual = set(assemble(*trees))
    more = set(assemble(*trees, (*package.KEPT, *package.EXTRAS[extra].kept))) - usual
    assert {name.split("/")[2] for name in more} == ({service} if service else set())


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({}, set()),
        ({"auth": "public"}, set()),
        ({"auth": "api-key"}, {"api-keys"}),
        ({"auth": "jwt", "jwt_issuer": "https://a.example.com", "jwt_audience": "a"}, {"jwt"}),
        ({"daily_tokens": 9, "settings": "max_tokens=9"}, {"budgets"}),
    ],
)
def test_a_deployment_gets_what_it_uses(choices: dict[str, Any], expected: set[str]) -> None:
    """The choices decide what ships beside what all need."""
    assert package.extras(Config(**choices)) == expected


def test_only_bootstrap_is_executable(trees: tuple[Path, Path]) -> None:
    """Modes come from the package's own table, whatever the file system here says."""
    source, dependencies = trees
    (source / "handler.py").chmod(0o777)
    (source / "bootstrap").chmod(0o600)
    modes = {name: file.mode for name, file in assemble(source, dependencies).items()}
    assert modes.pop("bootstrap") == 0o755
    assert set(modes.values()) == {0o644}


def test_endpoints_keep_their_regions(trees: tuple[Path, Path]) -> None:
    """Of botocore's endpoints the regions are left, which is all that bedrock-runtime asks it."""
    (partition,) = json.loads(assemble(*trees)[ENDPOINTS].data)["partitions"]
    assert partition == {"partition": "aws", "regions": {"us-east-1": {}}, "services": {}}


def test_refuses_to_hide_a_dependency(trees: tuple[Path, Path]) -> None:
    """A source file that would be imported in a dependency's place is refused by name."""
    source, dependencies = trees
    (source / "boto3.py").touch()
    with pytest.raises(PackageError, match=r"got \['boto3'\]"):
        assemble(source, dependencies)


def test_the_same_files_make_the_same_zip(tmp_path: Path) -> None:
    """Neither the order of the files nor the clock shows in the zip or in its digest."""
    files = {"b.py": File(b"b"), "a.py": File(b"a"), "bootstrap": File(b"#!", 0o755)}
    backwards = dict(reversed(files.items()))
    write_zip(files, tmp_path / "one.zip")
    write_zip(backwards, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert digest_of(files, compiled=False) == digest_of(backwards, compiled=False)


@pytest.mark.parametrize(
    "other",
    [
        {"a.py": File(b"b")},
        {"b.py": File(b"a")},
        {"a.py": File(b"a", 0o755)},
        {"a.py": File(b"a"), "b.py": File(b"")},
        {},
    ],
)
def test_anything_else_makes_another_digest(other: dict[str, File]) -> None:
    """A name, a byte, a mode, and whether bytecode is in it: each counts."""
    digest = digest_of({"a.py": File(b"a")}, compiled=False)
    assert digest_of(other, compiled=False) != digest
    assert digest_of({"a.py": File(b"a")}, compiled=True) != digest


def test_the_zip_keeps_names_bytes_and_modes(tmp_path: Path) -> None:
    """An unzipping Lambda sees each file with its bytes and its mode."""
    files = {"bootstrap": File(b"#!/bin/sh\n", 0o755), "relay/errors.py": File("é\n".encode())}
    write_zip(files, tmp_path / "deep" / "package.zip")
    with zipfile.ZipFile(tmp_path / "deep" / "package.zip") as archive:
        assert archive.testzip() is None
        for entry in archive.infolist():
            mode = entry.external_attr >> 16
            assert stat.S_ISREG(mode)
            assert files[entry.filename] == File(archive.read(entry), stat.S_IMODE(mode))
        assert archive.namelist() == sorted(files)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["package.zip"]


@pytest.fixture
def build_here(
    trees: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], package.Package]:
    """Build from the trees rather than from the repository."""
    monkeypatch.setattr(package, "ROOT", tmp_path)
    monkeypatch.setattr(package, "SOURCE", trees[0])
    monkeypatch.setattr(package, "BUILD", tmp_path / "build")
    monkeypatch.setattr(package, "fetch", lambda *_: trees[1])
    return package.build


def names_in(built: package.Package) -> set[str]:
    with zipfile.ZipFile(built.path) as archive:
        return set(archive.namelist())


def test_compiles_with_the_target_python(
    build_here: Callable[[], package.Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an interpreter of the target's version at hand, each source has its bytecode beside it."""
    monkeypatch.setattr(package, "find_interpreter", lambda _: sys.executable)
    compiled = {name for name in names_in(build_here()) if name.endswith(".pyc")}
    tag = sys.implementation.cache_tag
    assert f"__pycache__/handler.{tag}.pyc" in compiled
    assert f"relay/formats/__pycache__/sse.{tag}.pyc" in compiled


def test_says_that_it_does_not_compile(
    build_here: Callable[[], package.Package],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without one the package holds sources, and whoever builds it is told what that costs."""
    monkeypatch.setattr(package, "find_interpreter", lambda _: None)
    built = build_here()
    assert "No python3.13 here" in capsys.readouterr().err
    assert not [name for name in names_in(built) if name.endswith(".pyc")]


def test_finds_what_is_built(
    build_here: Callable[[], package.Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built once, a package is found again by its inputs."""
    monkeypatch.setattr(package, "find_interpreter", lambda _: None)
    built = build_here()
    monkeypatch.setattr(package, "write_zip", lambda *_: pytest.fail("built again"))
    assert build_here() == built


def test_an_extra_brings_its_requirements(
    build_here: Callable[..., package.Package],
    trees: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dependencies are asked for with those of the extras, in the same order however these are named."""
    monkeypatch.setattr(package, "find_interpreter", lambda _: None)
    asked: list[list[str]] = []

    def fetch(requirements: tuple[Path, ...], *_: object) -> Path:
        asked.append([file.name for file in requirements])
        return trees[1]

    monkeypatch.setattr(package, "fetch", fetch)
    assert build_here(extras=["jwt", "api-keys"]) == build_here(extras=["api-keys", "jwt"])
    build_here()
    assert asked == [["function.txt", "jwt.txt"]] * 2 + [["function.txt"]]


@pytest.mark.usefixtures("build_here")
def test_builds_by_hand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m infra.package` says where the package is and how large."""
    monkeypatch.setattr(sys, "argv", ["package", "--architecture", "x86_64", "--extra", "api-keys"])
    package.main()
    assert re.fullmatch(r"build/package/[0-9a-f]{64}\.zip: \d+\.\d MB\n", capsys.readouterr().out)


def test_fails_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be built ends with one sentence and a failing status."""

    def fail(*_: object) -> None:
        raise PackageError("pip could not install six")

    monkeypatch.setattr(sys, "argv", ["package"])
    monkeypatch.setattr(package, "build", fail)
    with pytest.raises(SystemExit, match="1"):
        package.main()
    assert capsys.readouterr().err == "pip could not install six\n"
