"""What a database in trouble makes of requests: the true sentence, one line in the log, and no readiness meanwhile."""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest
from procrastinate.exceptions import ConnectorException
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError

from app.outage import AWAY, CLASH, CROWDED, FULL, LOCKED_OUT, SLOW, STARTING, Trouble, trouble_of
from tests.desk import Desk, a_desk
from tests.makers import a_push_subscription
from tests.proxy import proxied
from tests.test_api import a_wish, explained
from tests.test_streams import until

MIB = 1 << 20


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    with psycopg.connect(database_url) as db:
        db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES ('ukraine', 'Ukraine', '', '{}')")
    async with a_desk(database_url, tmp_path) as made:
        yield made


async def sign_up(site: Desk) -> httpx.Response:
    async with site.browser() as reader:
        return await reader.post("/api/subscriptions", json=a_wish(a_push_subscription(), topics=["ukraine"]))


async def readyz(site: Desk) -> httpx.Response:
    async with site.browser() as reader:
        return await reader.get("/readyz")


async def until_ready(site: Desk, status: int) -> httpx.Response:
    end = time.monotonic() + 10
    while (answer := await readyz(site)).status_code != status:
        assert time.monotonic() < end, answer.text
        await asyncio.sleep(0.1)
    return answer


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "newsbell.database"]


# A disk that is full


@pytest.fixture
def small_disk(server: str) -> Iterator[str]:
    """A tablespace on a disk of 32 MiB."""
    with psycopg.connect(server, autocommit=True) as admin, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        mounted = ["mount", "-t", "tmpfs", "-o", "size=32m", "newsbell-test", folder]
        if os.geteuid() != 0 or subprocess.run(mounted, check=False, capture_output=True).returncode != 0:
            pytest.skip("only root may mount a disk that can be filled")
        row = admin.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
        assert row
        owner = os.stat(row[0])
        os.chown(folder, owner.st_uid, owner.st_gid)
        try:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{folder}'".encode())
            yield "small"
        finally:
            with suppress(psycopg.Error):
                admin.execute("DROP TABLESPACE small")
            subprocess.run(["umount", "-l", folder], check=False)


@pytest.fixture
def on_small_disk(server: str, migrated: str, small_disk: str) -> Iterator[str]:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE full_disk TEMPLATE migrated TABLESPACE {small_disk}".encode())
        yield make_url(server).set(database="full_disk").render_as_string(hide_password=False)
        admin.execute("DROP DATABASE full_disk WITH (FORCE)")


def fill(db: psycopg.Connection) -> None:
    db.execute("CREATE TABLE filler (junk text)")
    for rows in (1000, 100, 10, 1):
        with pytest.raises(psycopg.errors.DiskFull):
            while True:
                db.execute("INSERT INTO filler SELECT repeat(md5(n::text), 30) FROM generate_series(1, %s) n", (rows,))


