from __future__ import annotations

import stat
from pathlib import Path

from cryptography import x509

from organism.config import TlsSection
from serve_app.tls import configured_files, trial_files


def test_a_trial_certificate_names_this_machine_and_the_address(tmp_path):
    files = trial_files(tmp_path, "192.0.2.7")
    certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    addresses = {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "::1", "192.0.2.7"}


def test_the_trial_key_is_for_nobody_else(tmp_path):
    key = trial_files(tmp_path, "").key
    assert [stat.S_IMODE(each.stat().st_mode) for each in (key, key.parent, key.parent.parent)] == [0o600, 0o700, 0o700]


def test_a_trial_certificate_is_used_again_while_it_will_do(tmp_path):
    first = trial_files(tmp_path, "0.0.0.0").cert.read_bytes()
    assert trial_files(tmp_path, "127.0.0.1").cert.read_bytes() == first
    assert trial_files(tmp_path, "192.0.2.7").cert.read_bytes() != first


def test_a_trial_certificate_without_its_key_is_made_anew(tmp_path):
    files = trial_files(tmp_path, "")
    first = files.cert.read_bytes()
    files.key.write_text("damaged")
    assert trial_files(tmp_path, "").cert.read_bytes() != first


def test_files_of_organism_yaml_count_from_its_folder(tmp_path):
    files = configured_files(TlsSection(cert="cert.pem", key="/etc/key.pem"), tmp_path)
    assert files == (tmp_path / "cert.pem", Path("/etc/key.pem"))


def test_the_launcher_trusts_the_very_certificate(tmp_path):
    assert not trial_files(tmp_path, "").client_context().check_hostname
