"""Checks passports with PyJWT, jwcrypto, rfc8785 and jcs.

usage: check.py FOLDER

FOLDER holds `<case>.passport.json` (an array of compact JWS) and `<case>.anchors.json`
(workload id to JWK set). Prints what was counted as JSON; exits 1 at the first disagreement.
"""

import base64
import hashlib
import json
import pathlib
import sys
from collections import Counter

import jcs
import jwt
import rfc8785
from jwcrypto import jwk as jwcrypto_jwk
from jwcrypto import jws as jwcrypto_jws

MEMBERS = {
    "schema_version", "runtime", "entry_id", "operation", "classification", "trust_score", "parent_ids",
    "added_taints", "removed_taints", "taints", "labels", "policy_context", "environment", "otel_context",
    "metadata", "content_hash", "input_hash", "timestamp_ms",
}  # fmt: skip


def b64decode(text):
    if "=" in text:
        raise ValueError("padded base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64encode(octets):
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def pyjwt(compact, jwk):
    key = jwt.PyJWK.from_dict(jwk, algorithm="EdDSA")
    whole = jwt.PyJWS().decode_complete(compact, key, algorithms=["EdDSA"])
    return whole["header"], whole["payload"]


def jwcrypto(compact, jwk):
    token = jwcrypto_jws.JWS()
    token.allowed_algs = ["EdDSA"]
    token.deserialize(compact)
    token.verify(jwcrypto_jwk.JWK(**jwk))
    return token.jose_header, token.payload


PEERS = {"pyjwt": pyjwt, "jwcrypto": jwcrypto}
REFUSALS = (jwt.exceptions.PyJWTError, jwcrypto_jws.InvalidJWSSignature, jwcrypto_jws.InvalidJWSObject)

# RFC 8785 §3.2.2.3: numbers are IEEE 754 doubles, written as ECMAScript does, whole ones too.
CANONICAL = {
    "rfc8785": lambda text: rfc8785.dumps(json.loads(text, parse_int=float)),
    "jcs": lambda text: jcs.canonicalize(json.loads(text, parse_int=float)),
}


class Disagreement(Exception):
    pass


def demand(holds, message):
    if not holds:
        raise Disagreement(message)


def canonical(text, what, counted):
    for name, canonicalise in CANONICAL.items():
        demand(canonicalise(text) == text, f"{what} is not what {name} writes")
        counted[f"{name} canonical"] += 1


def flip(octets, at):
    changed = bytearray(octets)
    changed[at] ^= 1
    return bytes(changed)


def tampered(compact):
    """The record with one bit changed: in the payload, in the signature, in the header."""
    header, payload, signature = compact.split(".")
    octets = b64decode(payload)
    # The entry id: what stays is well-formed JSON of the same length.
    at = octets.index(b'"entry_id":"') + len(b'"entry_id":"')
    yield ".".join([header, b64encode(flip(octets, at)), signature])
    octets = b64decode(signature)
    for at in (0, len(octets) - 1):
        yield ".".join([header, payload, b64encode(flip(octets, at))])
    other = json.loads(b64decode(header)) | {"kid": "another"}
    yield ".".join([b64encode(json.dumps(other, separators=(",", ":")).encode()), payload, signature])


def refuses(verify, compact, jwk, what):
    try:
        verify(compact, jwk)
    except REFUSALS:
        return
    raise Disagreement(f"{what} was accepted")


def check(case, entries, anchors, counted):
    keys = {principal: jwks["keys"] for principal, jwks in anchors.items()}
    for principal, jwks in keys.items():
        demand(len(jwks) == 1, f"{case}: `{principal}` has {len(jwks)} keys")
    seen = set()
    for index, compact in enumerate(entries):
        what = f"{case}: entry {index}"
        demand(compact.count(".") == 2, f"{what}: not three segments")
        payload = json.loads(b64decode(compact.split(".")[1]))
        demand(set(payload) == MEMBERS, f"{what}: members {sorted(set(payload) ^ MEMBERS)} are amiss")
        principal = payload["labels"]["principal"]
        jwk = keys[principal][0]
        # RFC 7638, by jwcrypto
        thumbprint = jwcrypto_jwk.JWK(**jwk).thumbprint()
        stranger = jwcrypto_jwk.JWK.generate(kty="OKP", crv="Ed25519").export_public(as_dict=True)
        for name, verify in PEERS.items():
            try:
                header, octets = verify(compact, jwk)
            except REFUSALS as error:
                raise Disagreement(f"{what}: {name} refuses it: {error}") from error
            demand(header == {"alg": "EdDSA", "kid": thumbprint, "typ": "JWS"}, f"{what}: header {header}")
            demand(json.loads(octets) == payload, f"{what}: {name} reads another payload")
            counted[f"{name} accepted"] += 1
            for changed in tampered(compact):
                refuses(verify, changed, jwk, f"{what}, tampered with, by {name},")
                counted[f"{name} refused"] += 1
            refuses(verify, compact, stranger, f"{what} under a key that did not sign it, by {name},")
            counted[f"{name} refused"] += 1
        canonical(b64decode(compact.split(".")[1]), f"{what}: the payload", counted)
        for label in ("kest.identity", "kest.resource_attr"):
            if label in payload["labels"]:
                canonical(payload["labels"][label].encode(), f"{what}: label `{label}`", counted)
        parents = payload["parent_ids"]
        demand(parents == ["0"] or ("0" not in parents and parents), f"{what}: parents {parents}")
        for parent in parents:
            demand(parent == "0" or parent in seen, f"{what}: parent {parent} does not stand before it")
            counted["links" if parent != "0" else "roots"] += 1
        seen.add(hashlib.sha256(compact.encode()).hexdigest())
        counted["records"] += 1
    counted["passports"] += 1


def main(folder):
    counted = Counter()
    for passport in sorted(pathlib.Path(folder).glob("*.passport.json")):
        case = passport.name.removesuffix(".passport.json")
        anchors = json.loads(passport.with_name(f"{case}.anchors.json").read_text())
        check(case, json.loads(passport.read_text()), anchors, counted)
    print(json.dumps(counted, sort_keys=True))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Disagreement as disagreement:
        sys.exit(f"disagreement: {disagreement}")
