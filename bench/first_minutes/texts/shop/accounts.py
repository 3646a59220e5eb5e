"""Who is logged in: passwords, sessions, and what a customer may do."""

import hashlib
import hmac
import secrets
import time

from .settings import SettingsError

SESSION_SECONDS = 4 * 3600
ITERATIONS = 310_000
LOCK_AFTER = 6


def hash_password(password: str, salt: bytes | None = None) -> str:
    salt = salt or secrets.token_bytes(16)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    return f"{salt.hex()}${digest.hex()}"


def check_password(password: str, stored: str) -> bool:
    """Compare in constant time."""
    salt, _, _ = stored.partition("$")
    return hmac.compare_digest(hash_password(password, bytes.fromhex(salt)), stored)


class Session:
    """A customer's visit; it ends by itself after four hours."""

    def __init__(self, customer: int):
        self.customer = customer
        self.token = secrets.token_urlsafe(24)
        self.ends = time.time() + SESSION_SECONDS

    def is_alive(self) -> bool:
        return time.time() < self.ends


class Lockout:
    """Counts failed logins per customer and locks the account after six."""

    def __init__(self):
        self.failed: dict[int, int] = {}

    def record_failure(self, customer: int) -> bool:
        self.failed[customer] = self.failed.get(customer, 0) + 1
        return self.failed[customer] >= LOCK_AFTER


def require_admin(roles: set[str]) -> None:
    if "admin" not in roles:
        raise PermissionError("only for administrators")
