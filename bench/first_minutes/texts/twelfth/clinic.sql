CREATE TABLE owners (
    id          serial PRIMARY KEY,
    full_name   varchar(120) NOT NULL,
    phone       varchar(24),
    newsletter  boolean DEFAULT false
);

CREATE TABLE animals (
    id          serial PRIMARY KEY,
    owner_id    integer REFERENCES owners (id) ON DELETE CASCADE,
    chip_number char(15) UNIQUE,
    weight_kg   numeric(6,2),
    status      text DEFAULT 'registered'
);

-- Visits are never deleted, since the chamber of veterinarians may ask for them for ten years.
CREATE TABLE visits (
    id          bigserial PRIMARY KEY,
    animal_id   integer REFERENCES animals (id),
    fee_cents   integer CHECK (fee_cents >= 0),
    seen_at     timestamptz DEFAULT now()
);

CREATE INDEX visits_by_animal ON visits (animal_id, seen_at);
