CREATE TABLE sessions (
    key     TEXT PRIMARY KEY,
    id      TEXT NOT NULL,
    created INTEGER NOT NULL, -- nanoseconds since 1970, UTC
    deleted INTEGER NOT NULL DEFAULT 0,
    run_dir TEXT NOT NULL,
    static  BLOB NOT NULL,
    record  BLOB NOT NULL
);
CREATE UNIQUE INDEX sessions_live_id ON sessions (id) WHERE deleted = 0;

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    idx     INTEGER NOT NULL, -- 1, 2, 3, … within a session
    time    INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    data    BLOB NOT NULL,
    UNIQUE (session, idx)
);

CREATE TABLE grants (
    session TEXT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    key     TEXT, -- idempotency key
    steps   INTEGER NOT NULL,
    target  INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (session, number),
    UNIQUE (session, key)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    session TEXT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    step    INTEGER NOT NULL,
    data    BLOB NOT NULL,
    PRIMARY KEY (session, step)
) WITHOUT ROWID;
