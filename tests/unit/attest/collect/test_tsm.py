"""A report comes out of configfs-tsm only if the kernel made it for our 64 bytes."""

import errno
import threading

import pytest
from tests.doubles.configfs_tsm import FakeTsm

from confide.attest.platforms import tsm
from confide.attest.platforms.tsm import SEV_GUEST, TDX_GUEST, KernelFiles, TsmClient
from confide.errors import EvidenceError

DATA = bytes(range(64))


def read_back(report):
    return report[80:144]


def ask(files, *, provider=SEV_GUEST, pauses=None, **options):
    client = TsmClient(files, pause=(pauses if pauses is not None else []).append)
    return client.report(DATA, provider=provider, read_back=read_back, **options)


def refused(files, **options):
    with pytest.raises(EvidenceError) as caught:
        ask(files, **options)
    assert files.folders == {}  # whatever went wrong, nothing is left behind
    return caught.value.code


def test_a_report_about_our_data_is_returned_with_its_certificates():
    files = FakeTsm(aux=b"certificates")
    report = ask(files)
    assert (read_back(report.report), report.aux) == (DATA, b"certificates")
    assert report.provider == SEV_GUEST
    assert files.folders == {}


def test_every_request_has_a_directory_of_its_own_with_a_random_name():
    files = FakeTsm()
    for _ in range(3):
        ask(files)
    assert len(set(files.made_folders)) == 3
    assert all(len(path.rpartition("-")[2]) == 32 for path in files.made_folders)


def test_tdx_hides_certificates_and_privilege_levels_and_is_not_asked_for_them():
    files = FakeTsm(TDX_GUEST)
    assert ask(files, provider=TDX_GUEST).aux == b""
    assert ("read", "auxblob") not in files.log
    assert ("write", "privlevel") not in files.log


@pytest.mark.parametrize(("floor", "written"), [(0, False), (2, True)])
def test_the_level_is_written_only_where_the_guest_runs_above_zero(floor, written):
    seen = []
    files = FakeTsm(floor=floor, make=lambda data, level: seen.append(level) or bytes(80) + data)
    ask(files)
    assert seen == [floor]
    assert (("write", "privlevel") in files.log) is written


@pytest.mark.parametrize("level", [1, 4])
def test_a_level_outside_what_the_kernel_allows_is_refused(level):
    assert refused(FakeTsm(floor=2), privlevel=level) == "tsm.privlevel"


def test_the_manifest_of_an_svsm_is_read_when_it_is_asked_for():
    assert ask(FakeTsm(floor=2), service_provider="svsm").manifest == b"services"


def test_an_svsm_cannot_be_asked_where_there_is_none():
    assert refused(FakeTsm(), service_provider="svsm") == "tsm.no_provider"


def test_a_machine_without_provider_says_so():
    assert refused(FakeTsm(None)) == "tsm.no_provider"


def test_another_provider_is_refused_before_anything_is_written():
    files = FakeTsm(TDX_GUEST)
    assert refused(files, provider=SEV_GUEST) == "tsm.no_provider"
    assert not [entry for entry in files.log if entry[0] == "write"]


@pytest.mark.parametrize("attribute", ["provider", "generation", "outblob"])
@pytest.mark.parametrize("number", [errno.EBUSY, errno.EINTR, errno.ETIMEDOUT, errno.EIO])
def test_busy_hardware_is_asked_again_with_a_new_directory(attribute, number):
    files, pauses = FakeTsm(), []
    files.faults["read", attribute] = [number, number]
    assert read_back(ask(files, pauses=pauses).report) == DATA
    assert len(set(files.made_folders)) == 3
    assert pauses == [0.2, 0.4]


def test_hardware_that_stays_busy_is_given_up():
    files, pauses = FakeTsm(), []
    files.faults["read", "outblob"] = [errno.EBUSY] * 100
    assert refused(files, pauses=pauses) == "tsm.retries_exhausted"
    assert len(files.made_folders) == 5
    assert len(pauses) == 4


