-- tables of the shop
CREATE TABLE customers (
    id          INTEGER PRIMARY KEY,
    mail        TEXT NOT NULL UNIQUE,
    password    TEXT NOT NULL,
    joined      DATE NOT NULL DEFAULT CURRENT_DATE
);

CREATE TABLE orders (
    id          INTEGER PRIMARY KEY,
    customer    INTEGER NOT NULL REFERENCES customers (id) ON DELETE RESTRICT,
    placed      TIMESTAMP NOT NULL,
    state       VARCHAR(12) NOT NULL DEFAULT 'open',
    total       NUMERIC(10, 2) NOT NULL
);

CREATE INDEX orders_by_customer ON orders (customer, placed DESC);

CREATE VIEW unpaid_orders AS
    SELECT * FROM orders WHERE state = 'open' AND placed < CURRENT_TIMESTAMP - INTERVAL '30 days';
