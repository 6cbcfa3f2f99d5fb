"""One list of bad input: each case ends with exit status 2 and one sentence that says what to do, and writes
nothing.

Rights, disks, ports, packages and signals, which take processes of their own, are in
test_bad_surroundings.py. The service's part of the list is below: each case is a problem document, and the
next request is answered.
"""

import gzip
import hashlib
import json
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from recsys.pipelines.cli import main
from tests.helpers.refusals import GOOD, JUNK, START, Made, assert_refused, bundles, file, snapshot, table
from tests.helpers.service import Running, publish_toy, running


def table_with_weight(weight: str) -> str:
    return table(f"u1,i1,{START},{weight}", columns="user_id,item_id,timestamp,weight", more=",1")


def folder_(name: str) -> Made:
    return lambda folder: (folder / name).mkdir()


def arrow(cut: int | None = None, **columns: Any) -> Made:
    """c.parquet with these columns, or the first `cut` bytes of it."""

    def make(folder: Path) -> None:
        parquet.write_table(pa.table(columns), folder / "c.parquet")
        (folder / "c.parquet").write_bytes((folder / "c.parquet").read_bytes()[:cut])

    return make


def pointer(text: bytes) -> Made:
    def make(folder: Path) -> None:
        bundles(folder)
        (folder / "bundles/current").write_bytes(text)

    return make


