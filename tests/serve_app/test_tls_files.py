from __future__ import annotations

import shutil
import stat

import pytest
from cryptography import x509

from organism.config import TlsSection
from organism.errors import ConfigError
from serve_app.tls import configured_files, trial_files

SECTION = TlsSection(cert="cert.pem", key="key.pem")


@pytest.fixture
def file(tmp_path):
    """organism.yaml beside a certificate and its key."""
    made = trial_files(tmp_path / "elsewhere", "127.0.0.1")
    for path in made:
        shutil.copy(path, tmp_path)
    return tmp_path / "organism.yaml"


def test_a_trial_certificate_names_this_machine_and_the_address(tmp_path):
    files = trial_files(tmp_path, "192.0.2.7")
    certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    addresses = {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "::1", "192.0.2.7"}


def test_the_trial_key_is_for_nobody_else(tmp_path):
    assert stat.S_IMODE(trial_files(tmp_path, "").key.stat().st_mode) == 0o600


def test_a_trial_certificate_is_used_again_while_it_will_do(tmp_path):
    first = trial_files(tmp_path, "0.0.0.0").cert.read_bytes()
    assert trial_files(tmp_path, "127.0.0.1").cert.read_bytes() == first
    assert trial_files(tmp_path, "192.0.2.7").cert.read_bytes() != first


def test_a_trial_certificate_without_its_key_is_made_anew(tmp_path):
    files = trial_files(tmp_path, "")
    first = files.cert.read_bytes()
    files.key.write_text("damaged")
    assert trial_files(tmp_path, "").cert.read_bytes() != first


def test_files_of_organism_yaml_count_from_its_folder(file):
    assert configured_files(SECTION, file).cert == file.with_name("cert.pem")


def test_the_launcher_trusts_the_very_certificate(file):
    assert not configured_files(SECTION, file).client_context().check_hostname


@pytest.mark.parametrize(("name", "field"), [("cert.pem", "tls.cert"), ("key.pem", "tls.key")])
def test_a_missing_file_is_named_with_its_field(file, name, field):
    file.with_name(name).unlink()
    with pytest.raises(ConfigError, match="cannot be read") as error:
        configured_files(SECTION, file)
    assert error.value.field == field


def test_what_is_no_certificate_is_refused(file):
    file.with_name("cert.pem").write_text("hello")
    with pytest.raises(ConfigError, match="no PEM certificate"):
        configured_files(SECTION, file)


def test_the_key_of_another_certificate_is_refused(file, tmp_path):
    shutil.copy(trial_files(tmp_path / "other", "").key, file.with_name("key.pem"))
    with pytest.raises(ConfigError, match="is not the private key"):
        configured_files(SECTION, file)
