# pragma version 0.4.3
"""
@title Texts
@license Apache-2.0
@notice The lengths that texts may have, refused with a reason.
@dev Arguments are taken up to LIMIT bytes so that a text that is too long can be told so; one
     longer than that is refused while the call is decoded, without a reason.
"""

LIMIT: constant(uint256) = 1024


@internal
@pure
def _instance_type(text: String[LIMIT]) -> String[64]:
    assert len(text) > 0, "instanceType is empty"
    assert len(text) <= 64, "instanceType too long"
    return convert(text, String[64])


@internal
@pure
def _enclave_url(text: String[LIMIT]) -> String[512]:
    assert len(text) > 0, "enclaveUrl is empty"
    assert len(text) <= 512, "enclaveUrl too long"
    return convert(text, String[512])


@internal
@pure
def _endpoint(text: String[LIMIT]) -> String[128]:
    assert len(text) > 0, "endpoint is empty"
    assert len(text) <= 128, "endpoint too long"
    return convert(text, String[128])
