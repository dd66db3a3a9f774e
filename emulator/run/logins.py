"""The demo users. The Auth emulator imports them from emulator/run/seed/auth_export when it starts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Login:
    """A demo user, with the password to log in with. These passwords are public."""

    role: str
    name: str
    email: str
    password: str


ADMIN = Login("administrator", "Ines Carvalho", "admin@example.com", "admin-demo-password")
MAYA = Login("customer", "Maya Lindgren", "maya@example.com", "maya-demo-password")
TOMAS = Login("customer", "Tomas Rivera", "tomas@example.com", "tomas-demo-password")
LOGINS = (ADMIN, MAYA, TOMAS)
