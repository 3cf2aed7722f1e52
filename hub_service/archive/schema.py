"""The archive's tables.

Whatever a journal brought is labelled with its run: one attempt of one experiment on one node, or
the idle time of a node (experiment `''`, attempt 0). Names are interned. Times are microseconds of
the Unix epoch; `x` is the axis of a run: seconds of the experiment's clock, or of the Unix epoch
while idle. What an experiment's run recorded before its clock started stands below `NO_CLOCK`.

`tie` tells entries of one instant apart: the row of the epoch and the number of the entry in it.
"""

from typing import Final

APPLICATION_ID: Final = 0x42494F41  # "BIOA"

SAMPLE: Final = 0
SERIES: Final = 1
CONTAINER: Final = 2
"""Kinds of what is kept as samples."""

PREFIXES: Final = {SAMPLE: "", SERIES: "series.", CONTAINER: "container."}
"""How a trace of each kind is called in a history."""

NO_CLOCK: Final = -1e9
_CLOCKLESS: Final = 1e11

SOURCES: Final = ("stdout", "stderr", "system")
"""Of log lines, as numbered in the table."""


def axis(t: int, elapsed: float | None, *, idle: bool) -> float:
    """Return `x` of an entry made at `t`."""
    if idle:
        return t / 1e6
    return t / 1e6 - _CLOCKLESS if elapsed is None else elapsed


RARE_EVENTS: Final = ("adopted", "parameters", "parameters-seen")
"""Those that a timeline shows."""
MENTIONS_RARE: Final = " OR ".join(f'instr(body, \'"event":"{e}"\')' for e in RARE_EVENTS)
"""Whether an event may be one of them: `events_rare` has these, for queries that say it alike."""


TEN: Final = 10
"""Minutes of a row of `tens`."""

WIDEN: Final = ", ".join(
    f"{column} = CASE WHEN {by} IS NULL OR excluded.{by} {better} {by}"
    f" THEN excluded.{column} ELSE {column} END"
    for by, better in (("lo", "<"), ("hi", ">"))
    for column in (f"x_{by}", f"t_{by}", by)
)
"""How a row of extremes takes in another one."""

AUDIT_BY: Final = "CASE WHEN json_valid(details) THEN json_extract(details, '$.by') END"
"""The handle of who did something: an index has it, for queries that say it alike."""


def _micros(key: str) -> str:
    """Return the SQL for a time of an experiment's body, in microseconds of the Unix epoch."""
    text = f"json_extract(body, '$.{key}')"
    return f"(strftime('%s', substr({text}, 1, 19)) * 1000000 + round(1e6 * substr({text}, 20)))"


