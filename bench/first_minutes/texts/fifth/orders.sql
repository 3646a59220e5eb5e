CREATE TABLE orders (
    id          INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers(id),
    status      VARCHAR(20) DEFAULT 'new',
    discount    NUMERIC(5,2) DEFAULT 0
);

CREATE INDEX orders_by_customer ON orders (customer_id);

CREATE VIEW open_orders AS
    SELECT * FROM orders WHERE status <> 'closed' LIMIT 500;