@pytest.mark.parametrize(
    ("operation", "attribute", "number", "code"),
    [
        ("read", "outblob", errno.ENOTTY, "tsm.outblob"),  # VMPCK is disabled
        ("read", "outblob", errno.EINVAL, "tsm.outblob"),
        ("read", "outblob", errno.EFBIG, "tsm.outblob"),
        ("read", "outblob", errno.ENXIO, "tsm.no_provider"),
        ("mkdir", "", errno.EACCES, "tsm.permission"),
        ("mkdir", "", errno.ENOENT, "tsm.no_provider"),
        ("write", "inblob", errno.EPERM, "tsm.permission"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(operation, attribute, number, code):
    files = FakeTsm()
    files.faults[operation, attribute] = [number]
    assert refused(files) == code
    assert len(files.made_folders) <= 1


def test_a_store_that_the_kernel_lost_is_noticed():
    files = FakeTsm()
    files.lost_stores = 1
    assert refused(files) == "tsm.generation_conflict"
    assert ("read", "outblob") not in files.log


@pytest.mark.parametrize("moment", ["generation", "outblob", "auxblob"])
def test_somebody_else_in_our_directory_is_noticed(moment):
    files = FakeTsm()

    def interfere(double, operation, folder, attribute):
        ours = double.folders.get(folder)
        if (operation, attribute) == ("read", moment) and ours and "inblob" in ours.values:
            double.before = lambda *_: None
            ours.values["inblob"] = bytes(64)
            ours.written += 1

    files.before = interfere
    assert refused(files) == "tsm.generation_conflict"


def test_a_report_about_other_data_is_refused_even_if_the_counter_fits():
    files = FakeTsm(make=lambda data, level: bytes(80) + bytes(64) + bytes(1040))
    assert refused(files) == "tsm.report_data_echo"


def test_an_empty_report_is_refused():
    assert refused(FakeTsm(make=lambda data, level: b"")) == "tsm.outblob"


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_only_64_bytes_are_ever_written(length):
    files = FakeTsm()
    with pytest.raises(ValueError):
        TsmClient(files).report(bytes(length), provider=SEV_GUEST, read_back=read_back)
    assert files.log == []


def test_a_directory_that_cannot_be_removed_does_not_spoil_the_report():
    files = FakeTsm()
    files.faults["rmdir", ""] = [errno.EBUSY]
    assert read_back(ask(files).report) == DATA


def test_requests_of_several_threads_never_overlap():
    files, most = FakeTsm(), [0]
    inside = threading.Event()

    def watch(double, *_):
        most[0] = max(most[0], len(double.folders))
        inside.wait(0.001)

    files.before = watch
    threads = [threading.Thread(target=ask, args=(files,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(files.made_folders) == 4


def test_the_provider_can_be_asked_for_alone():
    assert TsmClient(FakeTsm(TDX_GUEST)).provider() == TDX_GUEST


def test_the_real_files_write_once_and_read_to_the_end(tmp_path):
    files, folder = KernelFiles(), str(tmp_path / "request")
    files.mkdir(folder)
    (tmp_path / "request" / "inblob").touch()
    files.write(f"{folder}/inblob", DATA * 2000)
    assert files.read(f"{folder}/inblob") == DATA * 2000
    (tmp_path / "request" / "inblob").unlink()
    files.rmdir(folder)
    assert not (tmp_path / "request").exists()


def test_the_real_files_do_not_read_without_end(tmp_path):
    (tmp_path / "outblob").write_bytes(bytes(300 * 1024))
    with pytest.raises(OSError, check=lambda error: error.errno == errno.EFBIG):
        KernelFiles().read(str(tmp_path / "outblob"))


def test_the_real_files_do_not_create_what_the_kernel_did_not_make(tmp_path):
    with pytest.raises(FileNotFoundError):
        KernelFiles().write(str(tmp_path / "inblob"), DATA)


def test_the_default_root_is_the_kernels():
    assert tsm.ROOT == "/sys/kernel/config/tsm/report"