MIGRATIONS: Final = (
    """
    CREATE TABLE nodes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

    CREATE TABLE epochs (
        id INTEGER PRIMARY KEY,
        node INTEGER NOT NULL,
        stream TEXT NOT NULL,
        epoch TEXT NOT NULL,
        ord INTEGER NOT NULL,
        upto INTEGER NOT NULL,  -- entries are committed up to here
        last_run INTEGER,
        UNIQUE (node, stream, epoch)
    );

    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        experiment_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        node INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        first_t INTEGER,
        last_t INTEGER,
        started_t INTEGER,
        UNIQUE (experiment_id, attempt, node)
    );
    CREATE INDEX runs_of_node ON runs (node, last_t);

    CREATE TABLE channels (
        id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name)
    );
    CREATE TABLE layouts (
        id INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        channels TEXT NOT NULL UNIQUE  -- ids, JSON
    );
    CREATE TABLE run_layouts (
        run INTEGER, layout INTEGER, PRIMARY KEY (run, layout)
    ) WITHOUT ROWID;
    CREATE TABLE samples (
        run INTEGER,
        kind INTEGER,
        x REAL,
        tie INTEGER,
        t INTEGER NOT NULL,
        layout INTEGER NOT NULL,
        v BLOB NOT NULL,  -- a little-endian double for each channel of the layout, NaN for null
        PRIMARY KEY (run, kind, x, tie)
    ) WITHOUT ROWID;
    CREATE TABLE minutes (
        run INTEGER,
        kind INTEGER,
        minute INTEGER,  -- of the Unix epoch
        n INTEGER NOT NULL,
        x_first REAL NOT NULL,
        x_last REAL NOT NULL,
        PRIMARY KEY (run, kind, minute)
    ) WITHOUT ROWID;
    CREATE TABLE rollups (
        run INTEGER,
        channel INTEGER,
        minute INTEGER,
        n INTEGER NOT NULL,      -- values that are not null
        total REAL NOT NULL,     -- their sum
        lo REAL,
        hi REAL,
        x_lo REAL NOT NULL,      -- where they stood
        x_hi REAL NOT NULL,
        t_lo INTEGER NOT NULL,
        t_hi INTEGER NOT NULL,
        PRIMARY KEY (run, channel, minute)
    ) WITHOUT ROWID;
    CREATE TABLE containers (
        run INTEGER, container_id TEXT, image TEXT, PRIMARY KEY (run, container_id, image)
    ) WITHOUT ROWID;

    CREATE TABLE logs (
        run INTEGER,
        n INTEGER,
        tie INTEGER,
        t INTEGER NOT NULL,
        x REAL,
        source INTEGER NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (run, n, tie)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        x REAL NOT NULL,
        t INTEGER NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX events_of_run ON events (run, x);
    CREATE TABLE phases (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        epoch INTEGER NOT NULL,
        n INTEGER NOT NULL,
        run INTEGER NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX phases_of_run ON phases (run);

    CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        n INTEGER NOT NULL,
        at INTEGER NOT NULL,
        error TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE TABLE gaps (
        id INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        first INTEGER NOT NULL,
        upto INTEGER NOT NULL,
        noticed_at INTEGER NOT NULL,
        run_before INTEGER,
        run_after INTEGER
    );
    CREATE INDEX gaps_before ON gaps (run_before);
    CREATE INDEX gaps_after ON gaps (run_after);

    CREATE TABLE staging (
        run INTEGER,
        name TEXT,
        file TEXT NOT NULL,
        problem TEXT,
        PRIMARY KEY (run, name)
    ) WITHOUT ROWID;
    CREATE TABLE files (
        run INTEGER,
        name TEXT,
        size INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        staged TEXT,   -- in the staging directory until it stands among the blobs
        problem TEXT,  -- why it is not what the node had
        PRIMARY KEY (run, name)
    ) WITHOUT ROWID;
    CREATE INDEX files_staged ON files (staged) WHERE staged IS NOT NULL;
    CREATE INDEX files_by_content ON files (sha256);

    CREATE TABLE scripts (sha256 TEXT PRIMARY KEY, script TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        principal TEXT NOT NULL,
        user TEXT NOT NULL,
        verb TEXT NOT NULL,
        experiment_id TEXT,
        outcome TEXT NOT NULL,
        details TEXT NOT NULL
    );
    CREATE INDEX audit_of_experiment ON audit (experiment_id, id);

    CREATE TABLE finished (
        experiment_id TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        status TEXT NOT NULL,
        search TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX finished_of_user ON finished (user, experiment_id);
    CREATE INDEX finished_as ON finished (status, experiment_id);
    CREATE INDEX finished_search ON finished (experiment_id, user, status, search);
    CREATE TABLE tally (
        user TEXT, status TEXT, n INTEGER NOT NULL, PRIMARY KEY (user, status)
    ) WITHOUT ROWID;
    CREATE TABLE deletions (experiment_id TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    """
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        noticed INTEGER NOT NULL,
        body TEXT NOT NULL,
        published INTEGER NOT NULL DEFAULT 0,
        told TEXT NOT NULL DEFAULT '[]',  -- names of targets, JSON
        tries INTEGER NOT NULL DEFAULT 0,
        due INTEGER NOT NULL DEFAULT 0
    );
    """,
    # When the hub archived it. Of those that are there the end is taken, which a node told, unless
    # that cannot be: then it is as if they were archived now.
    """
    ALTER TABLE finished ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
    UPDATE finished SET archived = 1000000 * CASE
        WHEN NOT json_valid(body) THEN CAST(strftime('%s', 'now') AS INTEGER)
        WHEN json_extract(body, '$.completed_at') >= json_extract(body, '$.created_at')
        THEN ifnull(
            min(
                CAST(strftime('%s', json_extract(body, '$.completed_at')) AS INTEGER),
                CAST(strftime('%s', 'now') AS INTEGER)
            ),
            CAST(strftime('%s', 'now') AS INTEGER)
        )
        ELSE CAST(strftime('%s', 'now') AS INTEGER)
    END;
    """,
    # What lists are ordered and filtered by: times in seconds of the Unix epoch. One index has all
    # of it, so that a list of whatever order never reads the bodies of what it does not show.
    """
    ALTER TABLE finished ADD COLUMN created REAL;
    ALTER TABLE finished ADD COLUMN started REAL;
    ALTER TABLE finished ADD COLUMN ended REAL;
    ALTER TABLE finished ADD COLUMN took REAL;
    ALTER TABLE finished ADD COLUMN title TEXT;
    UPDATE finished SET
        created = 86400 * (julianday(json_extract(body, '$.created_at')) - 2440587.5),
        started = 86400 * (julianday(json_extract(body, '$.started_at')) - 2440587.5),
        ended = 86400 * (julianday(json_extract(body, '$.completed_at')) - 2440587.5),
        took = 86400 * (julianday(json_extract(body, '$.completed_at'))
            - julianday(json_extract(body, '$.started_at'))),
        title = lower(json_extract(body, '$.name'))
    WHERE json_valid(body);
    DROP INDEX finished_of_user;
    DROP INDEX finished_search;
    CREATE INDEX finished_list ON finished (
        user, experiment_id, status, created, started, ended, took, title, search
    );

    CREATE TABLE trash (
        experiment_id TEXT PRIMARY KEY, body TEXT NOT NULL, archived INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE tokens (
        token_id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        created_by TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_on INTEGER,
        revoked INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    """,
    # The same values once more, as Python counts them: the database knows milliseconds and the
    # small letters of ASCII alone, so that a page of what was there before schema 4 began with the
    # last of the page before, or left some out. And an index for timelines: a long run has millions
    # of events, and they show a few.
    f"""
    UPDATE finished SET
        created = {_micros("created_at")} / 1e6,
        started = {_micros("started_at")} / 1e6,
        ended = {_micros("completed_at")} / 1e6,
        took = ({_micros("completed_at")} - {_micros("started_at")}) / 1e6,
        title = casefold(json_extract(body, '$.name'))
    WHERE json_valid(body);

    CREATE INDEX events_rare ON events (run, x) WHERE ({MENTIONS_RARE});
    """,  # noqa: S608  constants
    # Extremes of ten minutes: what charts of days read.
    f"""
    CREATE TABLE tens (
        run INTEGER,
        channel INTEGER,
        ten INTEGER,  -- minutes of the Unix epoch by {TEN}
        lo REAL,
        hi REAL,
        x_lo REAL NOT NULL,      -- where they stood
        x_hi REAL NOT NULL,
        t_lo INTEGER NOT NULL,
        t_hi INTEGER NOT NULL,
        PRIMARY KEY (run, channel, ten)
    ) WITHOUT ROWID;
    INSERT INTO tens SELECT run, channel, minute / {TEN}, lo, hi, x_lo, x_hi, t_lo, t_hi
        FROM rollups WHERE true ON CONFLICT DO UPDATE SET {WIDEN};
    """,  # noqa: S608  constants
    # For who looks up what somebody did, or what was done by one verb. What is filtered besides
    # stands in the index.
    f"""
    CREATE INDEX audit_of_user ON audit (user, id, verb);
    CREATE INDEX audit_of_handle ON audit ({AUDIT_BY}, id, verb);
    CREATE INDEX audit_of_verb ON audit (verb, id);
    """,
)
