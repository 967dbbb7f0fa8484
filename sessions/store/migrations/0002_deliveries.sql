-- How far each receiver of a session's events has got.
CREATE TABLE deliveries (
    session  TEXT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    receiver INTEGER NOT NULL, -- position in the session's list, which never changes
    settled  INTEGER NOT NULL, -- index of the last event that needs no further try
    failures INTEGER NOT NULL, -- tries of the next event that failed
    since    INTEGER NOT NULL, -- of the first of them; nanoseconds since 1970, UTC, as below; 0: none
    next_try INTEGER NOT NULL, -- 0: at once
    problem  TEXT NOT NULL,    -- of the latest failure
    disabled INTEGER NOT NULL, -- nothing more is sent
    PRIMARY KEY (session, receiver)
) WITHOUT ROWID;

-- Events that a receiver refused for good.
CREATE TABLE dead_letters (
    session  TEXT NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    receiver INTEGER NOT NULL,
    idx      INTEGER NOT NULL, -- of the event
    time     INTEGER NOT NULL,
    problem  TEXT NOT NULL,
    PRIMARY KEY (session, receiver, idx)
) WITHOUT ROWID;
