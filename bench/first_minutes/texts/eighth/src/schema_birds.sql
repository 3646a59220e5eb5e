-- bird observations (SQLite)
PRAGMA foreign_keys = ON;
PRAGMA user_version = 23;

CREATE TABLE species (
  code      TEXT PRIMARY KEY,          -- six letters, e.g. VANVAN
  latin     TEXT NOT NULL,
  english   TEXT,
  red_list  TEXT CHECK (red_list IN ('LC','NT','VU','EN','CR')) DEFAULT 'LC'
);

CREATE TABLE observer (
  id        INTEGER PRIMARY KEY,
  nick      TEXT UNIQUE,
  joined    DATE,
  trust     REAL DEFAULT 0.35
);

CREATE TABLE sighting (
  id        INTEGER PRIMARY KEY,
  species   TEXT NOT NULL REFERENCES species(code),
  observer  INTEGER REFERENCES observer(id),
  seen_at   TEXT NOT NULL,
  count     INTEGER DEFAULT 1 CHECK (count BETWEEN 1 AND 50000),
  lat REAL, lon REAL,
  grid      TEXT
);

CREATE INDEX idx_sighting_grid ON sighting(grid, seen_at);

CREATE TRIGGER cap_trust AFTER UPDATE OF trust ON observer
WHEN NEW.trust > 0.95
BEGIN
  UPDATE observer SET trust = 0.95 WHERE id = NEW.id;
END;