async def test_a_full_disk_is_called_that_said_once_and_makes_unready_until_there_is_room(
    on_small_disk: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(on_small_disk, autocommit=True) as db:
        db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES ('ukraine', 'Ukraine', '', '{}')")
        async with a_desk(on_small_disk, tmp_path) as site:
            assert (await readyz(site)).status_code == 200
            fill(db)
            for _ in range(10):
                answer = await sign_up(site)
                assert "The disk of the database is full. Nothing was changed" in explained(answer, 503)
                assert answer.headers["retry-after"]
            assert "The disk of the database is full" in explained(await until_ready(site, 503), 503)
            async with site.browser() as reader:  # what only reads goes on
                assert (await reader.get("/api/site")).status_code == 200
            db.execute("DROP TABLE filler")
            await until_ready(site, 200)
            assert (await sign_up(site)).status_code == 201
    begins, ends = said(caplog)
    assert begins.startswith("The disk of the database is full.")
    assert ends.startswith("The disk of the database has room again, after")


async def test_a_database_that_takes_no_changes_is_called_that(
    site: Desk, server: str, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a fail-over to a replica."""
    name = make_url(database_url).database
    with psycopg.connect(server, autocommit=True) as admin:

        def set_read_only(what: str) -> None:
            admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {what}".encode())
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

        set_read_only("on")
        for _ in range(5):
            assert "it is read-only. Nothing was changed" in explained(await sign_up(site), 503)
        assert "it is read-only" in explained(await until_ready(site, 503), 503)
        set_read_only("off")
    await until_ready(site, 200)
    assert (await sign_up(site)).status_code == 201
    begins, ends = said(caplog)
    assert begins.startswith("The database takes no changes: it is read-only.")
    assert ends.startswith("The database takes changes again, after")


async def test_a_statement_that_takes_too_long_is_no_outage(
    site: Desk, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {make_url(database_url).database} SET statement_timeout = '300ms'".encode())
        with db.transaction():
            db.execute("LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE")
            assert "took too long over this. Nothing was changed" in explained(await sign_up(site), 503)
            assert (await readyz(site)).status_code == 200
    assert (await sign_up(site)).status_code == 201
    assert said(caplog) == []


async def test_of_a_commit_whose_answer_is_lost_nobody_says_that_nothing_was_changed(
    database_url: str, tmp_path: Path
) -> None:
    with proxied(database_url) as proxy, psycopg.connect(database_url) as db:
        db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES ('ukraine', 'Ukraine', '', '{}')")
        db.commit()
        async with a_desk(proxy.url, tmp_path) as site:
            assert (await readyz(site)).status_code == 200
            proxy.loses_commits = True
            lost = explained(await sign_up(site), 503)
            async with site.browser() as reader:
                only_read = explained(await reader.get("/api/site"), 503)
                repeated = explained(await reader.post("/api/session", json={}, headers={"Idempotency-Key": "1"}), 422)
            proxy.loses_commits = False
        assert db.execute("SELECT count(*) FROM subscriptions").fetchone() == (1,)
    assert lost.endswith("Whether this was done is not known. Please look before you try again.")
    assert only_read.endswith("Nothing was changed; please try again.")
    assert repeated


async def test_what_is_deleted_while_somebody_chooses_it_is_a_refusal(site: Desk, database_url: str) -> None:
    editor = await site.somebody()
    words = {"title": "Ceasefire", "url": "https://news.example/1", "topics": ["ukraine"]}
    for who in (sign_up(site), editor.post("/api/alerts", json=words)):
        with psycopg.connect(database_url) as db:
            db.execute("DELETE FROM topics WHERE slug = 'ukraine'")
            asking = asyncio.create_task(who)
            await until(lambda: db.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())
            db.commit()
            assert explained(await asking, 409).startswith("Something that this needs was deleted at the same moment.")
            db.execute("INSERT INTO topics (slug, name, description, synonyms) VALUES ('ukraine', 'U', '', '{}')")


@pytest.mark.parametrize(
    "state, sentence",
    [
        ("53100", "The disk of the database is full."),
        ("58030", "The database cannot use its disk."),
        ("53200", "The database is short of memory."),
        ("53300", "The database has no connection left for us."),
        ("57P03", "The database is starting up or shutting down."),
        ("55P03", "The database took too long over this."),
        ("40P01", "Somebody else changed the same at the same moment."),
    ],
)
async def test_each_trouble_has_its_sentence(
    site: Desk, database_url: str, state: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE SQLSTATE '{state}' USING MESSAGE = 'no'; END $$".encode()
        )
        db.execute("CREATE TRIGGER refuse BEFORE INSERT ON subscriptions FOR EACH ROW EXECUTE FUNCTION refuse()")
    for _ in range(3):
        answer = await sign_up(site)
        assert explained(answer, 503).startswith(f"{sentence} Nothing was changed")
        assert answer.headers["retry-after"]
        await asyncio.sleep(0.1)
    assert len(said(caplog)) <= 1  # a new connection finds nothing wrong


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    "error, trouble",
    [
        (psycopg.OperationalError("connection refused"), AWAY),
        (psycopg.InterfaceError("the connection is closed"), AWAY),
        (psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already"), CROWDED),
        (psycopg.OperationalError("FATAL:  the database system is starting up"), STARTING),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "bell"'), LOCKED_OUT),
        (OperationalError("", {}, psycopg.errors.DiskFull()), FULL),
        (caused(ConnectorException(), psycopg.errors.QueryCanceled()), SLOW),
        (psycopg.errors.DeadlockDetected(), CLASH),
        (IntegrityError("", {}, psycopg.errors.UniqueViolation()), None),
        (ValueError(), None),
    ],
)
def test_what_an_error_says_of_the_database(error: Exception, trouble: Trouble | None) -> None:
    assert trouble_of(error) is trouble
