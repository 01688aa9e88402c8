"""With which key commands ask, and whose certificates they trust: read here, and nowhere else.

No option takes the key: others of the machine would see it in the list of processes.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from organism.cli.failures import WrongUse
from organism.client.credentials import API_KEY, Credentials, credentials_of

API_KEY_FILE = "ORGANISM_API_KEY_FILE"

ENVIRONMENT = """Environment:

ORGANISM_URL where the organism answers

ORGANISM_API_KEY the key to ask with, or ORGANISM_API_KEY_FILE a file that holds it

ORGANISM_CA_FILE PEM of the certificate authority that an https:// address may have"""


def find_credentials() -> Credentials:
    """Those of the environment; a key in it counts more than the file that it names.

    Raises:
        WrongUse: they cannot be used.
    """
    key_file = os.environ.get(API_KEY_FILE)
    source = API_KEY
    try:
        found = credentials_of(os.environ)
        if found.api_key is not None or not key_file:
            return found
        source = f"{API_KEY_FILE} ({key_file})"
        return replace(found, api_key=Path(key_file).read_text().strip())
    except OSError as error:
        raise WrongUse(f"{source} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise WrongUse(f"{source}: {error}") from error
