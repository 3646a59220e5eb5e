-- lumen schema, dumped 2024-02-19
BEGIN;

CREATE TABLE account (
    account_id   BIGSERIAL PRIMARY KEY,
    email        VARCHAR(254) NOT NULL UNIQUE,
    display_name VARCHAR(80),
    quota_bytes  BIGINT NOT NULL DEFAULT 16106127360,
    locale       CHAR(5) DEFAULT 'de_AT',
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE album (
    album_id   UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id   BIGINT NOT NULL REFERENCES account(account_id) ON DELETE CASCADE,
    title      TEXT NOT NULL CHECK (length(title) <= 120),
    visibility VARCHAR(12) NOT NULL DEFAULT 'private',
    cover_id   BIGINT
);

CREATE TABLE photo (
    photo_id  BIGSERIAL PRIMARY KEY,
    album_id  UUID REFERENCES album(album_id) ON DELETE SET NULL,
    sha256    BYTEA NOT NULL,
    taken_at  TIMESTAMP,
    latitude  NUMERIC(8,5),
    longitude NUMERIC(8,5),
    iso       SMALLINT
);

CREATE UNIQUE INDEX photo_sha_uq ON photo (sha256);
CREATE INDEX photo_taken_idx ON photo USING brin (taken_at);

CREATE VIEW recent_photo AS
    SELECT * FROM photo WHERE taken_at > now() - interval '21 days';

COMMIT;
