"""A C library in place of libnvidia-ml.so.1, under NVIDIA's own Python binding.

Run as a program it is the worker process of confide, with this library loaded:

    python -m tests.doubles.nvml_library '{"gpus": 2, "cc": 0}'

So the binding's real structures and calls are used. Each function takes what a C function
would take, a pointer, and ends the process when it is given a structure by value.
"""

import ctypes
import json
import os
import sys
import time

SUCCESS, NOT_SUPPORTED, INVALID_ARGUMENT = 0, 3, 2

HEALTHY = {
    "gpus": 1,
    "cc": 1,
    "dev_tools": 0,
    "environment": 2,
    "multi_gpu": 0,
    "settings_code": SUCCESS,
    "settings_cc": None,  # what the second call says, if it is something else
    "without": [],  # functions that this driver lacks
    "protected": 80 << 30,
    "nonce": None,  # hex of a nonce that is reported instead of the one asked for
    "report_size": None,
    "one_device": False,
    "hang": None,  # function that never returns
    "crash": None,  # function that ends the process
    "crash_once": None,  # a file: the process ends if it is there, and removes it
    "chatter": False,  # prints to standard output
    "ready_file": None,  # where the ready state is kept
}


def target(pointer):
    """What a pointer argument points to; a crash if it is no pointer."""
    if not hasattr(pointer, "_obj"):
        os._exit(139)
    return pointer._obj


class Library:
    def __init__(self, **chosen):
        unknown = chosen.keys() - HEALTHY.keys()
        assert not unknown, unknown
        self.set = {**HEALTHY, **chosen}
        self.ready = 0

    def __getattr__(self, name):
        function = type(self).__dict__.get(f"c_{name}")
        if function is None or name in self.set["without"]:
            raise AttributeError(name)

        def call(*arguments):
            if self.set["chatter"]:
                os.write(1, b"NVRM: hello\n")
            if self.set["hang"] == name:
                time.sleep(3600)
            if self.set["crash"] == name:
                os._exit(139)
            once = self.set["crash_once"]
            if once and os.path.exists(once):
                os.unlink(once)
                os._exit(139)
            return function(self, *arguments)

        return call

    def c_nvmlInitWithFlags(self, flags):
        return SUCCESS

    def c_nvmlDeviceGetCount_v2(self, count):
        target(count).value = self.set["gpus"]
        return SUCCESS

    def c_nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        number = index.value
        if number >= self.set["gpus"]:
            return INVALID_ARGUMENT
        # An opaque pointer of the driver; only handed back to it.
        ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[0] = number + 1
        return SUCCESS

    def c_nvmlSystemGetConfComputeState(self, state):
        state = target(state)
        state.environment = self.set["environment"]
        state.ccFeature = self.set["cc"]
        state.devToolsMode = self.set["dev_tools"]
        return SUCCESS

    def c_nvmlSystemGetConfComputeSettings(self, settings):
        settings = target(settings)
        if settings.version != 0x1000014:
            return 25  # NVML_ERROR_ARGUMENT_VERSION_MISMATCH
        if self.set["settings_code"] == SUCCESS:
            other = self.set["settings_cc"]
            settings.environment = self.set["environment"]
            settings.ccFeature = self.set["cc"] if other is None else other
            settings.devToolsMode = self.set["dev_tools"]
            settings.multiGpuMode = self.set["multi_gpu"]
        return self.set["settings_code"]

    def c_nvmlSystemGetConfComputeGpusReadyState(self, state):
        path = self.set["ready_file"]
        target(state).value = int(os.path.exists(path)) if path else self.ready
        return SUCCESS

    def c_nvmlSystemSetConfComputeGpusReadyState(self, state):
        self.ready = state.value
        if self.set["ready_file"] and state.value:
            open(self.set["ready_file"], "x").close()
        return SUCCESS

    def c_nvmlDeviceGetConfComputeProtectedMemoryUsage(self, handle, memory):
        target(memory).total = self.set["protected"]
        return SUCCESS

    def c_nvmlDeviceGetConfComputeGpuAttestationReport(self, handle, answer):
        answer = target(answer)
        nonce = bytes(answer.nonce)
        if self.set["nonce"] is not None:
            nonce = bytes.fromhex(self.set["nonce"])
        report = b"\x11\xe0\x01\xff" + nonce + b"\0" + b"\x11\x60\0\0" + bytes(200)
        answer.attestationReport[: len(report)] = report
        size = self.set["report_size"]
        answer.attestationReportSize = len(report) if size is None else size
        return SUCCESS

    def c_nvmlDeviceGetConfComputeGpuCertificate(self, handle, answer):
        answer = target(answer)
        number = 1 if self.set["one_device"] else handle_number(handle)
        chain = f"-----BEGIN CERTIFICATE-----\n{number}\n-----END CERTIFICATE-----\n".encode()
        answer.attestationCertChain[: len(chain)] = chain
        answer.attestationCertChainSize = len(chain) + 1  # with its NUL
        return SUCCESS


def handle_number(handle):
    return ctypes.cast(handle, ctypes.c_void_p).value


def command(**chosen):
    """The command of a worker whose driver is as chosen."""
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    start = f"import sys; sys.path.insert(0, {str(root)!r}); "
    run = "from tests.doubles.nvml_library import run; run(sys.argv[1])"
    return [sys.executable, "-c", start + run, json.dumps(chosen)]


def run(chosen):
    import pynvml

    from confide.attest.platforms.nvidia.nvml_worker import main

    pynvml.nvmlLib = Library(**json.loads(chosen))
    main()
