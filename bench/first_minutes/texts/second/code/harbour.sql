-- The harbour's tables.
CREATE TABLE ship (
    imo        CHAR(7) PRIMARY KEY,
    name       VARCHAR(60) NOT NULL,
    flag       CHAR(2) DEFAULT 'NO',
    draft_m    NUMERIC(4, 2) CHECK (draft_m < 15.5)
);

CREATE TABLE IF NOT EXISTS stay (
    id         BIGSERIAL PRIMARY KEY,
    imo        CHAR(7) REFERENCES ship (imo),
    arrived    TIMESTAMPTZ NOT NULL DEFAULT now(),
    status     SMALLINT DEFAULT 1
);

CREATE INDEX stay_by_ship ON stay (imo, arrived);

CREATE OR REPLACE VIEW ships_in_port AS
SELECT ship.name, stay.arrived FROM ship JOIN stay USING (imo) WHERE status = 1;

CREATE FUNCTION dues_of(stay_id BIGINT) RETURNS NUMERIC AS $$
    SELECT 185.00;
$$ LANGUAGE sql;

INSERT INTO ship VALUES ('9321483', 'Nordlys', 'NO', 4.90);