def manifest(**changes: Any) -> Made:
    """A bundle whose manifest is changed and sealed again; a change to None takes the key away."""

    def make(folder: Path) -> None:
        path = bundles(folder) / "manifest.json"
        stated = json.loads(path.read_bytes()) | changes
        raw = json.dumps({key: value for key, value in stated.items() if value is not None}).encode()
        path.write_bytes(raw)
        path.with_name("manifest.sha256").write_text(f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n")

    return make


def damage(folder: Path) -> None:
    path = bundles(folder) / "item_vectors.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def both(*made: Made) -> Made:
    return lambda folder: [make(folder) for make in made]


class Bad(NamedTuple):
    """What makes the folder bad, the command, words of the sentence, and variables of the environment."""

    name: str
    command: str
    said: tuple[str, ...]
    made: Made = lambda folder: None
    environment: Mapping[str, str] = {}


IDS = [str(k) for k in range(50)]
CUT = "Check that it is what its name says"
TABLES = [
    Bad("empty file", "train c.csv", ("c.csv", "it is empty", CUT), file("")),
    Bad("header alone", "train c.csv", ("c.csv has no rows", "at least one"), file("user_id,item_id\n")),
    Bad(
        "missing column", "train c.csv", ("'user_id'", "are user, item", "--user-col"), file("user,item\na,b")
    ),
    Bad("a column named wrong", "train c.csv --time-col at", ("no column 'at'", "--time-col"), file(GOOD)),
    Bad("an unknown role", "train c.csv columns.user=x", ("columns.user", "roles are user_id"), file(GOOD)),
    Bad(
        "colons", "train c.csv", ("'user_id'", "user_id:item_id", "--user-col"), file(GOOD.replace(",", ":"))
    ),
    Bad(
        "header twice",
        "train c.csv",
        (("'item_id' occurs more than once"),),
        file("user_id,item_id,item_id\na,b,c\n"),
    ),
    Bad("ragged row", "train c.csv", ("c.csv", "Expected 3 columns, got 4"), file(table("u,i,1700000000,5"))),
    Bad("binary junk", "train c.csv", ("c.csv", "line 1", CUT), file(JUNK)),
    Bad("junk as Parquet", "train c.parquet", ("c.parquet", "magic bytes", CUT), file(JUNK, "c.parquet")),
    Bad("cut Parquet", "train c.parquet", ("c.parquet", CUT), arrow(-100, user_id=IDS, item_id=IDS)),
    Bad("cut gz", "train c.csv.gz", ("c.csv.gz", CUT), file(gzip.compress(GOOD.encode())[:300], "c.csv.gz")),
    Bad("junk as gz", "train c.csv.gz", ("c.csv.gz", CUT), file(JUNK, "c.csv.gz")),
    Bad("junk as zip", "train c.zip", ("c.zip", "again"), file(JUNK, "c.zip")),
    Bad("UTF-16", "train c.csv", ("invalid UTF8", "line 1", "save it as UTF-8"), file(GOOD.encode("utf-16"))),
    Bad(
        "two encodings",
        "train c.csv",
        ("line 151", "as UTF-8"),
        file(table("ü,i1,1700000000").encode("latin-1")),
    ),
    Bad("another format", "train c.xlsx", ("c.xlsx must end in", "convert it"), file("PK", "c.xlsx")),
    Bad(
        "JSON of two types",
        "train c.jsonl",
        ("c.jsonl", CUT),
        file('{"user_id":"a"}\n{"user_id":1}\n', "c.jsonl"),
    ),
    Bad("deep JSON", "train c.jsonl", ("c.jsonl", CUT), file('{"a":' + "[" * 99_999, "c.jsonl")),
    Bad("a folder without tables", "train d", ("d must hold a table", "nothing"), folder_("d")),
    Bad("no such data", "train nowhere", ("'nowhere' is neither a path nor in", "RECSYS_DATA")),
    Bad("no name", "train ''", ("'' is neither", "RECSYS_DATA")),
    Bad("a name of 5,000 letters", f"train {'x' * 5000}", (" ... ", "File name too long", "Check the path")),
    Bad(
        "NaN ids",
        "train c.parquet",
        ("'user_id'", "c.parquet", "floating-point", "convert"),
        arrow(user_id=[1.0, float("nan")], item_id=["a", "b"]),
    ),
    Bad(
        "empty id",
        "train c.csv",
        ("'user_id'", "c.csv: 1 of 300", "row 150", "Drop"),
        file(table(",i,1700000000")),
    ),
    Bad(
        "NUL in an id",
        "train c.csv",
        ("'item_id'", "NUL bytes", "row 150", "Strip"),
        file(table("u,i\0,1700000000")),
    ),
    Bad(
        "an id of 5 MB",
        "train c.csv",
        ("'user_id'", "more than 1,000 characters", "row 150"),
        file(table("u" * 5_000_000 + ",i,1700000000")),
    ),
    Bad(
        "negative time",
        "train c.csv",
        ("'timestamp'", "before 1970", "row 150", "mend"),
        file(table("u,i,-5")),
    ),
    Bad(
        "milliseconds",
        "train c.csv",
        ("'timestamp'", "row 150", "timestamp:ms"),
        file(table("u,i,1700000000000")),
    ),
    Bad("nanoseconds", "train c.csv", ("row 150", "timestamp:ns"), file(table("u,i,1700000000000000000"))),
    Bad(
        "the future",
        "train c.csv",
        ("a time in the future", "row 150", "Mend"),
        file(table("u,i,9000000000")),
    ),
    Bad(
        "text as time",
        "train c.csv",
        ("'timestamp'", "'soon'", "row 150", "Write unix"),
        file(table("u,i,soon")),
    ),
    *[
        Bad(
            f"weight {weight!r}",
            "train c.csv",
            ("'weight'", "c.csv: 1 of 300", "row 150", "these rows"),
            file(table_with_weight(weight)),
        )
        for weight in ("inf", "-1", "0", "nan", "", "much", "1e400")
    ],
    Bad("one event", "train c.csv", ("c.csv has events of one user", "Add"), file("user_id,item_id\nu,i\n")),
    Bad(
        "one user",
        "train c.csv",
        ("c.csv has events of one user", "Add"),
        file("user_id,item_id,timestamp\n" + "".join(f"u,i{k},{START + k}\n" for k in range(50))),
    ),
    Bad(
        "one item",
        "train c.csv",
        ("c.csv has events of one item", "Add"),
        file("user_id,item_id,timestamp\n" + "".join(f"u{k},i,{START + k}\n" for k in range(50))),
    ),
    Bad(
        "one moment",
        "train c.csv",
        ("c.csv is too small or too short in time",),
        file("user_id,item_id,timestamp\n" + "".join(f"u{k},i{k % 5},{START}\n" for k in range(50))),
    ),
    Bad(
        "nothing above the threshold",
        "train c.csv prepare.min_rating=6",
        ("min_rating = 6", "no event", "milder"),
        file(table_with_weight("1")),
    ),
    Bad(
        "a threshold without ratings",
        "train c.csv prepare.min_rating=4",
        ("c.csv has no weight", "--weight-col"),
        file(GOOD),
    ),
    Bad(
        "no core", "train c.csv prepare.min_user_events=900", ("900 events", "no event", "milder"), file(GOOD)
    ),
    Bad(
        "no times, no split",
        "train c.csv",
        ("neither timestamps nor", "--time-col"),
        file("user_id,item_id\nu,i\nv,j\n"),
    ),
    Bad("check of nothing", "data check nothing", ("'nothing' is neither a path", "RECSYS_DATA")),
    Bad("audit of nothing", "data audit c.csv nothing", ("'nothing' is neither", "RECSYS_DATA"), file(GOOD)),
    Bad("download of nothing", "data download nothing", ("'nothing'", "known ones are ml-100k")),
]
SETTINGS = [
    Bad("unknown setting", "train world model.dimm=3", ("'model.dimm'", "did you mean 'dim'")),
    Bad("unknown section", "train world sed=3", ("'sed'", "did you mean 'seed'")),
    Bad("word for a number", "train world model.dim=many", ("'model.dim'", "a whole number", "got 'many'")),
    Bad("number for a table", "train world split=3", ("'split'", "a table of settings", "got 3")),
    Bad("below the least", "train world model.dim=0", ("'model.dim'", "greater than or equal to 1", "got 0")),
    Bad(
        "wider than any disk", "train c.csv model.dim=99999999999", ("needs about", "Free space"), file(GOOD)
    ),
    Bad("not a number", "train world model.regularization=nan", ("'model.regularization'", "got nan")),
    Bad("no assignment", "train world nonsense", ("'nonsense'", "key=value", "model.dim=64")),
    Bad("unknown model", "train world model.name=alls", ("'alls'", "did you mean 'als'")),
    Bad("a model of no module", "train world model.name=nothing:Here", ("nothing:Here", "No module named")),
    Bad("unknown metric", "train world metrics='[\"ndcg@10\"]'", ("ndcg@10", "ndcg_at_10")),
    Bad("unknown split", "train world split.kind=nonsense", ("'nonsense'", "later_half")),
    Bad("unknown config", "train world -c nothing", ("'nothing'", "neither a file nor one of", "world")),
    Bad("broken TOML", "train world -c b.toml", ("b.toml", "line 1"), file("dim = = 3\n", "b.toml")),
    Bad(
        "unknown key in a file",
        "train world -c b.toml",
        ("b.toml", "did you mean 'seed'"),
        file("sed = 3", "b.toml"),
    ),
    Bad(
        "unknown option",
        "train c.csv --userz x",
        ("--userz", "--user-col", "recsys train --help"),
        file(GOOD),
    ),
    Bad("no argument", "train", ("'DATA'", "--help")),
    Bad("unknown command", "trian world", ("'trian'", "--help")),
    Bad(
        "no Unicode",
        "recommend bundles --history \udcff",
        ("history", "no UTF-8", "Write it in UTF-8"),
        bundles,
    ),
]
BUNDLES = [
    Bad("k = 0", "recommend bundles -k 0", ("between 1 and 1000", "got 0"), bundles),
    Bad("k = 1001", "recommend bundles -k 1001", ("between 1 and 1000", "got 1001"), bundles),
    Bad("k = x", "recommend bundles -k x", ("'--k'", "'x'", "--help"), bundles),
    Bad(
        "unknown domain",
        ("recommend bundles --domain opera"),
        ("'opera'", "its domains are: books, films"),
        bundles,
    ),
    Bad("no bundle there", "recommend nowhere", ("nowhere", "neither a bundle nor", "recsys export")),
    Bad(
        "a table for a bundle",
        "evaluate c.csv",
        ("c.csv", "neither a bundle nor", "recsys export"),
        file(GOOD),
    ),
    Bad(
        "pointer to nothing",
        "recommend bundles",
        ("bundles/current", "no such bundle", "Export"),
        pointer(b"gone"),
    ),
    Bad("pointer outside", "recommend bundles", ("'../..'", "no such bundle", "Export"), pointer(b"../..")),
    Bad("junk in the pointer", "recommend bundles", ("bundles/current", "Export"), pointer(JUNK[:200])),
    Bad(
        "a long pointer",
        "recommend bundles",
        ("bundles/xxx", "name too long", "Check"),
        pointer(b"x" * 5_000),
    ),
    Bad(
        "another bundle format",
        "recommend bundles",
        ("format 99", "reads 1", "Export it again"),
        manifest(format=99),
    ),
    Bad(
        "a manifest without files",
        "recommend bundles",
        ("that fits of 'files'", "Export"),
        manifest(files=None),
    ),
    Bad(
        "a damaged bundle",
        "recommend bundles",
        ("item_vectors.npy is damaged", "Export the bundle again"),
        damage,
    ),
    Bad(
        "an unsealed manifest",
        "recommend m",
        ("manifest.sha256", "Export"),
        both(folder_("m"), file("{}", "m/manifest.json")),
    ),
    Bad(
        "--out a file",
        ("recommend bundles --all-users --out o"),
        ("o is a file",),
        both(bundles, file("", "o")),
    ),
    Bad(
        "--out not empty",
        ("recommend bundles --all-users --out ."),
        (". is not empty", "Name an empty"),
        bundles,
    ),
    Bad(
        "--out alone",
        "recommend bundles --out o",
        (("--out goes with one of --all-users and --users"),),
        bundles,
    ),
    Bad(
        "--out with k = 0",
        ("recommend bundles --all-users --out o -k 0"),
        ("k must be at least 1", "got 0"),
        bundles,
    ),
    Bad(
        "--to a file",
        "export b --to o",
        ("o is a file", "another"),
        both(lambda folder: shutil.copytree(bundles(folder), folder / "b"), file("", "o")),
    ),
    Bad("nothing to judge", "evaluate", ("BUNDLE or --candidates", "name what")),
    Bad(
        "lists that are none",
        "evaluate --candidates l.csv data=c.csv",
        ("l.csv", "rank (1 = best)"),
        both(file(GOOD), file("user_id,item_id\nu1,i1\n", "l.csv")),
    ),
    Bad(
        "lists of strangers",
        ("evaluate --candidates l.csv data=c.csv"),
        ("l.csv", "none of its", "other data"),
        both(file(GOOD), file("user_id,item_id,rank\nx,y,1\n", "l.csv")),
    ),
    Bad("an unknown item", "similar bundles nothing", ("'nothing'", "no vector", "ask for one"), bundles),
    Bad("a folder to log", "track .", (". is neither a bundle", "recsys export")),
]
DEAD = "http://127.0.0.1:9"
STORES = [
    Bad("no run yet", "export last", ("mlruns has no runs yet", "recsys train")),
    Bad("an id of no run", f"promote {'0' * 32}", ("has no runs yet", "recsys train")),
    Bad("one run to compare", "runs one", ("one run", "name a second")),
    Bad("no runs to list", "runs --limit 0", ("between 1 and 50,000", "got 0")),
    Bad(
        "a store of no kind",
        "runs",
        ("foo://bar refused", "unsupported", "Mend MLFLOW_TRACKING_URI"),
        environment={"MLFLOW_TRACKING_URI": "foo://bar"},
    ),
    Bad(
        "a dead server",
        "runs",
        (f"{DEAD} refused", "port=9", "start its server"),
        environment={"MLFLOW_TRACKING_URI": DEAD},
    ),
    Bad(
        "no home",
        "runs",
        ("RECSYS_HOME is /no/home", "no folder", "Make it"),
        environment={"RECSYS_HOME": "/no/home"},
    ),
    Bad(
        "a file for a home",
        "train c.csv",
        ("RECSYS_HOME is /dev/null", "no folder", "Make it"),
        file(GOOD),
        {"RECSYS_HOME": "/dev/null"},
    ),
    Bad(
        "a file for mlruns",
        "train c.csv",
        ("mlruns, where runs are kept", "Mend access"),
        both(file(GOOD), file("", "mlruns")),
    ),
]


@pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic).*")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.slow if DEAD in case.environment.values() else ())
        for case in TABLES + SETTINGS + BUNDLES + STORES
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    case: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    for name in ("RECSYS_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    case.made(tmp_path)
    before = snapshot(tmp_path)
    said = CliRunner().invoke(main, shlex.split(case.command), prog_name="recsys")
    assert isinstance(said.exception, SystemExit), said.exc_info
    assert_refused(said.exit_code, said.stdout, said.stderr, case.said)
    assert snapshot(tmp_path) == before


def test_the_traceback_is_there_for_who_asks() -> None:
    said = CliRunner().invoke(main, ["train", "nowhere", "--debug"])
    assert said.exit_code == 2
    assert "Traceback" in said.stderr
    assert said.stderr.splitlines()[-1].startswith("recsys: data set 'nowhere'")


BODIES: list[tuple[int, str, bytes]] = [
    (400, "invalid_json", b""),
    (400, "invalid_json", b"user_id=7"),
    (400, "invalid_json", b'{"k": NaN}'),
    (400, "invalid_json", b'{"features": {"a": -Infinity}}'),
    (400, "invalid_json", b'{"user_id": "\xff"}'),
    (400, "invalid_json", b'{"k": ' + b"9" * 5000 + b"}"),
    (400, "invalid_json", b'{"k": 1} {}'),
    (400, "duplicate_key", b'{"k": 1, "k": 2}'),
    (400, "duplicate_key", b'{"history": [{"item_id": "a", "item_id": "b"}]}'),
    (400, "too_deep", b"[" * 100_000),
    (400, "too_deep", b'{"a":' * 100_000),
    (400, "invalid_text", b'{"user_id": "\\ud800"}'),
    (400, "invalid_text", b'{"\\uDFFF": 1}'),
    (422, "invalid_request", b"[]"),
    (422, "invalid_request", b"null"),
    (422, "invalid_request", b'{"histroy": []}'),
    (422, "invalid_request", b'{"k": 0}'),
    (422, "invalid_request", b'{"k": 1001}'),
    (422, "invalid_request", b'{"k": "10"}'),
    (422, "invalid_request", b'{"k": 1e999}'),
    (422, "invalid_request", b'{"k": true}'),
    (422, "invalid_request", b'{"k": null}'),
    (422, "invalid_request", b'{"k": 100000000000000000000}'),
    (422, "invalid_request", b'{"user_id": 7}'),
    (422, "invalid_request", b'{"user_id": ""}'),
    (422, "invalid_request", b'{"user_id": "' + b"x" * 1001 + b'"}'),
    (422, "invalid_request", b'{"history": {"item_id": "a"}}'),
    (422, "invalid_request", b'{"history": ["a"]}'),
    (422, "invalid_request", b'{"history": [{}]}'),
    (422, "invalid_request", b'{"history": [{"item_id": "a", "timestamp": 1700000000000}]}'),
    (422, "invalid_request", b'{"history": [{"item_id": "a", "timestamp": 1.5}]}'),
    (422, "invalid_request", b'{"history": [' + b",".join([b'{"item_id": "a"}'] * 1001) + b"]}"),
    (422, "invalid_request", b'{"deny": [1]}'),
    (422, "unknown_domain", b'{"domain": "opera"}'),
]
ASKED: list[tuple[int, str, str, str, bytes | None, dict[str, str]]] = [
    (413, "body_too_large", "POST", "/v1/recommend", b"{" + b" " * (1 << 20) + b"}", {}),
    (415, "unsupported_media_type", "POST", "/v1/recommend", b"{}", {"content-type": "text/plain"}),
    (415, "unsupported_media_type", "POST", "/v1/recommend", b"{}", {"content-encoding": "gzip"}),
    (405, "method_not_allowed", "GET", "/v1/recommend", None, {}),
    (404, "unknown_route", "GET", "/v2/recommend", None, {}),
    (404, "unknown_item", "GET", "/v1/items/nobody%20knows/similar", None, {}),
    (404, "unknown_item", "GET", "/v1/items/%ED%A0%80/similar", None, {}),
    (422, "invalid_request", "GET", "/v1/items/007/similar?k=0", None, {}),
    (422, "invalid_request", "POST", "/v1/recommend:batch", b'{"requests": []}', {}),
    *[(status, code, "POST", "/v1/recommend", body, {}) for status, code, body in BODIES],
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serving")
    publish_toy(folder / "bundles")
    with running(folder / "bundles", folder / "logs" / "exposures.jsonl") as service:
        yield service


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked[1]} {asked[3]} {asked[4]!r}"[:60])
def test_a_bad_request_is_a_problem_and_the_next_is_answered(
    service: Running, asked: tuple[int, str, str, str, bytes | None, dict[str, str]]
) -> None:
    status, code, method, path, body, headers = asked
    served = len(service.lines())
    answer = service.ask(method, path, body, headers)
    assert (answer.status, answer.json["code"], answer.json["status"]) == (status, code, status), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == f"urn:recsys:problem:{code}"
    assert answer.json["detail"].endswith(".")
    assert len(answer.body) < 4_000
    assert len(service.lines()) == served
    assert len(service.recommend(user_id="u1", k=3)["items"]) == 3
