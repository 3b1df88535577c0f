"""An enclave that boots: QEMU's nitro-enclave machine, Debian's kernel, an init of our own.

    debian   packages and sources by apt, unpacked in a folder, nothing of this machine changed
    build    QEMU from source and the rest beside it, once, in the cache; `python -m devnet.nitro`
    parts    what the cache has
    machine  one enclave: QEMU, the device that emulates vsock, the heartbeat
    guest/   the init, in C; what a standard image is to its host

The kernel is real and so is its driver; the security module is QEMU's, which measures for real and
signs nothing. Without KVM, on any machine.
"""
